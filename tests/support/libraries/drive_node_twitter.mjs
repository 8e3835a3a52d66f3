// @the-convocation/twitter-scraper: the site's login as a flow of subtasks; it makes its codes itself.

import { createRequire } from "node:module";

import {
  cookiesOf, intentOf, stopAtCode,
} from "../../../deploy/docs/examples/bridges/twitter_scraper.mjs";
import { Person, namePatch, report, tried } from "./support.mjs";

namePatch();
const require = createRequire(`${process.cwd()}/`);
const { Scraper } = require("@the-convocation/twitter-scraper");

const person = new Person();

async function login(secret) {
  const scraper = new Scraper();
  const done = await tried(async () => {
    await scraper.login(person.handle, person.password, person.username, secret);
    return scraper.isLoggedIn();
  });
  return [scraper, done];
}

if (person.session) {
  const scraper = new Scraper();
  await scraper.setCookies(cookiesOf(person.session));
  report({ owner: (await scraper.isLoggedIn()) && (await scraper.getProfile(person.handle)).userId });
  process.exit();
}
if (person.way === "handover") {
  const scraper = new Scraper({ fetch: stopAtCode(), experimental: { flowStepDelay: 0 } });
  try {
    await scraper.login(person.handle, person.password, person.username);
  } catch ({ flow }) {
    report(intentOf(flow, { accountId: "acc_1", source: person.source }));
    process.exit();
  }
}
const [, wrong] = await login("JBSWY3DPEHPK3PXP");
const [scraper, right] = await login(person.secret);
report({
  wrong,
  right,
  owner: await tried(async () => (await scraper.getProfile(person.handle)).userId),
  calls: [await tried(async () => scraper.getUserIdByScreenName(person.handle))],
});
