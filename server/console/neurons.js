/** One neuron: its fields, its synapses, and those around it, from one to the next. */

import { byId, el, fill, say } from "./dom.js";
import { sending } from "./forms.js";
import { address } from "./ids.js";
import { Surroundings } from "./surroundings.js";
import { count, plural, real, unitOf } from "./units.js";

const PAGE = 500; // synapses that are asked for at once
const SUGGESTED = 6;

export class Neurons {
  id = "";
  #base = null;
  #tick = null; // at which the fields were read
  #over = new AbortController();
  #names = new Map(); // id -> {label, state} of those seen
  #rows = { out: null, in: null }; // {synapses, cursor} by direction

  /** `go(id)` shows another neuron, in the address too. */
  constructor(service, go) {
    this.service = service;
    this.go = go;
    this.drawing = new Surroundings(byId("surroundings"), go);
    sending(byId("lookup"), async ({ id }) => {
      const found = await this.#batch([id.trim()]);
      if (found[0].id === this.id) await this.#load(this.id);
      else go(found[0].id);
    });
    byId("direction").addEventListener("change", () => this.#drawSynapses());
    byId("most").addEventListener("change", () => this.#drawSurroundings());
    byId("synapses-more").addEventListener("click", () => this.#more());
  }

  clear() {
    this.#over.abort();
    this.id = "";
    this.#base = null;
    this.#names.clear();
    byId("lookup").reset();
    say(byId("lookup").querySelector(".said"), "");
    byId("neuron").hidden = true;
    byId("no-neuron").hidden = false;
    fill(byId("suggestions"));
  }

  /** The view comes to the front, with a neuron or none. */
  show(said, id) {
    this.#base = `/v1/engrams/${encodeURIComponent(said.name)}`;
    this.#tick = said.tick;
    byId("neuron").hidden = !id;
    byId("no-neuron").hidden = Boolean(id);
    if (!id) {
      this.id = "";
      this.#suggest();
    } else if (id !== this.id) this.#load(id);
  }

  /** The engram stands at `tick`: the fields of the neuron may be others. */
  async again(tick) {
    if (!this.id || tick === this.#tick) return;
    this.#tick = tick;
    const id = this.id;
    const [neuron] = await this.#batch([id]).catch(() => [null]);
    if (neuron && id === this.id) this.#drawNeuron(neuron);
  }

  async #batch(ids) {
    const { neurons } = await this.service.post(`${this.#base}/neurons:batch`, { ids });
    for (const one of neurons) this.#names.set(one.id, one);
    return neurons;
  }

  /** Those that fired most are a good place to begin. */
  async #suggest() {
    const base = this.#base;
    let found;
    try {
      found = await this.service.post(`${base}/query`, { query: "top", field: "spike_count", n: SUGGESTED });
      found = await this.#batch((found.rows ?? found.neurons).map((row) => row.id));
    } catch {
      return; // a suggestion that cannot be made is none
    }
    if (base !== this.#base || this.id) return;
    const fired = found.filter((one) => one.fields.spike_count > 0);
    const shown = fired.length ? fired : found;
    if (!shown.length) return;
    fill(
      byId("suggestions"),
      fired.length ? "Those that fired most: " : "Some to begin with: ",
      shown.flatMap((one, place) => [place ? ", " : "", el("a", { class: "link", href: this.#href(one.id) }, one.label ?? address(one.id))]),
    );
  }

  #href(id) {
    return `#/${this.#base.split("/").pop()}/neurons/${id}`;
  }

  async #load(id) {
    this.#over.abort();
    this.#over = new AbortController();
    const signal = this.#over.signal;
    const said = byId("lookup").querySelector(".said");
    this.id = id;
    this.#rows = { out: null, in: null };
    say(said, "");
    say(byId("surroundings-note"), "looking…");
    let neuron;
    try {
      [neuron] = await this.#batch([id]);
    } catch (error) {
      if (signal.aborted) return;
      said.classList.add("bad");
      say(said, error.message);
      byId("neuron").hidden = true;
      return;
    }
    if (signal.aborted) return;
    byId("lookup").elements.id.value = neuron.label ?? address(id);
    this.#drawNeuron(neuron);
    this.#drawSynapses();
    await Promise.all([this.#read("out", signal), this.#read("in", signal)]);
  }

  async #read(direction, signal, cursor = null) {
    const query = new URLSearchParams({ direction, limit: PAGE, ...(cursor ? { cursor } : {}) });
    let page;
    try {
      page = await this.service.get(`${this.#base}/neurons/${this.id}/synapses?${query}`, signal);
      const far = page.synapses.map((one) => (direction === "out" ? one.post : one.pre));
      const unknown = [...new Set(far)].filter((one) => !this.#names.has(one));
      if (unknown.length) await this.#batch(unknown);
    } catch (error) {
      if (signal.aborted) return;
      this.#rows[direction] = { synapses: [], cursor: null, error };
      this.#drawSynapses();
      this.#drawSurroundings();
      return;
    }
    if (signal.aborted) return;
    const before = cursor ? this.#rows[direction].synapses : [];
    this.#rows[direction] = { synapses: [...before, ...page.synapses], cursor: page.cursor };
    this.#drawSynapses();
    this.#drawSurroundings();
  }

  async #more() {
    const direction = byId("direction").value;
    byId("synapses-more").disabled = true;
    await this.#read(direction, this.#over.signal, this.#rows[direction].cursor);
    byId("synapses-more").disabled = false;
  }

  #drawNeuron(neuron) {
    const row = (name, value, unit = "", id = null) =>
      el("div", {}, el("dt", {}, name), el("dd", { id }, value), el("dd", { class: "unit" }, unit));
    say(byId("neuron-title"), neuron.label ?? address(neuron.id));
    fill(
      byId("fields"),
      row("id", neuron.id),
      row("address", neuron.text ?? address(neuron.id)),
      row("layer", neuron.layer),
      row("state", neuron.state, "", "field-state"),
      row("out-degree", count(neuron.out_degree), "synapses", "field-out-degree"),
      neuron.in_degree === undefined || neuron.in_degree === null ? null : row("in-degree", count(neuron.in_degree), "synapses"),
      Object.entries(neuron.fields).map(([name, value]) =>
        row(name, typeof value === "number" || value === null ? real(value) : String(value), unitOf(name), `field-${name}`)),
    );
  }

  #drawSynapses() {
    const direction = byId("direction").value;
    const rows = this.#rows[direction];
    say(byId("partner-head"), direction === "out" ? "To" : "From");
    byId("synapses-more").hidden = !rows?.cursor;
    if (rows === null) {
      say(byId("synapses-note"), direction === "in" ? "Looking for who projects here…" : "Loading…");
      fill(byId("synapses").querySelector("tbody"));
      return;
    }
    say(byId("synapses-note"), rows.error?.message ?? (rows.synapses.length ? `${plural(rows.synapses.length, "synapse")}${rows.cursor ? " so far" : ""}` : "No synapse."));
    fill(
      byId("synapses").querySelector("tbody"),
      rows.synapses.map((one) => {
        const far = direction === "out" ? one.post : one.pre;
        return el(
          "tr",
          {},
          el("td", { class: "text" }, el("a", { class: "link", href: this.#href(far) }, this.#label(far))),
          el("td", {}, real(one.weight)),
          el("td", {}, real(one.delay_ms)),
        );
      }),
    );
  }

  #label(id) {
    return this.#names.get(id)?.label ?? address(id);
  }

  #drawSurroundings() {
    const most = Number(byId("most").value);
    const sides = {};
    const cut = [];
    for (const direction of ["in", "out"]) {
      const rows = this.#rows[direction];
      const weights = new Map();
      for (const one of rows?.synapses ?? []) {
        const far = direction === "out" ? one.post : one.pre;
        weights.set(far, (weights.get(far) ?? 0) + one.weight);
      }
      const all = [...weights].sort(([, a], [, b]) => Math.abs(b) - Math.abs(a));
      if (all.length > most || rows?.cursor) cut.push(`the ${count(Math.min(most, all.length))} strongest of ${count(all.length)}${rows.cursor ? " or more" : ""} ${direction === "in" ? "onto it" : "out of it"}`);
      sides[direction] = {
        waiting: rows === null,
        nodes: all.slice(0, most).map(([id, weight]) => ({ id, weight, label: this.#label(id), state: this.#names.get(id)?.state ?? "virtual" })),
      };
    }
    say(byId("surroundings-note"), cut.length ? `${cut.join(", ")}` : "");
    this.drawing.show({ id: this.id, label: this.#label(this.id), state: this.#names.get(this.id)?.state }, sides);
  }
}
