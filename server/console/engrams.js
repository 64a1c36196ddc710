/** The engrams of the service, by name. */

import { el, fill } from "./dom.js";
import { Disconnected } from "./service.js";
import { bytes, compact, count } from "./units.js";

const EVERY_MS = 10_000;

/** Fires `change` when the list was read. */
export class Engrams extends EventTarget {
  list = null;
  #marked = "";
  #due = 0;

  constructor(service, place) {
    super();
    this.service = service;
    this.place = place;
  }

  /** Read the list, now and then again. */
  async follow() {
    clearTimeout(this.#due);
    try {
      this.list = (await this.service.get("/v1/engrams")).engrams;
      this.#draw();
      this.dispatchEvent(new Event("change"));
    } catch (error) {
      if (this.list === null && !(error instanceof Disconnected)) {
        const said = error.status === 401 ? el("li", { class: "note" }, "a key is needed") : el("li", { class: "note error", role: "alert" }, error.message);
        fill(this.place, said);
      }
    }
    this.place.setAttribute("aria-busy", "false");
    this.#due = setTimeout(() => this.follow(), EVERY_MS);
  }

  mark(name) {
    this.#marked = name;
    if (this.list) this.#draw();
  }

  #draw() {
    if (!this.list.length) {
      fill(this.place, el("li", { class: "note" }, "none in this folder"));
      return;
    }
    const held = document.activeElement?.closest?.("#engrams a")?.getAttribute("href");
    fill(
      this.place,
      this.list.map((one) =>
        el(
          "li",
          {},
          el(
            "a",
            { href: `#/${encodeURIComponent(one.name)}`, "aria-current": one.name === this.#marked ? "page" : null },
            el("b", {}, one.name),
            el("span", { class: "unit" }, bytes(one.bytes)),
            one.error
              ? el("span", { class: "error" }, one.error.detail || one.error.title)
              : el("small", { title: `${count(one.neurons)} neurons` }, `${compact(one.neurons)} neurons · tick ${count(one.tick)}`),
          ),
        ),
      ),
    );
    if (held) [...this.place.querySelectorAll("a")].find((link) => link.getAttribute("href") === held)?.focus();
  }
}
