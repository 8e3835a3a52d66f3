// Looks of the simulated pages: fields that come late, boxes, a button that waits for typing,
// forms that a script sends. The server writes the markup; `data-looks` of the body says which.
"use strict";

const LATE_MS = 300;
const TOAST_MS = 4000;

const body = document.body;
const looks = new Set((body.dataset.looks ?? "").split(" "));
let carry = fetch;

function go(address) {
  const isForm = address.includes("/checkpoint/");
  if (isForm && "inPlace" in body.dataset && window === window.top) return swap(address);
  window.top.location.assign(address);
}

// Put the main part of another page in the place of this one's.
async function swap(address) {
  const reply = await carry(address, { headers: { Accept: "text/html" } });
  const fresh = new DOMParser().parseFromString(await reply.text(), "text/html");
  document.querySelector("main").replaceWith(fresh.querySelector("main"));
  history.replaceState(null, "", address);
  attach();
}

function attach() {
  const later = document.querySelector("template[data-late]");
  if (later) {
    setTimeout(() => {
      later.previousElementSibling.remove();
      later.replaceWith(later.content);
      attach();
    }, LATE_MS);
    return;
  }
  const form = document.querySelector("form[data-send]");
  if (!form) return;
  const page = {
    form,
    inputs: [...form.querySelectorAll("[data-code]")],
    joined: form.querySelector("[data-joined]"),
    button: form.querySelector("[type=submit]"),
    length: Number(form.dataset.length),
    heard: "",
  };
  page.inputs.forEach((input, at) => listen(page, input, at));
  form.addEventListener("submit", (event) => submit(page, event));
  page.inputs[0].focus();
}

const typed = (page) => page.inputs.map((input) => input.value).join("");

function listen(page, input, at) {
  input.addEventListener("input", (event) => {
    page.heard = typed(page);
    const isFull = page.heard.length >= page.length;
    if (page.joined && input.value) page.inputs[at + 1]?.focus();
    if (looks.has("disabled")) page.button.disabled = !isFull;
    if (looks.has("auto") && isFull) page.form.requestSubmit();
  });
  if (!page.joined) return;
  input.addEventListener("keydown", (event) => {
    if (event.key === "Backspace" && !input.value) page.inputs[at - 1]?.focus();
  });
  input.addEventListener("paste", (event) => {
    event.preventDefault();
    const pasted = [...event.clipboardData.getData("text").trim()];
    page.inputs.slice(at).forEach((box, n) => (box.value = pasted[n] ?? box.value));
    page.inputs.at(-1).dispatchEvent(new Event("input", { bubbles: true }));
  });
}

function submit(page, event) {
  const { form, button } = page;
  // The page goes by what it has heard typed, as one that keeps its own state does.
  const isUnheard = looks.has("disabled") && page.heard !== typed(page);
  if (form.ariaBusy === "true" || isUnheard) return event.preventDefault();
  form.ariaBusy = "true";
  if (page.joined) page.joined.value = typed(page);
  if (form.dataset.send === "script") {
    event.preventDefault();
    send(page, new URLSearchParams(new FormData(form)));
  }
  setTimeout(() => (button.disabled = true)); // After the browser has read the form.
}

async function send(page, sent) {
  const { form, button } = page;
  let answer;
  try {
    const options = { method: "POST", body: sent, headers: { Accept: "application/json" } };
    answer = (await (await carry(form.action, options)).json()).page;
  } catch {
    answer = { error: "Something went wrong. Please try again." };
  }
  if (answer.to) return go(answer.to);
  form.ariaBusy = "false";
  for (const [name, value] of Object.entries(answer.fields ?? {})) {
    const field = form.querySelector(`input[type=hidden][name="${name}"]`);
    if (field) field.value = value;
  }
  if (page.joined) {
    page.inputs.forEach((box) => (box.value = ""));
    page.inputs[0].focus();
  }
  page.heard = typed(page);
  button.disabled = looks.has("disabled") && page.heard.length < page.length;
  complain(page, answer.error);
}

function alertOf(text) {
  return Object.assign(document.createElement("p"), { role: "alert", textContent: text });
}

function complain(page, text) {
  if (looks.has("toast")) {
    const toast = alertOf(text);
    toast.className = "toast";
    toast.dataset.testid = "toast";
    body.append(toast);
    setTimeout(() => toast.remove(), TOAST_MS);
    return;
  }
  const place = page.form.querySelector("[data-error]");
  place.textContent = text;
  place.classList.remove("hidden");
  page.inputs.forEach((input) => input.setAttribute("aria-invalid", "true"));
}

if (body.dataset.then) {
  setTimeout(() => location.replace(body.dataset.then), Number(body.dataset.afterMs));
} else if (body.dataset.bind) {
  try {
    carry = await (await import("./bound.js")).signer(body.dataset.bind);
    await swap(location.href);
  } catch (error) {
    document.querySelector("[role=status]").replaceWith(alertOf(error.message));
  }
} else {
  attach();
}
