/** Spikes as marks: ticks to the right, neurons downwards, layer under layer. */

import { GUTTER, RIGHT, TICK_SPACE, colour, onColours } from "./charts.js";
import { parts } from "./ids.js";
import { compact, count } from "./units.js";

const FOOT = 20;
const HEAD = 6;
const BETWEEN = 5;
const MOST_MARKS = 60_000;
const WHOLE_LAYER = 4096; // a larger one is shown from the smallest to the largest that was seen to fire

export class Raster {
  #ticks = [];
  #rows = [];
  #layers = [];
  #last = 0;
  #dirty = false;
  window = 500;

  constructor(canvas) {
    this.canvas = canvas;
    new ResizeObserver(() => this.redraw()).observe(canvas);
    onColours(() => this.redraw());
  }

  /** Begin anew, for an engram of these layers: {name, index, neurons, segments}, at this tick. */
  open(layers, tick) {
    this.#layers = layers.map(({ name, index, neurons, segments }) => {
      const starts = new Map();
      let start = 0;
      segments.forEach((segment, place) => {
        starts.set(segment.index ?? place, start);
        start += Number(segment.neurons ?? segment.size ?? segment);
      });
      const whole = neurons <= WHOLE_LAYER;
      return { name, index, neurons, starts, low: whole ? 0 : Infinity, high: whole ? Math.max(0, neurons - 1) : -Infinity };
    });
    this.#ticks = [];
    this.#rows = [];
    this.#last = tick;
    this.redraw();
  }

  get last() {
    return this.#last;
  }

  /** The first and the last tick that are shown. */
  get range() {
    return [Math.max(0, this.#last - this.window), Math.max(this.#last, this.window)];
  }

  /** Spikes [[tick, id], …] up to `tick`, in order. */
  add(tick, spikes) {
    if (tick < this.#last) this.#forget(tick); // restored: the ticks after it are no longer its own
    this.#last = tick;
    for (const [when, id] of spikes) {
      const { layer: index, segment, local } = parts(id);
      const layer = this.#layers.find((one) => one.index === index);
      if (!layer) continue;
      const row = (layer.starts.get(segment) ?? 0) + local;
      layer.low = Math.min(layer.low, row);
      layer.high = Math.max(layer.high, row);
      this.#ticks.push(when);
      this.#rows.push(layer, row);
    }
    const extra = this.#ticks.length - MOST_MARKS;
    if (extra > MOST_MARKS / 4) {
      this.#ticks.splice(0, extra);
      this.#rows.splice(0, 2 * extra);
    }
    this.redraw();
  }

  /** Draw in the next frame. */
  redraw() {
    if (this.#dirty) return;
    this.#dirty = true;
    requestAnimationFrame(() => {
      this.#dirty = false;
      this.#draw();
    });
  }

  #forget(tick) {
    const kept = this.#ticks.findIndex((when) => when > tick);
    if (kept < 0) return;
    this.#ticks.length = kept;
    this.#rows.length = 2 * kept;
  }

  #draw() {
    const { canvas } = this;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (!width || !height) return;
    const scale = devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const on = canvas.getContext("2d");
    on.scale(scale, scale);
    on.font = "11px system-ui, sans-serif";
    const [first, last] = this.range;
    const across = width - GUTTER - RIGHT;
    const x = (tick) => GUTTER + (across * (tick - first)) / Math.max(1, last - first);
    this.#drawTicks(on, x, first, last, height);
    const bands = this.#bands(height - FOOT - HEAD);
    for (const [layer, band] of bands) this.#drawBand(on, layer, band, width);
    on.fillStyle = colour("accent");
    const wide = Math.max(1, Math.min(3, across / (last - first)));
    let shown = 0;
    for (let place = this.#ticks.length - 1; place >= 0; place -= 1) {
      const tick = this.#ticks[place];
      if (tick < first) break;
      const layer = this.#rows[2 * place];
      const band = bands.get(layer);
      const tall = Math.max(1.25, Math.min(4, band.height / (layer.high - layer.low + 1)));
      const y = band.top + ((band.height - tall) * (this.#rows[2 * place + 1] - layer.low)) / Math.max(1, layer.high - layer.low);
      on.fillRect(x(tick) - wide / 2, y, wide, tall);
      shown += 1;
    }
    canvas.dataset.shown = String(shown);
    canvas.setAttribute("aria-label", `Raster of spikes: ${count(shown)} from tick ${count(first)} to ${count(last)}`);
  }

  #drawTicks(on, x, first, last, height) {
    const step = niceStep(((last - first) * TICK_SPACE) / (x(last) - x(first)));
    on.textAlign = "center";
    on.textBaseline = "alphabetic";
    for (let tick = Math.ceil(first / step) * step; tick <= last; tick += step) {
      on.fillStyle = colour("line");
      on.fillRect(Math.round(x(tick)), HEAD, 1, height - FOOT - HEAD);
      on.fillStyle = colour("dim");
      on.fillText(count(tick), x(tick), height - 6);
    }
  }

  /** A part of the height for each layer; a large one gets more, but a small one enough to be seen. */
  #bands(height) {
    const shares = this.#layers.map((layer) => Math.log2(layer.neurons + 2));
    const all = shares.reduce((sum, share) => sum + share, 0);
    const free = height - BETWEEN * (this.#layers.length - 1);
    let top = HEAD;
    return new Map(
      this.#layers.map((layer, place) => {
        const band = { top, height: (free * shares[place]) / all };
        top += band.height + BETWEEN;
        return [layer, band];
      }),
    );
  }

  #drawBand(on, layer, { top, height }, width) {
    on.fillStyle = colour("line");
    if (top > HEAD) on.fillRect(0, Math.round(top - BETWEEN / 2), width, 1);
    on.fillRect(GUTTER - 1, top, 1, height);
    on.fillStyle = colour("dim");
    on.textAlign = "right";
    on.textBaseline = "top";
    if (height < 12) return;
    on.fillText(fitted(on, layer.name, GUTTER - 10), GUTTER - 6, top + 1);
    if (height < 44 || layer.high < layer.low) return;
    on.fillText(place(layer.low), GUTTER - 6, top + 15);
    on.textBaseline = "bottom";
    on.fillText(place(layer.high), GUTTER - 6, top + height);
  }
}

/** A place in a layer, as exactly as there is room for. */
const place = (row) => (row < 1e6 ? count(row) : compact(row));

/** 1, 2 or 5 times a power of ten, at least `least`. */
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, least)));
  return [1, 2, 5, 10].map((one) => one * power).find((step) => step >= least);
}

function fitted(on, text, width) {
  if (on.measureText(text).width <= width) return text;
  while (text.length > 1 && on.measureText(`${text}…`).width > width) text = text.slice(0, -1);
  return `${text}…`;
}
