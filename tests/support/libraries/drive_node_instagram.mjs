// instagram-private-api: the app's login with a second factor and the checkpoint.

import { createRequire } from "node:module";

import { Person, report, tried } from "./support.mjs";

const require = createRequire(`${process.cwd()}/`);
const { IgApiClient } = require("instagram-private-api");

const person = new Person();
const client = new IgApiClient();
client.state.generateDevice(person.handle);
client.state.proxyUrl = process.env.HTTPS_PROXY;
if (person.session) {
  await client.state.deserialize(person.session);
  report({ owner: (await client.account.currentUser()).pk });
  process.exit();
}
await client.simulate.preLoginFlow();

let answer, info;
const first = await tried(async () => {
  try {
    return await client.account.login(person.handle, person.password);
  } catch (error) {
    if (person.way === "handover") {
      const answer = error.response.body;
      if (answer.challenge) Object.assign(answer, (await client.challenge.auto(true)));
      report({ state: await client.state.serialize(), answer });
      process.exit();
    }
    answer = error.response.body;
    info = answer.two_factor_info;
    throw error;
  }
});
let step = async () => "";
if (person.way === "checkpoint") {
  Object.assign(answer, await client.challenge.auto(true));
  step = code => client.challenge.sendSecurityCode(code);
} else if (info) {
  step = code => client.account.twoFactorLogin({
    username: person.handle,
    verificationCode: code,
    twoFactorIdentifier: info.two_factor_identifier,
    verificationMethod: { APP: "0", SMS: "1", BACKUP: "2" }[person.source],
  });
}
const state = await client.state.serialize();
const wrong = await tried(async () => step(await person.code(true)));
const right = await tried(async () => typeof (await step(await person.code())));
report({
  state,
  answer,
  first: typeof first === "string" ? first : typeof first,
  wrong,
  right,
  owner: await tried(async () => client.state.cookieUserId),
  calls: [
    await tried(async () => (await client.account.currentUser()).pk),
    await tried(async () => { await client.simulate.postLoginFlow(); return "ok"; }),
    await tried(async () => (await client.feed.directInbox().request()).status),
  ],
});
