/** What happens in the engram, as the service streams it: spikes, rate, complexity. */

import { Line } from "./charts.js";
import { byId, say } from "./dom.js";
import { Raster } from "./raster.js";
import { count, plural } from "./units.js";

const SPIKES = 2000; // of each event, sampled by the service where there are more
const PACES = [1, 10, 100, 1000]; // ticks for one event: the service sends no more than it thinks a reader can take
const SLOW_MS = 400; // between two events: then there is time for more of them
const KEPT = 12_000; // events for the plots: the longest window, and some
const CALM_MS = 1000; // between two drawings, for those who want little motion

const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class Live {
  #events = []; // {tick, rate, complexity}
  #held = false;
  #waiting = []; // events that came while the picture was held still
  #shown = true;
  #due = false;
  #drawnAt = 0;
  #lost = 0;
  #pace = 0; // place in PACES
  #late = 0; // events in a row that came with losses
  #cameAt = 0;
  #follow = () => {};

  constructor(service) {
    this.service = service;
    this.raster = new Raster(byId("raster"));
    this.rate = new Line(byId("rate"));
    this.complexity = new Line(byId("complexity"));
    byId("window").addEventListener("change", (event) => {
      this.raster.window = Number(event.target.value);
      this.#draw();
    });
    byId("hold").addEventListener("click", () => this.#hold(!this.#held));
  }

  clear() {
    this.#events = [];
    this.#waiting = [];
    this.#lost = 0;
    this.#pace = 0;
    this.rate.clear();
    this.complexity.clear();
    byId("complexity-part").hidden = true;
    this.#hold(false);
    say(byId("live-note"), "");
  }

  /** Follow the engram that `said` describes until `signal` aborts; `heard(event, data)` gets all events too. */
  open(said, signal, heard) {
    this.raster.open(said.layers, said.tick);
    this.#note();
    this.#draw();
    let open = null;
    this.#follow = () => {
      open?.abort();
      open = new AbortController();
      this.#late = 0;
      this.#cameAt = 0;
      const mine = open.signal;
      const where = `/v1/engrams/${encodeURIComponent(said.name)}/stream?spikes=${SPIKES}&every=${PACES[this.#pace]}`;
      this.service.listen(where, (event, data) => {
        if (mine.aborted) return;
        if (event === "tick") this.#tick(data);
        heard(event, data);
      }, mine, (state, error) => this.#connection(state, error));
    };
    signal.addEventListener("abort", () => {
      open?.abort();
      this.#follow = () => {};
    });
    this.#follow();
  }

  /** Ask for an event for more ticks where ticks are lost in between, and for fewer where events are rare. */
  #keepPace(data) {
    const now = performance.now();
    this.#late = data.dropped ? this.#late + 1 : 0;
    const slow = this.#cameAt && now - this.#cameAt > SLOW_MS && this.#pace > 0;
    const fast = this.#late > 4 && this.#pace < PACES.length - 1;
    this.#cameAt = now;
    if (!slow && !fast) return;
    this.#pace += fast ? 1 : -1;
    this.#follow();
  }

  /** The engram stands at `tick`: that is before what is drawn where it was restored. */
  stands(tick) {
    if (tick >= this.raster.last) return;
    this.#events = this.#events.filter((one) => one.tick <= tick);
    this.raster.add(tick, []);
    this.#soon();
  }

  /** Whether the view is on the page; plots take their size from it. */
  visible(shown) {
    this.#shown = shown;
    if (shown) this.#draw();
  }

  #connection(state, error) {
    const place = byId("connection");
    place.classList.toggle("live", state === "open");
    place.classList.toggle("lost", state !== "open");
    say(byId("connection-text"), { open: "live", lost: "stream lost, trying again", refused: error?.message }[state]);
  }

  #tick(data) {
    this.#keepPace(data);
    if (this.#held) this.#waiting.push(data);
    else this.#take(data);
  }

  #take(data) {
    const last = this.#events.at(-1);
    if (last && data.tick <= last.tick) this.#events = this.#events.filter((one) => one.tick < data.tick);
    this.#events.push({ tick: data.tick, rate: data.rate_hz, complexity: data.complexity ?? null });
    if (this.#events.length > 1.25 * KEPT) this.#events.splice(0, this.#events.length - KEPT);
    this.#lost += data.dropped ?? 0;
    this.raster.add(data.tick, data.spikes ?? []);
    this.#soon();
  }

  #hold(held) {
    this.#held = held;
    byId("hold").setAttribute("aria-pressed", String(held));
    for (const data of this.#waiting.splice(0)) this.#take(data);
    if (held) this.#note();
  }

  /** Draw in a frame, or in a second's time. */
  #soon() {
    if (this.#due || !this.#shown) return;
    this.#due = true;
    const wait = calm.matches ? Math.max(0, this.#drawnAt + CALM_MS - performance.now()) : 0;
    setTimeout(() => requestAnimationFrame(() => {
      this.#due = false;
      this.#draw();
    }), wait);
  }

  #draw() {
    this.#drawnAt = performance.now();
    this.raster.redraw();
    if (!this.#shown) return;
    const range = this.raster.range;
    const events = this.#events.filter((one) => one.tick >= range[0]);
    const ticks = events.map((one) => one.tick);
    this.rate.set([ticks, events.map((one) => one.rate)], range);
    const measured = events.some((one) => one.complexity !== null);
    if (measured) {
      byId("complexity-part").hidden = false;
      this.complexity.set([ticks, events.map((one) => one.complexity)], range);
    }
    this.#note();
  }

  #note() {
    const held = this.#held ? "Held still; it goes on behind the picture. " : "";
    const lost = this.#lost ? `${plural(this.#lost, "tick")} without detail: the service was faster than this page. ` : "";
    const none = this.#events.length ? "" : `Nothing has run since this page was opened, at tick ${count(this.raster.last)}.`;
    say(byId("live-note"), held + lost + none);
  }
}
