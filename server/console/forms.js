/** Forms that send themselves, and say what came of it beside the field that is at fault. */

import { Problem } from "./service.js";

/** A field of a form that cannot be right. */
export class Wrong extends Error {
  constructor(field, text) {
    super(text);
    this.field = field;
  }
}

/** Send `form` with `send(fields, button)`; the text that it resolves to is said below. */
export function sending(form, send) {
  const said = form.querySelector(".said");
  form.noValidate = true; // what is wrong is said here, in one way
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = event.submitter ?? form.querySelector("button.main");
    const fields = Object.fromEntries(new FormData(form));
    for (const input of form.elements) input.removeAttribute("aria-invalid");
    said.classList.remove("bad");
    said.textContent = "…";
    button.disabled = true;
    try {
      for (const input of form.querySelectorAll("[required]")) {
        if (!input.value.trim()) throw new Wrong(input.name, "This field is needed.");
      }
      said.textContent = (await send(fields, button)) ?? "";
    } catch (error) {
      said.classList.add("bad");
      said.textContent = error.message;
      const name = error instanceof Problem ? error.pointer?.split("/")[1] : error.field;
      const input = name ? form.elements.namedItem(name) : null;
      input?.setAttribute?.("aria-invalid", "true");
      input?.focus?.();
    } finally {
      button.disabled = false;
    }
  });
}

/** The number in a field; undefined where it is empty. */
export function number(fields, name, { whole = false } = {}) {
  const text = fields[name].trim().replaceAll(",", "").replace("−", "-");
  if (text === "") return undefined;
  const value = Number(text);
  if (!Number.isFinite(value) || (whole && !Number.isInteger(value))) {
    throw new Wrong(name, `“${text}” is no ${whole ? "whole " : ""}number.`);
  }
  return value;
}
