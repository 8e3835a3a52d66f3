// TWITTER with a Node client that takes its own `fetch`: @the-convocation/twitter-scraper,
// agent-twitter-client. The login ends at the answer that asks for a code; the intent is opened
// through the gateway, and a new client goes on with the cookies of the session.

const TYPES = { LoginTwoFactorAuthChallenge: "2FA", LoginAcid: "OTP" };
const MADE = /^(authorization|origin|referer|x-(client-transaction-id|csrf-token|guest-token|twitter-auth-type)|cookie|content-.*|user-agent|host|connection|accept-encoding)$/;

// Return a `fetch` for the client's options; `login` then rejects with an error that has `flow`.
export function stopAtCode(send = fetch) {
  return async (url, init) => {
    const reply = await send(url, init);
    if (!String(url).includes("/onboarding/task.json")) return reply;
    const answer = await reply.clone().json().catch(() => ({}));
    const { subtask_id, enter_text } = answer.subtasks?.[0] ?? {};
    // A LoginAcid without "code" asks for the account's address, which the client answers itself.
    const isAddress = subtask_id === "LoginAcid" && !/code/i.test(enter_text?.hint_text);
    if (!TYPES[subtask_id] || isAddress) return reply;
    const headers = Object.fromEntries(new Headers(init.headers));
    const cookies = [...(headers.cookie ?? "").split("; "), ...reply.headers.getSetCookie()];
    throw Object.assign(new Error("the flow asks for a code"), { flow: { answer, headers, cookies } });
  };
}

// Return the body of POST /v1/intents; `source` says where the code comes from.
export function intentOf({ answer, headers, cookies }, { accountId, source }) {
  const [{ subtask_id, enter_text = {} }] = answer.subtasks;
  const pairs = cookies.map(each => each.split(";")[0]).filter(each => each.includes("="));
  const jar = new Map(pairs.map(each => [each.slice(0, each.indexOf("=")), each.slice(each.indexOf("=") + 1)]));
  return {
    account_id: accountId,
    provider: "TWITTER",
    checkpoint: { type: TYPES[subtask_id], source },
    context: {
      route: "ocf",
      flow_token: answer.flow_token,
      subtask_id,
      hint_text: enter_text.hint_text ?? "",
      keyboard_type: enter_text.keyboard_type ?? "",
      link_id: enter_text.next_link?.link_id ?? "next_link",
      user_id: enter_text.header?.user?.id_str ?? "",
      user_agent: headers["user-agent"] ?? "",
      guest_token: headers["x-guest-token"] ?? "",
      transaction_id: headers["x-client-transaction-id"] ?? "",
      app: { bearer_token: headers.authorization },
      cookies: [...jar].map(([name, value]) => ({ name, value })),
      headers: Object.fromEntries(Object.entries(headers).filter(([name]) => !MADE.test(name))),
    },
  };
}

// Return the cookies of a session for the client's `setCookies`.
export function cookiesOf(session) {
  return session.cookies.map(({ name, value, domain, path }) =>
    `${name}=${value}; Domain=${domain || ".x.com"}; Path=${path || "/"}; Secure`);
}
