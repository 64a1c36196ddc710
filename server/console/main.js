/** The page: which engram and which view is shown. The address says it, so that back, forward and bookmarks work. */

import { button, byId, el, fill, say } from "./dom.js";
import { Drive } from "./drive.js";
import { Distributions } from "./distributions.js";
import { Engrams } from "./engrams.js";
import { Figures } from "./figures.js";
import { History } from "./history.js";
import { Jobs } from "./jobs.js";
import { askKey } from "./dialogs.js";
import { Live } from "./live.js";
import { Neurons } from "./neurons.js";
import { Disconnected, Problem, Service } from "./service.js";

const VIEWS = ["activity", "neurons", "history"];
const RUNNING_MS = 2000;
const IDLE_MS = 10_000;

const service = new Service(askKey);
let shown = null; // {name, view, neuron} of the address
let description = null; // what the service last said of the engram
let over = new AbortController(); // of everything that belongs to the engram shown
let due = 0;

const figures = new Figures(byId("figures"));
const live = new Live(service);
const drive = new Drive(service, changed);
const distributions = new Distributions(service);
const neurons = new Neurons(service, (id) => go({ view: "neurons", neuron: id }));
const history = new History(service, changed, moved);
const jobs = new Jobs(service, byId("jobs"), changed);
const engrams = new Engrams(service, byId("engrams"));

function address() {
  const [name = "", view = "activity", neuron = ""] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  return { name, view: VIEWS.includes(view) ? view : "activity", neuron };
}

function go({ name = shown.name, view = shown.view, neuron = "" }) {
  location.hash = ["", name, view, ...(neuron ? [neuron] : [])].map(encodeURIComponent).join("/");
}

async function show() {
  const next = address();
  const listed = engrams.list;
  if (!next.name && listed?.length) {
    location.replace(`#/${encodeURIComponent(listed[0].name)}`);
    return;
  }
  const other = shown?.name !== next.name;
  shown = next;
  engrams.mark(shown.name);
  byId("engram").hidden = !shown.name;
  byId("nothing").hidden = Boolean(shown.name);
  if (!shown.name) {
    over.abort();
    if (listed) empty();
    return;
  }
  if (other) {
    over.abort();
    over = new AbortController();
    description = null;
    document.title = `${shown.name} · EngramDB`;
    say(byId("name"), shown.name);
    say(byId("where"), "");
    figures.clear();
    byId("engram").classList.add("unknown");
    for (const part of [live, drive, distributions, neurons, history]) part.clear();
    select(shown.view);
    nothing(`Opening ${shown.name} … The first time, kernels are compiled, which can take half a minute.`);
    byId("nothing").classList.add("opening");
    connection("opening");
    await refresh();
    return;
  }
  select(shown.view);
  view();
}

/** Fill the view that is in front. */
function view() {
  if (!description) return;
  if (shown.view === "neurons") neurons.show(description, shown.neuron);
  if (shown.view === "history") history.show(description);
}

/** Say something where the engram would be, with what can be done about it. */
function nothing(...what) {
  byId("nothing").classList.remove("opening");
  byId("nothing").hidden = false;
  fill(byId("nothing"), ...what);
}

/** What the bar says of the connection, where no stream does. */
function connection(text) {
  byId("connection").classList.remove("live", "lost");
  say(byId("connection-text"), text);
}

function empty() {
  connection("connected");
  nothing(
    "There is no engram in this folder yet. Make one there: ",
    el("code", {}, "engramdb demo --out ROOT/demo"),
    ", ",
    el("code", {}, "engramdb create ROOT/brain.engram spec.toml"),
    ", or POST /v1/engrams. It appears here by itself.",
  );
}

/** Ask for the description, and show it; what cannot be had is said, and the figures on the page become old. */
async function refresh() {
  clearTimeout(due);
  if (!shown?.name) return;
  const { name } = shown;
  const signal = over.signal;
  try {
    const said = await service.get(`/v1/engrams/${encodeURIComponent(name)}`, signal);
    if (signal.aborted) return;
    const first = description === null;
    description = said;
    byId("nothing").hidden = true;
    byId("engram").classList.remove("old", "unknown");
    byId("engram-error").hidden = true;
    figures.show(description);
    drive.show(description);
    jobs.soon(description.running?.job);
    if (first) {
      live.open(description, signal, heard);
      distributions.open(description);
      select(shown.view);
      view();
    }
    if (shown.view === "neurons") neurons.again(description.tick);
    if (jobs.has("cycle", name)) {
      const cycle = await service.get(`/v1/engrams/${encodeURIComponent(name)}/cycle`, signal).catch(() => null);
      if (cycle && !signal.aborted) live.read(cycle.readings);
    }
  } catch (error) {
    if (error.name === "AbortError") return;
    if (signal.aborted) return;
    if (error.status === 404) {
      unknown(name);
      return;
    }
    byId("engram").classList.add("old");
    if (description === null) byId("nothing").hidden = true;
    if (!(error instanceof Disconnected)) {
      if (description === null) connection("connected");
      byId("engram-error").hidden = false;
      say(byId("engram-error"), error.message);
    }
    if (error instanceof Problem && error.status < 500) return;
  }
  due = setTimeout(refresh, description?.running ? RUNNING_MS : IDLE_MS);
}

/** There is no engram of that name: not yet, or no more. */
function unknown(name) {
  over.abort();
  over = new AbortController();
  description = null;
  byId("engram").hidden = true;
  connection("connected");
  nothing(`There is no engram called “${name}” in this folder. `, el("a", { class: "link", href: "#/" }, "Back to those that there are"));
}

/** What the stream says between two descriptions. */
function heard(event, data) {
  if (event === "tick") {
    figures.tick(data);
    drive.tick(data.tick);
  }
  if (event === "state") changed();
}

/** Something was done that changes what is shown. */
async function changed() {
  engrams.follow();
  await refresh();
  jobs.refresh();
  if (shown?.view === "history" && description) history.show(description, true);
}

/** The engram stands at `tick`. Only who moved it knows: a description may be older than what the stream has told. */
function moved(tick) {
  live.stands(tick);
  return changed();
}

function select(view) {
  for (const name of VIEWS) {
    const tab = byId(`tab-${name}`);
    tab.setAttribute("aria-selected", String(name === view));
    tab.tabIndex = name === view ? 0 : -1;
    byId(name).hidden = name !== view;
  }
  live.visible(view === "activity");
}

for (const [place, name] of VIEWS.entries()) {
  const tab = byId(`tab-${name}`);
  tab.addEventListener("click", () => go({ view: name, neuron: name === "neurons" ? neurons.id : "" }));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = byId(`tab-${VIEWS[(place + step + VIEWS.length) % VIEWS.length]}`);
    next.focus();
    next.click();
  });
}

service.addEventListener("locked", ({ detail: locked }) => {
  over.abort();
  over = new AbortController();
  description = null;
  shown = null;
  clearTimeout(due);
  byId("engram").hidden = true;
  connection(locked ? "no key" : "connecting");
  if (locked) {
    nothing("This service wants a key, and none was given. ", button("Enter a key", () => service.unlock(), { class: "main" }));
    return;
  }
  nothing("Loading…");
  engrams.follow();
  jobs.refresh();
  if (address().name) show();
});

service.addEventListener("connection", ({ detail: up }) => {
  byId("disconnected").hidden = up;
  say(byId("disconnected"), up ? "" : "The service does not answer. What is shown may be old; it is asked again every few seconds.");
  byId("connection").classList.toggle("lost", !up);
  if (up) changed();
  else {
    say(byId("connection-text"), "no connection");
    byId("engram").classList.add("old");
  }
});

// the address says what is shown, so this link must not change it
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});

// on a narrow page they are below the engram
byId("to-lists").addEventListener("click", () => byId("engrams-title").scrollIntoView());

byId("forget-key").addEventListener("click", () => {
  service.key = null;
  location.reload();
});

engrams.addEventListener("change", () => {
  byId("forget-key").hidden = service.key === null;
  const missing = shown?.name && description === null && byId("engram").hidden; // it may have been made since
  if (missing && engrams.list.some((one) => one.name === shown.name)) shown = null;
  if (shown === null || !shown.name) show();
});
window.addEventListener("hashchange", show);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && shown?.name) changed();
});

engrams.follow();
jobs.follow();
if (address().name) show();
