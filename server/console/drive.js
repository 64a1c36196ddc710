/** What makes an engram do something: runs, stimuli, rewards. */

import { button, byId, el, fill, say } from "./dom.js";
import { Wrong, number, sending } from "./forms.js";
import { count, plural, real } from "./units.js";

const JOB = "It runs as a job; see Jobs.";
const COMPILED = "The first time, kernels are compiled, which can take half a minute.";

export class Drive {
  #base = null;
  #job = null;
  #stimuli = []; // that are still to come
  #ran = false; // a tick was heard of since the page was opened

  /** `changed()` is called when something was done. */
  constructor(service, changed) {
    this.service = service;
    this.changed = changed;
    sending(byId("run"), (fields) => this.#run(fields));
    sending(byId("stimulate"), (fields) => this.#stimulate(fields));
    sending(byId("reward"), async (fields) => {
      await this.service.post(`${this.#base}/rewards`, { value: number(fields, "value") });
      return "Given.";
    });
    byId("stop").addEventListener("click", () => this.#stop());
    const kind = byId("stimulate").elements.kind;
    kind.addEventListener("change", () => {
      byId("rate-field").hidden = kind.value !== "poisson";
      byId("stimulate").elements.duration.value = kind.value === "poisson" ? "" : "1";
    });
  }

  clear() {
    this.#base = null;
    this.#stimuli = [];
    for (const name of ["run", "stimulate", "reward"]) say(byId(name).querySelector(".said"), "");
    byId("stimuli").hidden = true;
  }

  /** A description of the engram. */
  show(said) {
    this.#base = `/v1/engrams/${encodeURIComponent(said.name)}`;
    this.#job = said.running?.job ?? null;
    byId("stop").hidden = this.#job === null;
    const rules = JSON.stringify(said.plasticity ?? []);
    byId("reward-part").hidden = !rules.includes("re_vgsp");
    this.#list();
  }

  async #run(fields) {
    const ticks = number(fields, "ticks", { whole: true });
    const hz = number(fields, "hz");
    const run = await this.service.post(`${this.#base}/ticks`, { ticks, ...(hz === undefined ? {} : { hz }) });
    this.changed();
    if (run.id !== undefined) return this.#ran ? JOB : `${JOB} ${COMPILED}`;
    return `${plural(run.ticks, "tick")} in ${real(run.elapsed_s)} s, up to tick ${count(run.tick)}.`;
  }

  async #stop() {
    if (this.#job === null) return;
    await this.service.delete(`/v1/jobs/${encodeURIComponent(this.#job)}`).catch(() => {});
    say(byId("run").querySelector(".said"), "Asked to stop; it ends at a tick boundary.");
    this.changed();
  }

  async #stimulate(fields) {
    const ids = fields.ids.split(/[\s,;]+/).filter(Boolean);
    const amplitude = number(fields, "amplitude");
    const duration = number(fields, "duration", { whole: true }) ?? null;
    const body = { ids, kind: fields.kind, amplitude, duration };
    if (fields.kind === "poisson") {
      body.rate_hz = number(fields, "rate_hz");
      if (body.rate_hz === undefined) throw new Wrong("rate_hz", "This field is needed.");
    }
    const given = await this.service.post(`${this.#base}/stimuli`, body);
    this.changed();
    return `Stimulus ${given.number}, from tick ${count(given.first_tick)} on; it acts when the engram runs.`;
  }

  async #list() {
    const base = this.#base;
    let found;
    try {
      found = await this.service.get(`${base}/stimuli`);
    } catch {
      return; // the description says what is wrong
    }
    if (base !== this.#base) return;
    this.#stimuli = found.stimuli;
    this.#draw(base);
  }

  /** The engram has come to `tick`: what was to come until then is over. */
  tick(tick) {
    this.#ran = true;
    const said = byId("run").querySelector(".said");
    if (said.textContent === `${JOB} ${COMPILED}`) say(said, JOB);
    const left = this.#stimuli.filter((one) => one.stop === null || one.stop > tick);
    if (left.length === this.#stimuli.length) return;
    this.#stimuli = left;
    this.#draw(this.#base);
  }

  #draw(base) {
    const stimuli = this.#stimuli;
    byId("stimuli").hidden = !stimuli.length;
    fill(
      byId("stimuli").querySelector("tbody"),
      stimuli.map((one) =>
        el(
          "tr",
          {},
          el("td", {}, String(one.number)),
          el("td", {}, one.kind),
          el("td", {}, count(one.neurons)),
          el("td", {}, one.stop === null ? `from ${count(one.start)}` : `${count(one.start)}–${count(one.stop)}`),
          el("td", {}, button("Stop", () => this.#end(base, one.number), { class: "small", "aria-label": `Stop stimulus ${one.number}` })),
        ),
      ),
    );
  }

  async #end(base, one) {
    await this.service.delete(`${base}/stimuli/${one}`).catch(() => {});
    await this.#list();
  }
}
