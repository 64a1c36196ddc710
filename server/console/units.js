/** Numbers as people read them, each with its unit. What is not known is a dash, never a zero. */

export const UNKNOWN = "–";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

const known = (value) => typeof value === "number" && Number.isFinite(value);

/** 1,234,567 */
export const count = (value) => (known(value) ? whole.format(value) : UNKNOWN);

/** 1.23M; whole below ten thousand */
export const compact = (value) => (known(value) ? (Math.abs(value) < 1e4 ? whole : short).format(value) : UNKNOWN);

/** Four significant digits, with a real minus sign. */
export function real(value) {
  if (!known(value)) return UNKNOWN;
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return whole.format(value).replace("-", "−");
  const size = Math.abs(value);
  const text = size >= 1e-3 && size < 1e6 ? trimmed(value.toPrecision(4)) : value.toExponential(2);
  return text.replaceAll("-", "−");
}

/** As :func:`real`, with a plus before what is not negative. */
export const signed = (value) => (known(value) && value > 0 ? "+" : "") + real(value);

export function bytes(value) {
  if (!known(value)) return UNKNOWN;
  let unit = 0;
  while (value >= 1024 && unit < 5) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${["B", "KiB", "MiB", "GiB", "TiB", "PiB"][unit]}`;
}

export const percent = (fraction, digits = 1) =>
  known(fraction) ? `${(100 * fraction).toFixed(digits)} %` : UNKNOWN;

export function hertz(value) {
  if (!known(value)) return UNKNOWN;
  if (value !== 0 && value < 0.01) return `${real(Number(value.toPrecision(2)))} Hz`;
  return `${value < 100 ? value.toFixed(2) : compact(value)} Hz`;
}

/** A stretch of simulated time, from milliseconds. */
export function span(ms) {
  if (!known(ms)) return UNKNOWN;
  if (ms < 1000) return `${trimmed(ms.toFixed(1))} ms`;
  if (ms < 120_000) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < 7_200_000) return `${(ms / 60_000).toFixed(1)} min`;
  return `${(ms / 3_600_000).toFixed(1)} h`;
}

/** A moment on the clock of the reader; the date too where it is not today's. */
export function moment(text) {
  const when = new Date(text);
  if (Number.isNaN(when.getTime())) return UNKNOWN;
  const clock = when.toLocaleTimeString("en-GB");
  return when.toDateString() === new Date().toDateString() ? clock : `${when.toLocaleDateString("en-CA")} ${clock}`;
}

export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

/** The unit in which a field of a neuron is given. */
export const unitOf = (field) =>
  ({ v: "mV", u: "mV", threshold: "mV", refractory: "ticks", spike_count: "spikes", last_spike: "tick", w: "pA" })[
    field
  ] ?? "";

const trimmed = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
