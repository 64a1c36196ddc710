/** What differs between two commits. */

import { byId, el, fill, say } from "./dom.js";
import { count, real, signed } from "./units.js";

const ROWS = [
  ["neurons with a record, new", "added"],
  ["neurons with a record, gone", "removed"],
  ["neurons that changed", "changed"],
  ["rows that changed", "row_changed"],
  ["neurons born", "born"],
  ["synapses new", "synapses_added"],
  ["synapses gone", "synapses_removed"],
];

export class Difference {
  constructor(service) {
    this.service = service;
  }

  clear() {
    byId("difference").hidden = true;
    fill(byId("difference-body"));
  }

  async show(base, from, to) {
    byId("difference").hidden = false;
    say(byId("difference-title"), `From ${from} to ${to}`);
    fill(byId("difference-body"), el("p", { class: "note" }, "comparing…"));
    let found;
    try {
      found = await this.service.get(`${base}/diff?${new URLSearchParams({ from, to })}`);
    } catch (error) {
      fill(byId("difference-body"), el("p", { class: "error" }, error.message));
      return;
    }
    const ticks = found.from?.tick === undefined ? "" : `tick ${count(found.from.tick)} to ${count(found.to.tick)}`;
    const layers = found.layers ?? Object.values(found.by_layer ?? {});
    const same = layers.every((layer) => layer.same ?? ROWS.every(([, name]) => !layer[name]));
    fill(
      byId("difference-body"),
      el("p", { class: "note" }, ticks),
      same ? el("p", {}, "Neurons and synapses are the same.") : layers.map((layer) => part(layer)),
    );
  }
}

function part(layer) {
  const weights = layer.weights ?? {};
  const row = (name, value, unit = "", id = null) =>
    el("div", {}, el("dt", {}, name), el("dd", { id }, value), el("dd", { class: "unit" }, unit));
  return el(
    "div",
    {},
    el("h3", {}, `Layer ${layer.name}`),
    el(
      "dl",
      { class: "fields" },
      ROWS.map(([title, name]) => (layer[name] === undefined ? null : row(title, count(layer[name]), "", `diff-${name}`))),
      row("synapses of another weight", count(weights.count ?? 0), "", "diff-reweighted"),
      weights.count
        ? [
            row("mean change", signed(weights.mean), "mV"),
            row("std", real(weights.std), "mV"),
            row("from", signed(weights.minimum), "mV"),
            row("to", signed(weights.maximum), "mV"),
          ]
        : null,
    ),
  );
}
