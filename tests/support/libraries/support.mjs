// What each driver for Node shares; `support.py` says what a driver is.

import fs from "node:fs";
import https from "node:https";
import tls from "node:tls";

const typed = {};

export class Person {
  constructor() {
    Object.assign(this, JSON.parse(fs.readFileSync(0, "utf8")));
  }

  code(wrong = false) {
    const body = JSON.stringify({ account: this.id, wrong });
    return new Promise((resolve, reject) => {
      const asked = https.request(
        `${this.page}/control/codes`,
        { method: "POST", headers: { "Content-Type": "application/json" } },
        reply => {
          let text = "";
          reply.on("data", part => { text += part; });
          reply.on("end", () => {
            const code = JSON.parse(text).code ?? "";
            typed.code ??= code;
            resolve(code);
          });
        },
      );
      asked.on("error", reject);
      asked.end(body);
    });
  }
}

export async function tried(step) {
  try {
    return await step();
  } catch (error) {
    if (process.env.VERBOSE) console.error(error);
    return `${error.name}: ${error.message}`.slice(0, 300);
  }
}

export function report(steps) {
  console.log(JSON.stringify({ ...typed, ...steps }));
}

// Connect every TLS client to the sandbox, for libraries that take no proxy from the environment.
export function namePatch() {
  const port = Number(new URL(process.env.HTTPS_PROXY).port);
  const real = tls.connect;
  tls.connect = (options, ...rest) => {
    const named = options.servername || options.host;
    if (named === "127.0.0.1" || !named) return real.call(tls, options, ...rest);
    return real.call(tls, { ...options, host: "127.0.0.1", port, servername: named }, ...rest);
  };
}
