/** The HTTP service as the console sees it: requests, errors, the key, and streams of events. */

const KEY = "engramdb-key";
const ROOT = new URL("..", import.meta.url); // also where a proxy has it under a path of its own
const SILENCE_MS = 40_000; // the service says something every 15 s, if only that it is there
const LONGEST_WAIT_MS = 15_000;

/** A request that the service refused: `application/problem+json`. */
export class Problem extends Error {
  constructor(status, body) {
    super(body?.detail || body?.title || `the service answered ${status}`);
    this.status = status;
    this.slug = String(body?.type ?? "").split("/").pop();
    this.pointer = body?.pointer ?? null;
    this.request = body?.instance ?? null;
  }
}

/** No answer at all. */
export class Disconnected extends Error {
  constructor() {
    super("the service does not answer");
  }
}

/**
 * Fires `connection` (detail: whether it answers) and `locked` (detail: whether it waits for a key) at a change. `askKey`
 * is awaited when a key is wanted; it resolves to one, or to null where the reader has none to give. Then nobody is asked
 * again before `unlock`.
 */
export class Service extends EventTarget {
  #asked = null;
  #up = true;
  #locked = false;

  constructor(askKey) {
    super();
    this.askKey = askKey;
  }

  get key() {
    return sessionStorage.getItem(KEY);
  }

  set key(value) {
    if (value === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, value);
  }

  get(path, signal) {
    return this.call("GET", path, undefined, signal);
  }

  post(path, body = {}) {
    return this.call("POST", path, body);
  }

  delete(path) {
    return this.call("DELETE", path);
  }

  /** The JSON that comes back; null where there is none. Throws Problem, Disconnected, or AbortError. */
  async call(method, path, body, signal) {
    const headers = { Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    // one key for all tries of a write, so that it is done once
    if (method !== "GET") headers["Idempotency-Key"] = newKey();
    const response = await this.#request(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
    return response.status === 204 ? null : response.json();
  }

  /** Call `heard(event, data)` for every event of a stream, from then on and through losses, until `signal` aborts. */
  async listen(path, heard, signal, state = () => {}) {
    let last = null;
    let wait = 1000;
    while (!signal.aborted) {
      const cut = new AbortController();
      const stop = () => cut.abort();
      signal.addEventListener("abort", stop);
      let watchdog = setTimeout(stop, SILENCE_MS);
      try {
        const headers = { Accept: "text/event-stream", ...(last === null ? {} : { "Last-Event-ID": last }) };
        const response = await this.#request(path, { headers, signal: cut.signal });
        state("open");
        for await (const message of messages(response.body)) {
          clearTimeout(watchdog);
          watchdog = setTimeout(stop, SILENCE_MS);
          if (message === null) continue; // a heartbeat
          wait = 1000;
          last = message.id ?? last;
          heard(message.event, JSON.parse(message.data));
          if (message.event === "bye") break;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Problem && error.status < 500 && error.status !== 429) {
          state("refused", error);
          return;
        }
      } finally {
        clearTimeout(watchdog);
        signal.removeEventListener("abort", stop);
        cut.abort();
      }
      if (signal.aborted) return;
      state("lost");
      await pause(wait, signal);
      wait = Math.min(2 * wait, LONGEST_WAIT_MS);
    }
  }

  async #request(path, options) {
    for (;;) {
      const used = this.key;
      const headers = used === null ? options.headers : { ...options.headers, Authorization: `Bearer ${used}` };
      let response;
      try {
        response = await fetch(new URL(path.slice(1), ROOT), { ...options, headers, cache: "no-store", redirect: "error" });
      } catch (error) {
        if (error.name === "AbortError") throw error;
        this.#connection(false);
        throw new Disconnected();
      }
      this.#connection(true);
      if (response.ok) return response;
      const problem = new Problem(response.status, await response.json().catch(() => null));
      if (response.status !== 401 || !(await this.#newKey(used, problem))) throw problem;
    }
  }

  /** Whether there is another key than `used` to try; all requests that want one wait for the same answer. */
  async #newKey(used, problem) {
    if (this.key !== used) return true;
    if (this.#locked) return false;
    this.#asked ??= this.askKey(used === null ? null : problem.message).finally(() => {
      this.#asked = null;
    });
    const key = await this.#asked;
    if (key === null) {
      this.#lock(true);
      return false;
    }
    this.key = key;
    return true;
  }

  /** Ask for a key again, after none was given. */
  async unlock() {
    const key = await this.askKey(null);
    if (key === null) return;
    this.key = key;
    this.#lock(false);
  }

  #lock(locked) {
    if (locked === this.#locked) return;
    this.#locked = locked;
    this.dispatchEvent(new CustomEvent("locked", { detail: locked }));
  }

  #connection(up) {
    if (up === this.#up) return;
    this.#up = up;
    this.dispatchEvent(new CustomEvent("connection", { detail: up }));
  }
}

/** The messages of an event stream, and null for each comment. */
async function* messages(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = "message";
  let data = [];
  let id = null;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const text = rest + value;
    const half = text.endsWith("\r") ? 1 : 0; // the other half of the line's end may be in the next chunk
    const lines = text.slice(0, text.length - half).split(/\r\n|\n|\r/);
    rest = lines.pop() + text.slice(text.length - half);
    for (const line of lines) {
      if (line === "") {
        if (data.length) yield { event, data: data.join("\n"), id };
        event = "message";
        data = [];
      } else if (line.startsWith(":")) {
        yield null;
      } else {
        const [, name, text] = /^([^:]*):? ?(.*)$/.exec(line);
        if (name === "event") event = text;
        else if (name === "data") data.push(text);
        else if (name === "id") id = text;
      }
    }
  }
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** Random, and available without TLS, which `crypto.randomUUID` is not. */
function newKey() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
