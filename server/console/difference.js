/** What differs between two commits. */

import { byId, el, fill, say } from "./dom.js";
import { count, real, signed } from "./units.js";

const ROWS = [
  ["neurons with a record, new", "added"],
  ["neurons with a record, gone", "removed"],
  ["neurons that changed", "changed"],
  ["rows that changed", "row_changed"],
  ["neurons born", "born"],
  ["neurons not born yet", "unborn"],
  ["neurons rewired", "rewired"],
  ["synapses new", "synapses_added"],
  ["synapses gone", "synapses_removed"],
  ["synapses of another weight", "synapses_reweighted"],
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
    fill(
      byId("difference-body"),
      el("p", { class: "note" }, `tick ${count(found.from.tick)} to ${count(found.to.tick)}; what is not listed is the same`),
      found.same ? el("p", {}, "Nothing differs.") : [found.layers.map(part), inFlight(found.in_flight)],
    );
  }
}

const row = (name, value, unit = "", id = null) =>
  el("div", {}, el("dt", {}, name), el("dd", { id }, value), el("dd", { class: "unit" }, unit));

function part(layer) {
  const { weights } = layer;
  const differing = ROWS.filter(([, name]) => layer[name]);
  if (!differing.length) return null;
  return el(
    "div",
    {},
    el("h3", {}, `Layer ${layer.name}`),
    el(
      "dl",
      { class: "fields" },
      differing.map(([title, name]) => row(title, count(layer[name]), "", `diff-${name}`)),
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

/** What was going on, before and after. */
function inFlight({ charged, spikes, stimuli }) {
  const pairs = [["neurons not at rest", charged], ["spikes under way", spikes], ["stimuli to come", stimuli]];
  const differing = pairs.filter(([, [before, after]]) => before !== after);
  if (!differing.length) return null;
  return el(
    "div",
    {},
    el("h3", {}, "In flight"),
    el("dl", { class: "fields" }, differing.map(([title, [before, after]]) => row(title, `${count(before)} → ${count(after)}`))),
  );
}
