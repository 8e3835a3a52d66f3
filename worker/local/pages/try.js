"use strict";

// What a backend does with the gateway is in `submit` and `changes`; the rest is the page.

const $ = (selector, within = document) => within.querySelector(selector);
const KEY = $("meta[name=api-key]").content;
const LOOK_MS = 1000;
const AGAIN_MS = 2000;  // After an event stream broke off,
const AGAINS_MAX = 15;  // so often.
const CODES_MAX = 10;  // Of a demonstration, whatever the limit of failures is.

let login = null;  // The intent that is shown, as the gateway describes it, and `source`.
let number = 0;
let busy = false;

// Talking ---------------------------------------------------------------------------------------

class Trouble extends Error {}

async function call(path, body, headers = {}) {
  let reply, answer;
  try {
    reply = await fetch(path, body ? {
      method: "POST",
      headers: {"Content-Type": "application/json", ...headers},
      body: JSON.stringify(body),
    } : {headers});
    answer = await reply.json();
  } catch {
    throw new Trouble("This page's server does not answer. Is `checkpoint up` still running?");
  }
  if (!reply.ok) throw new Trouble(answer.error ?? `${answer.title}. ${answer.detail} ${answer.status}.`);
  return answer;
}

const gateway = (path, body, headers) => call(path, body, {"X-API-KEY": KEY, ...headers});

// An EventSource cannot send a key, so the stream is read as what it is: lines.
async function* changes(id) {
  for (let again = 0; again < AGAINS_MAX; again++) {
    try {
      const reply = await fetch(`/v1/submissions/${id}/events`, {headers: {"X-API-KEY": KEY}});
      const lines = reply.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = "";;) {
        const {value, done} = await lines.read();
        if (done) break;
        const events = (text + value).split("\n\n");
        text = events.pop();
        for (const event of events) {
          const data = event.split("\n").find(line => line.startsWith("data: "));
          if (!data) continue;
          const record = JSON.parse(data.slice(6));
          yield record;
          if (record.state === "final") return;
        }
      }
    } catch { /* It broke off; the outcome comes all the same. */ }
    await pause(AGAIN_MS);
  }
  throw new Trouble("No outcome was heard: this page's server does not answer.");
}

const pause = ms => new Promise(resolve => setTimeout(resolve, ms));

// The person and the provider -------------------------------------------------------------------

async function start(fields) {
  login = await call("/try/login", fields);
  $("#paces [value=prompt]").checked = true;
  $("#submit").code.value = "";
  $("#submit").code.inputMode = login.source === "BACKUP" ? "text" : "numeric";
  $("#arrived").textContent = "";
  for (const name of ["#inbox", "#typing", "#intent"]) $(name).hidden = false;
  showIntent(login);
  await look();
}

const chosen = () => Object.fromEntries(new FormData($("#start")));

// Show the intent as it is by now, if the page still shows its login.
async function refresh({account_id, provider}) {
  const intent = await gateway(`/v1/intents?${new URLSearchParams({account_id, provider})}`);
  if (login.account_id === account_id) showIntent({...login, ...intent});
}

async function ensureOpen() {
  if (login?.state === "open") await refresh(login);  // A code may have ended it meanwhile.
  if (login?.state !== "open") await start(chosen());
  return login;
}

// Read the inbox; say so when a code has come.
async function look() {
  const account = login.account_id;
  const inbox = await call(`/try/inbox?${new URLSearchParams({account_id: account})}`);
  if (login.account_id !== account) return inbox;
  put($("#from"), FROM[inbox.source] ? FROM[inbox.source](login.provider) : inbox.source);
  const code = $("#arrived");
  if (inbox.code && inbox.code !== code.textContent && inbox.source !== "APP") say(`A code has come: ${inbox.code}.`);
  put(code, inbox.code ?? "No unused code.");
  code.classList.toggle("none", !inbox.code);
  showIntent({...login, received: inbox.received});
  return inbox;
}

const FROM = {
  EMAIL: provider => `Email from ${provider}`,
  SMS: provider => `SMS from ${provider}`,
  APP: provider => `Authenticator app, for ${provider}; a new one every 30 seconds`,
  BACKUP: provider => `From the person's list of backup codes for ${provider}`,
};

async function pace(account_id, name) {
  await call("/try/pace", {account_id, pace: name});
  if (login.account_id === account_id) $(`#paces [value=${name}]`).checked = true;
}

const wrong = async account_id => (await call("/try/wrong", {account_id})).code;
const right = async () => (await look()).code ?? "000000";

// Submitting ------------------------------------------------------------------------------------

async function submit(intent, code, what) {
  const card = new Card(what);
  const {account_id, provider} = intent;
  try {
    let record = await gateway("/v1/accounts/checkpoint", {account_id, provider, code}, {Prefer: "respond-async"});
    card.show(record);
    if (record.state !== "final") {
      for await (record of changes(record.submission_id)) card.show(record);
    }
    if (login.account_id === account_id) {
      await refresh(intent);
      await look();
    }
    return record;
  } catch (error) {
    card.fail(told(error));
    return null;
  }
}

class Card {
  static waiting = new Set();

  constructor(what) {
    this.what = what;
    this.since = Date.now();
    this.element = $("#card").content.cloneNode(true).firstElementChild;
    this.element.dataset.number = ++number;
    $("#none").hidden = true;
    $("#cards").prepend(this.element);
    Card.waiting.add(this);
    this.set("wait", "sending", "On its way to the gateway.");
  }

  set(mood, badge, why) {
    this.element.className = `card ${mood}`;
    put($("h3", this.element), this.what);
    put($(".badge", this.element), badge);
    put($(".why", this.element), why);
  }

  show(record) {
    this.element.dataset.id = record.submission_id;
    this.element.dataset.state = record.state;
    put($("pre", this.element), JSON.stringify(record, null, 2));
    if (record.state !== "final") {
      this.set("wait", record.state, WAITING[record.state]);
      return;
    }
    const type = record.body.type?.replace("errors/", "") ?? record.body.object;
    const why = explain(record, type);
    this.set(mood(record.status), `${record.status} ${type}`, why);
    list($("dl", this.element), [
      ["Detail", record.body.detail],
      ["Code sent", record.code_sent ? "yes, it may have reached the provider" : "no, and it never will be"],
      ["Login", record.intent && `${record.intent.state}, ${tries(record.intent.failures_left)} left`],
      ["Times", times(record)],
    ]);
    this.end();
    say(`${this.what}: ${why} ${record.status}.`);
  }

  fail(why) {
    this.element.dataset.state = "refused";
    this.set("bad", "not accepted", why);
    this.end();
    say(`${this.what}: ${why}`);
  }

  end() {
    Card.waiting.delete(this);
    put($(".clock", this.element), "");
  }

  tick() {
    put($(".clock", this.element), `${Math.round((Date.now() - this.since) / 1000)} s`);
  }
}

const WAITING = {
  queued: "Accepted. Its turn comes when a worker is free and no older code is with the provider.",
  running: "The provider may have the code now. From here on it is never sent again.",
};

const mood = status => status < 300 ? "good" : status === 409 ? "note" : "bad";
const tries = left => left === 1 ? "1 try" : `${left} tries`;

function explain({status, body, code_sent, superseded_by, intent}, type) {
  switch (`${status} ${type}`) {
    case "201 AccountCreated": case "201 AccountReconnected":
      return code_sent ? "The provider took this code: the account is connected."
        : "Connected, and this code was not sent: the one before was with the provider already, and it was right.";
    case "202 Checkpoint":
      return `The provider took this code and asks for one more, from ${body.checkpoint.source}.`;
    case "401 invalid_checkpoint_solution":
      return `The provider refused this code. That counts: ${tries(intent.failures_left)} left.`;
    case "409 operation_canceled":
      if (!superseded_by) return "The login was started again, or somebody canceled: this code was taken back.";
      return code_sent ? "A newer code was sent; this one was taken back, but the provider may have seen it."
        : "A newer code was sent; this one was taken back before it was sent.";
    case "409 already_exists":
      return "The account is connected already, so this code was not sent.";
    case "500 authentication_intent_error":
      if (intent?.state === "expired") return "The login took too long and has expired. Start again.";
      return code_sent ? "Refused once too often: the login is killed, nothing more is sent. Start again."
        : "The login was killed before, so this code was not sent. Start again.";
    case "408 request_timeout":
      return "The provider did not answer in time. It may have used the code, so this one is never sent again; it does not count as refused.";
    case "504 request_timeout":
      return code_sent ? "Our own time was up while the provider had the code."
        : "Our own time was up before the code was sent.";
    case "403 action_required":
      return "The provider offers no other way here: only its own app or site can change the method. Nothing was sent, and it does not count.";
    default:
      return `${body.title}. ${body.detail ?? ""}`;
  }
}

function times({queued_at, started_at, finished_at}) {
  const after = at => `${((Date.parse(at) - Date.parse(queued_at)) / 1000).toFixed(2)} s`;
  if (!queued_at) return null;
  return `queued${started_at ? `, sent after ${after(started_at)}` : ""}, final after ${after(finished_at)}`;
}

// What happens on… ------------------------------------------------------------------------------

const DEMOS = {
  async double() {
    const intent = await ensureOpen(), code = await right();
    await pace(intent.account_id, "slow");
    await Promise.all([submit(intent, code, "A double click"), submit(intent, code, "A double click")]);
    await pace(intent.account_id, "prompt");
  },
  async wrong() {
    const intent = await ensureOpen();
    await submit(intent, await wrong(intent.account_id), "A wrong code");
  },
  async newer() {
    const intent = await ensureOpen(), {received} = await look();
    await pace(intent.account_id, "silent");
    const older = submit(intent, await wrong(intent.account_id), "The first code");
    let done = false;
    older.finally(() => { done = true; });
    while (!done && (await look()).received === received) await pause(100);
    await pace(intent.account_id, "prompt");
    await Promise.all([older, submit(intent, await right(), "The newer code")]);
  },
  async timeout() {
    const intent = await ensureOpen();
    await pace(intent.account_id, "silent");
    await submit(intent, await right(), "A silent provider");
    await pace(intent.account_id, "prompt");
  },
  async another() {
    await submit(await ensureOpen(), "TRY_ANOTHER_WAY", "TRY_ANOTHER_WAY");
  },
  async kill() {
    const {account_id} = await ensureOpen();
    const goesOn = () => login.account_id === account_id && login.state === "open";
    for (let count = 1; count <= CODES_MAX && goesOn(); count++) {
      await submit(login, await wrong(account_id), `Wrong code ${count}`);
    }
  },
  async again() {
    await start(login ? {account_id: login.account_id} : chosen());
    say("The login was started again: a fresh code, all tries back.");
    $("#submit").code.focus();
  },
};

async function demonstrate(name) {
  if (busy) return say("One at a time: the last one is still under way.");
  setBusy(true);
  try {
    await DEMOS[name]();
  } catch (error) {
    say(told(error));
  } finally {
    setBusy(false);
  }
}

// Still to be reached by keyboard, so not `disabled`.
function setBusy(now) {
  busy = now;
  for (const button of document.querySelectorAll("[data-demo]")) button.setAttribute("aria-disabled", now);
}

// Showing ---------------------------------------------------------------------------------------

// Text goes in as text, and only if it changed: focus and selection stay.
function put(element, text) { if (element.textContent !== text) element.textContent = text; }

function say(text) {
  const line = document.createElement("p");
  line.textContent = text;
  $("#said").append(line);
  while ($("#said").childElementCount > 2) $("#said").firstElementChild.remove();
}

function told(error) {
  if (!(error instanceof Trouble)) console.error(error);
  return error instanceof Trouble ? error.message : "Something is wrong with this page; the console says what.";
}

function list(element, pairs) {
  element.replaceChildren(...pairs.filter(([, text]) => text).flatMap(([name, text]) => {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = text;
    return [dt, dd];
  }));
}

function showIntent(intent) {
  login = intent;
  const {type, source} = intent.checkpoint;
  list($("#intent"), [
    ["Login", `${intent.account_id} at ${intent.provider}`],
    ["Wants", `${type}${source ? ` from ${source}` : ""}, step ${intent.checkpoint_step}`],
    ["State", `${intent.state}, ${tries(intent.failures_left)} left`],
    ["Sent so far", intent.received === undefined ? null : `${intent.received} to the provider`],
  ]);
}

function offer(providers) {
  const {provider, source} = $("#start");
  const fill = (select, names) => select.replaceChildren(...names.map(name => new Option(name, name)));
  fill(provider, Object.keys(providers));
  const sources = () => fill(source, providers[provider.value]);
  provider.addEventListener("change", sources);
  sources();
}

// Beginning -------------------------------------------------------------------------------------

$("#start").addEventListener("submit", async event => {
  event.preventDefault();
  try {
    await start(chosen());
    $("#submit").code.focus();
  } catch (error) { say(told(error)); }
});

$("#submit").addEventListener("submit", event => {
  event.preventDefault();
  submit(login, event.target.code.value, "Your code");
});

$("#paces").addEventListener("change", event => {
  pace(login.account_id, event.target.value).catch(error => say(told(error)));
});

$("#demos").addEventListener("click", event => {
  const name = event.target.dataset.demo;
  if (name) demonstrate(name);
});

setInterval(() => { for (const card of Card.waiting) card.tick(); }, LOOK_MS);

(async () => {
  for (let last = "";; await pause(LOOK_MS)) {
    if (document.hidden) continue;
    try {
      if (!$("#start").provider.options.length) offer(await call("/try/providers"));
      else if (login) await look();
      last = "";
    } catch (error) {
      const now = told(error);
      if (now !== last) say(now);
      last = now;
    }
  }
})();
