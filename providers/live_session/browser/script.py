"""The scripts that run in a page: they find the field for the code and say what they see.

They read, and change nothing, but for the one that empties the field. The code is typed by keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from checkpoint_worker.providers.live_session.browser.recipes import Recipe

FIND: Final = r"""
({recipe, since}) => {
  const roots = [document];
  for (let at = 0; at < roots.length && roots.length < 100; at++)
    for (const each of roots[at].querySelectorAll("*"))
      if (each.shadowRoot) roots.push(each.shadowRoot);
  const all = (css) => css ? roots.flatMap((root) => [...root.querySelectorAll(css)]) : [];
  const seen = (element) => {
    const box = element.getBoundingClientRect();
    return box.width > 1 && box.height > 1 &&
      element.checkVisibility({checkOpacity: true, checkVisibilityCSS: true});
  };
  const clip = (text, most) => String(text ?? "").replace(/\s+/g, " ").trim().slice(0, most);
  const texts = (css, most) =>
    all(css).filter(seen).map((each) => clip(each.innerText, most)).filter(Boolean).slice(0, 20);
  const shown = (css) => all(css).filter(seen)
    .map((each) => ({text: clip(each.innerText, 500), fresh: Boolean(since?.has(each))}))
    .filter(({text}) => text).slice(0, 20);

  const NO_CODE = /username|email|tel$|name|address|password|search|cc-/;
  const takes = (input) => !input.readOnly &&
    !NO_CODE.test(input.autocomplete) &&
    ["text", "tel", "number", "password"].includes(input.type) && seen(input);
  const label = (input) => clip([
    ...[...(input.labels ?? [])].map((each) => each.innerText),
    input.ariaLabel,
    ...(input.getAttribute("aria-labelledby") ?? "").split(/\s+/).filter(Boolean)
      .map((id) => input.getRootNode().getElementById?.(id)?.innerText),
    input.placeholder,
  ].join(" "), 300);
  const CODE = /(^|[^a-z])(code|otp|pin|passcode|2fa|totp|token|verification)([^a-z]|$)/i;
  const named = (input) => CODE.test(
    `${label(input)} ${input.name.replace(/([a-z])([A-Z])/g, "$1 $2")} ${input.id}`);

  const inputs = all("input").filter(takes);
  const wanted = recipe.field ? all(recipe.field).filter((each) => inputs.includes(each)) : [];
  const first =
    inputs.find((each) => each.autocomplete.split(/\s+/).includes("one-time-code")) ??
    wanted[0] ??
    inputs.find((each) => each.maxLength !== 1 && named(each));
  const group = (input) => input.closest("fieldset, form, [role=group]") ?? input.getRootNode();
  const singles = inputs.filter((each) => each.maxLength === 1);
  const near = (input) => singles.filter((each) => group(each) === group(input));
  let fields = first ? [first] : [];
  const boxed = first ? near(first) : (singles[0] ? near(singles[0]) : []);
  if (boxed.length >= 4 && (!first || boxed.includes(first))) fields = boxed;

  const form = fields[0] && (fields[0].form ?? fields[0].closest("main, [role=dialog], body"));
  const buttons = form ? [
    ...form.querySelectorAll("button[type=submit], input[type=submit], button:not([type])"),
    ...all(recipe.submit).filter((each) => form.contains(each) || !fields[0].form),
  ].filter(seen) : [];
  const button = buttons[0] ?? null;
  const disabled = (element) =>
    Boolean(element.disabled) || element.getAttribute("aria-disabled") === "true";

  const described = fields.flatMap((each) => [
    each.getAttribute("aria-errormessage"),
    each.ariaInvalid === "true" ? each.getAttribute("aria-describedby") : "",
  ]).join(" ").split(/\s+/).filter(Boolean).map((id) => `#${CSS.escape(id)}`).join(", ");
  const alerts = [recipe.error, described].filter(Boolean).join(", ");
  const body = document.body ? document.body.innerText : "";
  const signs = Object.fromEntries(
    Object.entries(recipe.signs).map(([name, css]) => [name, all(css).some(seen)]));
  return {
    look: {
      document: performance.timeOrigin,
      ready: document.readyState !== "loading",
      fields: fields.map((each) => ({
        name: clip(each.name, 100), id: clip(each.id, 100), label: label(each),
        held: each.value.replace(/[\s-]/g, "").length, most: each.maxLength,
        disabled: disabled(each),
      })),
      button: button !== null,
      disabled: button !== null && disabled(button),
      invalid: fields.some((each) => each.ariaInvalid === "true"),
      alerts: shown(alerts),
      headings: texts("h1, h2, h3, [role=heading]", 300).concat(clip(document.title, 200)),
      about: clip(fields[0] && group(fields[0]).innerText, 1000),
      text: clip(body, 2000),
      signs,
    },
    fields, button,
  };
}
"""
LOOK: Final = f"(asked) => ({FIND.strip()})(asked).look"
SINCE: Final = r"""
(recipe) => {
  const touched = new WeakSet();
  const touch = (node) => {
    const element = node instanceof Element ? node : node.parentElement;
    for (let each = element?.closest(recipe.error); each;
         each = each.parentElement?.closest(recipe.error)) touched.add(each);
    if (node instanceof Element) node.querySelectorAll(recipe.error).forEach((e) => touched.add(e));
  };
  new MutationObserver((records) => {
    for (const {target, type, addedNodes} of records)
      if (type === "characterData") touch(target);
      else if (addedNodes.length) for (const node of [target, ...addedNodes])
        if (node !== target || target.matches?.(recipe.error)) touch(node);
  }).observe(document, {subtree: true, childList: true, characterData: true});
  return touched;
}
"""
"""Tracks which errors the page writes from now on, also those with the same text as before."""
ALERT: Final = "[role=alert], [role=alertdialog], [aria-live=assertive]"
CLEAR: Final = r"""
(first, [others, code]) => {
  const inputs = [first, ...others];
  // A page of several inputs also keeps the whole code in a hidden input of its form.
  const copies = [...(first.form?.elements ?? [])].filter((each) => each.value === code);
  for (const input of [...inputs, ...copies].filter((each) => each.value !== "")) {
    if (!(input instanceof HTMLInputElement)) continue;
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(input, "");
    input.dispatchEvent(new Event("input", {bubbles: true}));
  }
}
"""
"""Empties inputs, also disabled or hidden ones, with the events that a page's scripts expect. Only
this script is given the code, and it stores the code nowhere."""


def wanted(recipe: Recipe) -> Mapping[str, object]:
    """Return the part of a recipe that the script needs."""
    return {
        "field": recipe.input,
        "submit": recipe.submit,
        "error": ", ".join(filter(None, (ALERT, recipe.error))),
        "signs": {name: sign.css for name, sign in recipe.signs.items()},
    }


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Input(_Told):
    """An input that takes the code, or one character of it."""

    name: str = Field(max_length=100)
    id: str = Field(max_length=100)
    label: str = Field(max_length=300)
    held: int = Field(ge=0, description="How many characters it holds, without spaces.")
    most: int = Field(description="Its `maxlength`; below 0 without one.")
    disabled: bool


class Alert(_Told):
    """An error that the page shows; ``fresh``: it was written since the submit."""

    text: str = Field(max_length=500)
    fresh: bool = False


class Look(_Told):
    """The observed content of one frame of a page.

    Attributes:
        document: Identifier of the frame's document; another document has another one.
        about: The text around the field.
    """

    document: float = 0.0
    ready: bool = True
    fields: tuple[Input, ...] = Field((), max_length=64)
    button: bool = False
    disabled: bool = False
    invalid: bool = False
    alerts: tuple[Alert, ...] = Field((), max_length=20)
    headings: tuple[str, ...] = Field((), max_length=21)
    about: str = Field("", max_length=1_000)
    text: str = Field("", max_length=2_000)
    signs: Mapping[str, bool] = Field(default_factory=dict)
