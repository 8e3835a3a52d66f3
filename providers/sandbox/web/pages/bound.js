// Signs each request with a key pair that this browser makes and no script can read.
"use strict";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256" };
const NAME = "login-key";

function wait(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

// The key outlives a reload, in a store that takes keys without showing them.
async function keyOf(name) {
  const opening = indexedDB.open(NAME, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(NAME);
  const database = await wait(opening);
  const held = await wait(database.transaction(NAME).objectStore(NAME).get(name));
  if (held?.privateKey instanceof CryptoKey) return held;
  const made = await crypto.subtle.generateKey(ALGORITHM, false, ["sign"]);
  await wait(database.transaction(NAME, "readwrite").objectStore(NAME).put(made, name));
  return made;
}

const hex = (bytes) =>
  Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
const base64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

// Hand in the public key at an address, and return a `fetch` that signs.
export async function signer(address) {
  const { privateKey, publicKey } = await keyOf(address);
  const jwk = await crypto.subtle.exportKey("jwk", publicKey);
  const reply = await fetch(address, { method: "POST", body: JSON.stringify(jwk) });
  if (!reply.ok) throw new Error("The login is bound to another browser.");
  const { nonce } = await reply.json();
  let count = 0;
  return async (target, options = {}) => {
    const url = new URL(target, location.href);
    const body = new TextEncoder().encode(options.body?.toString() ?? "");
    const digest = hex(await crypto.subtle.digest("SHA-256", body));
    count += 1;
    const lines = [nonce, count, options.method ?? "GET", url.pathname, digest].join("\n");
    const signed = await crypto.subtle.sign(
      { name: "ECDSA", hash: "SHA-256" }, privateKey, new TextEncoder().encode(lines));
    const headers = { ...options.headers, "login-proof": `${count}.${base64url(signed)}` };
    return fetch(url, { ...options, headers });
  };
}
