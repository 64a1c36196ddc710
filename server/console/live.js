/** What happens in the engram, as the service streams it: spikes, rate, complexity. */

import { Line } from "./charts.js";
import { byId, say } from "./dom.js";
import { Raster } from "./raster.js";
import { count } from "./units.js";

const SPIKES = 2000; // of each event, sampled by the service where there are more
const KEPT = 12_000; // events for the plots: the longest window, and some
const CALM_MS = 1000; // between two drawings, for those who want little motion

const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class Live {
  #events = []; // {tick, rate}
  #readings = []; // {source, tick, complexity}, by tick: of growth cycles, runs and questions
  #held = false;
  #waiting = []; // events that came while the picture was held still
  #shown = true;
  #due = false;
  #drawnAt = 0;
  #thinned = false; // whether an event had more spikes than it may bring

  constructor(service) {
    this.service = service;
    this.raster = new Raster(byId("raster"));
    this.rate = new Line(byId("rate"));
    this.complexity = new Line(byId("complexity"));
    this.complexity.points = (_, __, first, last) => last - first < 100; // a line of one reading is none
    byId("window").addEventListener("change", (event) => {
      this.raster.window = Number(event.target.value);
      this.#draw();
    });
    byId("hold").addEventListener("click", () => this.#hold(!this.#held));
  }

  clear() {
    this.#events = [];
    this.#readings = [];
    this.#waiting = [];
    this.#thinned = false;
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
    const where = `/v1/engrams/${encodeURIComponent(said.name)}/stream?spikes=${SPIKES}`;
    this.service.listen(where, (event, data) => {
      if (event === "tick") this.#tick(data);
      if (data.topology) this.#reading(data.topology);
      heard(event, data);
    }, signal, (state, error) => this.#connection(state, error));
  }

  /** The engram stands at `tick`: that is before what is drawn where it was restored. */
  stands(tick) {
    if (tick >= this.raster.last) return;
    this.#events = this.#events.filter((one) => one.tick <= tick);
    this.#readings = this.#readings.filter((one) => one.tick <= tick);
    this.raster.add(tick, []);
    this.#soon();
  }

  /** Readings of a growth cycle before the page was opened: {tick, complexity}, the oldest first. */
  read(readings) {
    for (const one of readings) this.#reading({ source: "cycle", ...one });
  }

  #reading(reading) {
    const place = this.#readings.findLastIndex((one) => one.tick <= reading.tick);
    const before = this.#readings[place];
    const again = before?.tick === reading.tick && before.source === reading.source;
    if (again && before.complexity === reading.complexity) return;
    this.#readings.splice(again ? place : place + 1, again ? 1 : 0, reading);
    if (this.#readings.length > 1.25 * KEPT) this.#readings.splice(0, this.#readings.length - KEPT);
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
    if (this.#held) this.#waiting.push(data);
    else this.#take(data);
  }

  #take(data) {
    const last = this.#events.at(-1);
    if (last && data.tick <= last.tick) this.#events = this.#events.filter((one) => one.tick < data.tick);
    this.#events.push({ tick: data.tick, rate: data.rate_hz });
    if (this.#events.length > 1.25 * KEPT) this.#events.splice(0, this.#events.length - KEPT);
    if ((data.spikes?.length ?? 0) >= SPIKES) this.#thinned = true;
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
    // readings lie far apart: all are shown, and not those in the window alone; but only those that are taken alike
    const source = this.#readings.at(-1)?.source;
    const trend = this.#readings.filter((one) => one.source === source);
    byId("complexity-part").hidden = !trend.length;
    if (trend.length) this.complexity.set([trend.map((one) => one.tick), trend.map((one) => one.complexity)]);
    this.#note();
  }

  #note() {
    const held = this.#held ? "Held still; it goes on behind the picture. " : "";
    const some = this.#thinned ? "Some of the spikes: there are more than a page can take. " : "";
    const none = this.#events.length ? "" : `Nothing has run since this page was opened, at tick ${count(this.raster.last)}.`;
    say(byId("live-note"), held + some + none);
  }
}
