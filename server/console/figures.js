/** The strip of figures above the views: who is awake, how fast they fire, and what that takes. */

import { byId, el, fill, say } from "./dom.js";
import { UNKNOWN, bytes, compact, count, hertz, percent, plural, span } from "./units.js";

const STATES = ["virtual", "dormant", "charged", "active"];

export class Figures {
  #dt = null;
  #of = 0;

  constructor(place) {
    this.place = place;
    const figure = (name, id, ...more) =>
      el("div", {}, el("dt", {}, name), el("dd", { class: "big", id: `figure-${id}` }), ...more);
    this.states = el("div", { class: "states", "aria-hidden": "true" });
    this.keys = el("div", { class: "keys" });
    this.memory = el("meter", { min: 0, max: 1, "aria-label": "RAM used of the budget" });
    fill(
      place,
      figure("Neurons", "neurons", el("dd", {}, this.states, this.keys)),
      figure("Tick", "tick", el("dd", { id: "figure-time" })),
      figure("Rate", "rate", el("dd", { id: "figure-fired" })),
      figure("RAM", "ram", el("dd", {}, this.memory, el("span", { id: "figure-budget" }))),
      figure("Disk", "disk", el("dd", { id: "figure-synapses" })),
      figure("Prefetch hits", "prefetch", el("dd", { id: "figure-prefetch-of" })),
    );
    this.clear();
  }

  clear() {
    this.#dt = null;
    for (const node of this.place.querySelectorAll("[id^=figure]")) say(node, "");
    for (const node of this.place.querySelectorAll(".big")) say(node, UNKNOWN);
    fill(this.states);
    fill(this.keys);
    this.memory.value = 0;
  }

  /** A description of the engram. */
  show(said) {
    this.#dt = said.dt_ms;
    this.#of = said.neurons;
    say(byId("where"), [
      `branch ${said.branch}`,
      `commit ${said.commit}${said.uncommitted ? " and later changes" : ""}`,
      `${said.dt_ms} ms a tick`,
      said.running ? "running" : "idle",
    ].join(" · "));
    say(byId("figure-neurons"), compact(said.neurons));
    byId("figure-neurons").title = count(said.neurons);
    this.#drawStates(said.states, said.neurons);
    this.#drawTick(said.tick);
    if (!byId("figure-fired").textContent) say(byId("figure-fired"), "shown while it runs");
    this.#drawMemory(said.memory?.used ?? said.stats?.used_bytes, said.memory?.budget ?? said.stats?.budget_bytes);
    say(byId("figure-disk"), bytes(said.bytes));
    say(byId("figure-synapses"), `${plural(said.synapses, "synapse")}`);
    const { prefetch_hits: used = 0, prefetched: read = 0 } = said.stats ?? {};
    say(byId("figure-prefetch"), read ? percent(used / read) : UNKNOWN);
    say(byId("figure-prefetch-of"), read ? `of ${compact(read)} rows` : "no row read ahead");
  }

  /** An event of the stream. */
  tick(data) {
    this.#drawTick(data.tick);
    say(byId("figure-rate"), hertz(data.rate_hz));
    say(byId("figure-fired"), `${plural(data.fired, "spike")} last tick`);
  }

  #drawTick(tick) {
    say(byId("figure-tick"), count(tick));
    say(byId("figure-time"), this.#dt === null ? "" : `${span(tick * this.#dt)} simulated`);
  }

  #drawStates(states = {}, total) {
    fill(
      this.states,
      STATES.map((state) => {
        const part = el("i", { class: state });
        part.style.flex = String(total ? (states[state] ?? 0) / total : 0);
        return part;
      }),
    );
    fill(
      this.keys,
      STATES.map((state) =>
        el("span", { title: `${count(states[state])} ${state}` },
          el("i", { class: state }), `${state} `, el("b", { id: `state-${state}` }, compact(states[state]))),
      ),
    );
  }

  #drawMemory(used, budget) {
    say(byId("figure-ram"), bytes(used));
    say(byId("figure-budget"), budget ? `of ${bytes(budget)}` : "");
    this.memory.hidden = !budget;
    this.memory.value = budget ? used / budget : 0;
  }
}
