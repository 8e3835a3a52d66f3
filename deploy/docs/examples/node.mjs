// A Node.js backend with the packages celery-node and redis.
import http from "node:http";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import celeryNode from "celery-node";
import { createClient } from "redis";

const url = process.env.CHECKPOINT_REDIS_URL;
const celery = celeryNode.createClient(url, url, "checkpoint"); // the queue has the prefix's name
const redis = await createClient({ url }).connect();
const news = await redis.duplicate().connect();

async function solve({ account_id, provider, code }) {
  const id = `sub_${randomUUID()}`;
  let heard;
  const look = (text) => JSON.parse(text).submission_id === id && heard?.();
  await news.subscribe(`checkpoint:results:${account_id}`, look);
  try {
    celery.sendTask("checkpoint.solve", [], { account_id, provider, code }, id);
    for (let tries = 0; tries < 35; tries += 1) {
      const soon = new Promise((resolve) => (heard = resolve));
      const text = await redis.get(`checkpoint:result:${id}`); // null: nobody has taken it yet
      const record = text && JSON.parse(text);
      if (record?.state === "final") return record;
      await Promise.race([soon, sleep(1000)]);
    }
    return { status: 503, body: { ask_again_for: id } };
  } finally {
    await news.unsubscribe(`checkpoint:results:${account_id}`, look);
  }
}

const server = http.createServer(async (request, response) => {
  const chunks = await request.toArray();
  const { status, body } = await solve(JSON.parse(Buffer.concat(chunks)));
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
});
server.listen(process.env.PORT, "127.0.0.1", () => console.log(server.address().port));
