/** Histograms of weights, potentials, spike counts and W, as they were when they were counted. */

import { Bars } from "./charts.js";
import { byId, el, fill, say } from "./dom.js";
import { Disconnected } from "./service.js";
import { count, moment } from "./units.js";

const BINS = 48;
const KINDS = [
  { of: "v", title: "Membrane potential v", unit: "mV" },
  { of: "weight", title: "Weights", unit: "mV" },
  { of: "spike_count", title: "Spikes of a neuron", unit: "spikes" },
  { of: "W", title: "W of void neurons", unit: "1", model: "void" },
];

export class Distributions {
  #name = null;
  #models = new Map(); // of the layers, by name
  #parts;

  constructor(service) {
    this.service = service;
    this.#parts = KINDS.map((kind) => {
      const unit = el("span", { class: "unit" }, kind.unit);
      const plot = el("div", { class: "plot", id: `histogram-${kind.of}` });
      const none = el("p", { class: "nothing", hidden: true });
      const part = el("div", {}, el("h3", {}, `${kind.title} `, unit), plot, none);
      byId("distributions").append(part);
      return { ...kind, part, place: unit, plot, none, bars: new Bars(plot) };
    });
    byId("distributions-again").addEventListener("click", () => this.count());
    byId("distributions-layer").addEventListener("change", () => this.count());
  }

  clear() {
    this.#name = null;
    for (const part of this.#parts) part.bars.clear();
    say(byId("distributions-note"), "");
  }

  open(said) {
    this.#name = said.name;
    this.#models = new Map(said.layers.map((layer) => [layer.name, layer.model]));
    fill(
      byId("distributions-layer"),
      el("option", { value: "" }, "all"),
      said.layers.map((layer) => el("option", { value: layer.name }, layer.name)),
    );
    return this.count();
  }

  async count() {
    const name = this.#name;
    const layer = byId("distributions-layer").value;
    if (name === null) return;
    say(byId("distributions-note"), "counting…");
    const models = layer ? [this.#models.get(layer)] : [...this.#models.values()];
    const had = this.#parts.filter((part) => {
      part.part.hidden = part.model !== undefined && !models.includes(part.model);
      return !part.part.hidden;
    });
    const sampled = await Promise.all(had.map((part) => this.#one(part, name, layer)));
    if (name !== this.#name) return;
    const how = sampled.includes(true) ? ", of a sample of the neurons" : "";
    say(byId("distributions-note"), `as of ${moment(new Date())}${how}; heights are square roots of counts`);
  }

  /** Count and draw one; whether it is of a sample, or null where there is none. */
  async #one(part, name, layer) {
    const query = new URLSearchParams({ of: part.of, bins: BINS, ...(layer ? { layer } : {}) });
    let found;
    try {
      found = await this.service.get(`/v1/engrams/${encodeURIComponent(name)}/histograms?${query}`);
    } catch (error) {
      if (error instanceof Disconnected || name !== this.#name) return null;
      this.#none(part, error.message);
      return null;
    }
    if (name !== this.#name) return null;
    const total = found.counts.reduce((sum, one) => sum + one, 0);
    if (!total) {
      this.#none(part, `No neuron here has ${part.of}.`);
      return null;
    }
    part.none.hidden = true;
    part.plot.hidden = false;
    const unit = found.unit === "1" ? part.unit : found.unit; // a count has a better name than 1
    say(part.place, `${unit} · n = ${count(total)}`);
    part.bars.count(found.edges, found.counts);
    part.plot.setAttribute("role", "img");
    const [least, most] = [found.edges[0], found.edges.at(-1)];
    part.plot.setAttribute("aria-label", `${part.title}: ${count(total)} values from ${least} to ${most} ${part.unit}`);
    return found.sampled;
  }

  #none(part, why) {
    part.bars.clear();
    part.plot.hidden = true;
    part.none.hidden = false;
    say(part.none, why);
    say(part.place, part.unit);
  }
}
