/** Plots over ticks and histograms, drawn by uPlot in the colours of the page. */

import uPlot from "./vendor/uPlot.esm.js";
import { count, real } from "./units.js";

export const GUTTER = 58; // pixels at the left for the numbers of the axis; the raster has as many
export const RIGHT = 20;
export const TICK_SPACE = 66; // pixels from one numbered tick to the next, at least

const STEPS = Array.from({ length: 36 }, (_, place) => [1, 2, 5][place % 3] * 10 ** Math.floor(place / 3));

/** A colour of the style sheet, as it is now. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

const dark = matchMedia("(prefers-color-scheme: dark)");

/** Call `draw` when the colours change. */
export const onColours = (draw) => dark.addEventListener("change", draw);

class Plot {
  #plot = null;
  #data = null;

  constructor(place) {
    this.place = place;
    new ResizeObserver(() => {
      const { width, height } = this.#size();
      if (this.#plot && width && (this.#plot.width !== width || this.#plot.height !== height)) {
        this.#plot.setSize({ width, height });
      } else if (!this.#plot && this.#data) this.set(this.#data);
    }).observe(place);
    onColours(() => this.redo());
  }

  #size() {
    return { width: Math.floor(this.place.clientWidth), height: Math.floor(this.place.clientHeight) };
  }

  /** Show columns; the plot is made when there is room for it. */
  set(data, range = null) {
    this.#data = data;
    const size = this.#size();
    if (!size.width) return;
    this.range = range;
    if (this.#plot) this.#plot.setData(data);
    else this.#plot = new uPlot({ ...size, ...this.options() }, data, this.place);
  }

  /** Make it anew: colours or units are others. */
  redo() {
    this.#plot?.destroy();
    this.#plot = null;
    if (this.#data) this.set(this.#data, this.range);
  }

  clear() {
    this.#plot?.destroy();
    this.#plot = null;
    this.#data = null;
  }

  axis(more) {
    return {
      stroke: colour("dim"),
      font: "11px system-ui, sans-serif",
      grid: { stroke: colour("line"), width: 1 },
      ticks: { stroke: colour("line"), width: 1, size: 4 },
      gap: 4,
      ...more,
    };
  }

  common() {
    return {
      legend: { show: false },
      cursor: { show: false },
      select: { show: false },
      padding: [6, RIGHT, 0, 0],
    };
  }
}

/** A value over ticks. */
export class Line extends Plot {
  options() {
    return {
      ...this.common(),
      scales: {
        x: { time: false, range: (_, least, most) => this.range ?? (most > least ? [least, most] : [least - 1, least + 1]) },
        y: { range: (_, least, most) => [Math.min(0, least ?? 0), most > 0 ? most * 1.08 : 1] },
      },
      axes: [
        this.axis({ size: 24, space: TICK_SPACE, incrs: STEPS, values: (_, ticks) => ticks.map(count) }),
        this.axis({ size: GUTTER, values: (_, values) => values.map(real), space: 24 }),
      ],
      series: [{}, { stroke: colour("accent"), width: 1.25, points: { show: this.points ?? false } }],
    };
  }
}

/**
 * Counts by bin. Heights are square roots of counts: a bin of one neuron is seen beside one of thousands, and an empty
 * one is empty.
 */
export class Bars extends Plot {
  count(edges, counts) {
    this.set([edges, [...counts.map(Math.sqrt), null]]);
  }

  options() {
    return {
      ...this.common(),
      scales: {
        x: { time: false },
        y: { range: (_, __, most) => [0, Math.max(most ?? 0, 1) * 1.04] },
      },
      axes: [
        this.axis({ size: 24, space: 44, values: (_, values) => values.map(real), grid: { show: false } }),
        this.axis({ size: 46, splits: (_, __, ___, most) => roots(most), values: (_, values) => values.map((root) => short(root * root)) }),
      ],
      series: [
        {},
        {
          stroke: colour("accent"),
          fill: colour("accent"),
          width: 0,
          paths: uPlot.paths.bars({ size: [0.94, Infinity], align: 1 }),
          points: { show: false },
        },
      ],
    };
  }
}

/** Roots of round counts, about evenly apart, up to `most`. */
function roots(most) {
  const found = new Set([0]);
  for (const part of [1 / 3, 2 / 3, 1]) {
    const count = Math.max(1, (most * part) ** 2);
    const power = 10 ** Math.floor(Math.log10(count));
    found.add(Math.sqrt(Math.floor(count / power) * power));
  }
  return [...found].sort((a, b) => a - b);
}

const thousands = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 2 });
const short = (value) => thousands.format(value);
