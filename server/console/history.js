/** Commits, branches and snapshots as a graph, and what can be done with them. */

import { Difference } from "./difference.js";
import { askName, sure } from "./dialogs.js";
import { button, byId, el, fill, say, svg } from "./dom.js";
import { sending } from "./forms.js";
import { lanes } from "./lanes.js";
import { count, moment } from "./units.js";

const PAGE = 200;
const LANE = 14;
const ROW = 28;

export class History {
  #base = null;
  #said = null;
  #commits = [];
  #cursor = null;
  #snapshots = [];
  #branches = [];
  #picked = []; // commits, the last picked one at the end
  #drawGraph = () => {};

  /** `changed()` is called when something was made, `moved(tick)` when the engram stands elsewhere. */
  constructor(service, changed, moved) {
    this.service = service;
    this.changed = changed;
    this.moved = moved;
    this.difference = new Difference(service);
    sending(byId("snapshot"), ({ name, message }, pressed) => this.#nameIt(pressed.value, name.trim(), message.trim()));
    byId("compare").addEventListener("click", () => this.#compare());
    byId("commits-more").addEventListener("click", () => this.#load(this.#cursor));
    new ResizeObserver(() => this.#drawGraph()).observe(byId("commits"));
  }

  clear() {
    this.#base = null;
    this.#commits = [];
    this.#picked = [];
    this.difference.clear();
    fill(byId("commits").querySelector("tbody"));
    byId("snapshot").reset();
    say(byId("snapshot").querySelector(".said"), "");
  }

  /** The view comes to the front; `again`: what it shows may have changed. */
  show(said, again = false) {
    const moved = this.#said && (this.#said.commit !== said.commit || this.#said.branch !== said.branch);
    const base = `/v1/engrams/${encodeURIComponent(said.name)}`;
    const other = base !== this.#base;
    this.#base = base;
    this.#said = said;
    if (other || again || moved) return this.#load();
    return null;
  }

  async #load(cursor = null) {
    const base = this.#base;
    const query = new URLSearchParams({ limit: PAGE, ...(cursor ? { cursor } : {}) });
    try {
      const [log, { snapshots }, { branches }] = await Promise.all([
        this.service.get(`${base}/log?${query}`),
        this.service.get(`${base}/snapshots`),
        this.service.get(`${base}/branches`),
      ]);
      if (base !== this.#base) return;
      this.#commits = cursor ? [...this.#commits, ...log.commits] : log.commits;
      this.#cursor = log.cursor;
      this.#snapshots = snapshots;
      this.#branches = branches;
    } catch (error) {
      if (base === this.#base) say(byId("commits-note"), error.message);
      return;
    }
    this.#draw();
  }

  #draw() {
    const known = new Set(this.#commits.map((one) => String(one.id)));
    this.#picked = this.#picked.filter((id) => known.has(id));
    const placed = lanes(this.#commits);
    const width = Math.max(1, ...placed.map((one) => one.width)) * LANE + 6;
    const held = document.activeElement?.dataset?.commit;
    const rows = this.#commits.map((one) => this.#row(one, width));
    fill(byId("commits").querySelector("tbody"), rows);
    this.#drawGraph = () => {
      const heights = rows.map((row) => Math.ceil(row.getBoundingClientRect().height)); // before any is changed
      rows.forEach((row, place) => fill(row.firstChild, graph(placed[place], width, heights[place], row.querySelector(".name") !== null)));
    };
    this.#drawGraph();
    if (held) byId("commits").querySelector(`[data-commit="${CSS.escape(held)}"]`)?.focus();
    byId("commits-more").hidden = !this.#cursor;
    this.#drawPicked();
  }

  #row(one, width) {
    const id = String(one.id);
    const snapshots = this.#snapshots.filter((snapshot) => String(snapshot.commit) === id);
    const branches = this.#branches.filter((branch) => String(branch.commit) === id);
    const here = String(this.#said.commit) === id;
    const pick = el("input", { type: "checkbox", "data-commit": id, "aria-label": `Pick commit ${id} for a diff` });
    pick.checked = this.#picked.includes(id);
    pick.addEventListener("change", () => this.#pick(id, pick.checked));
    return el(
      "tr",
      { class: here ? "here" : null, "aria-current": here ? "true" : null },
      wide(el("td", {}), width),
      el("td", {}, pick),
      el("td", {}, id),
      el("td", {}, count(one.tick)),
      el(
        "td",
        { class: "names" },
        branches.map((branch) => this.#branch(branch)),
        snapshots.map((snapshot) => this.#snapshot(snapshot)),
        one.message || (snapshots.length || branches.length ? "" : el("span", { class: "unit" }, "no message")),
      ),
      el("td", { class: "text made" }, moment(one.created)),
      el("td", { class: "acts" }, this.#acts(one, here && !this.#said.uncommitted)),
    );
  }

  /** What can be done with any commit, of an abandoned line too. `present`: the engram is just that. */
  #acts({ id, tick }, present) {
    return [
      present ? null : button("restore", () => this.#restore(`commit ${id}`, id, tick), { class: "link", "aria-label": `Restore commit ${id}` }),
      button("branch", () => this.#branchAt(id, tick), { class: "link", "aria-label": `Branch at commit ${id}` }),
    ];
  }

  #branch({ name, head }) {
    const current = head && name === this.#said.branch;
    return el(
      "span",
      { class: current ? "name branch current" : "name branch" },
      name,
      el("small", {}, current ? "here" : "branch"),
      current ? null : button("checkout", () => this.#checkout(name), { class: "link", "aria-label": `Check out branch ${name}` }),
    );
  }

  #snapshot({ name }) {
    return el(
      "span",
      { class: "name" },
      name,
      button("restore", () => this.#restore(`“${name}”`, name), { class: "link", "aria-label": `Restore snapshot ${name}` }),
    );
  }

  #pick(id, picked) {
    this.#picked = this.#picked.filter((one) => one !== id);
    if (picked) this.#picked.push(id);
    while (this.#picked.length > 2) {
      const dropped = this.#picked.shift();
      byId("commits").querySelector(`[data-commit="${CSS.escape(dropped)}"]`).checked = false;
    }
    this.#drawPicked();
  }

  #drawPicked() {
    const [from, to] = this.#inOrder();
    byId("compare").disabled = to === undefined;
    say(
      byId("commits-note"),
      to !== undefined ? `From ${from} to ${to}.` : from !== undefined ? `From ${from}; pick one more.` : "Pick two to see what differs.",
    );
  }

  /** What is picked, the older commit first. */
  #inOrder() {
    return [...this.#picked].sort((a, b) => Number(a) - Number(b));
  }

  async #compare() {
    const [from, to] = this.#inOrder();
    byId("compare").disabled = true;
    await this.difference.show(this.#base, from, to);
    byId("compare").disabled = false;
  }

  async #nameIt(kind, name, message) {
    const body = kind === "snapshots" && message ? { name, message } : { name };
    await this.service.post(`${this.#base}/${kind}`, body);
    this.changed();
    return kind === "snapshots" ? `Snapshot “${name}” is made.` : `Branch “${name}” is made; check it out to go on there.`;
  }

  #restore(what, id, tick) {
    const where = tick === undefined ? "that state" : `tick ${count(tick)}`;
    return this.#move(
      `Restore ${what}?`,
      `The engram goes back to ${where}, on a new line of history. What it is now is committed before, and stays in the log.`,
      "Restore",
      `snapshots/${encodeURIComponent(id)}/restore`,
    );
  }

  async #branchAt(id, tick) {
    const text = `A branch begins at tick ${count(tick)}. The engram stays where it is until the branch is checked out.`;
    const name = await askName(`Branch at commit ${id}`, text, "Make it");
    if (name === null) return;
    const said = byId("snapshot").querySelector(".said");
    said.classList.remove("bad");
    try {
      await this.service.post(`${this.#base}/branches`, { name, from: String(id) });
      say(said, `Branch “${name}” is made; check it out to go on there.`);
    } catch (error) {
      said.classList.add("bad");
      say(said, error.message);
    }
    await this.changed();
  }

  #checkout(name) {
    return this.#move(
      `Check out “${name}”?`,
      "The engram is committed, and the service goes on with that branch.",
      "Check out",
      `branches/${encodeURIComponent(name)}/checkout`,
    );
  }

  async #move(title, text, action, path) {
    if (!(await sure(title, text, action))) return;
    const said = byId("snapshot").querySelector(".said");
    said.classList.remove("bad");
    try {
      const { tick } = await this.service.post(`${this.#base}/${path}`);
      say(said, `${title.replace("?", "")}: done.`);
      await this.moved(tick);
    } catch (error) {
      said.classList.add("bad");
      say(said, error.message);
      await this.changed();
    }
  }
}

function wide(cell, width) {
  cell.style.minWidth = `${width}px`;
  return cell;
}

/** The part of the graph that belongs to one row, as high as that is. */
function graph({ lane, into, past, on }, width, height, named) {
  const x = (place) => place * LANE + LANE / 2 + 2;
  const half = ROW / 2;
  const curve = (from, to, up, down) => `M ${x(from)} ${up} C ${x(from)} ${(up + down) / 2} ${x(to)} ${(up + down) / 2} ${x(to)} ${down}`;
  return svg(
    "svg",
    { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    past.map((one) => svg("path", { class: "lane", d: `M ${x(one)} 0 V ${height}` })),
    into.map((one) => svg("path", { class: "lane", d: curve(one, lane, 0, half) })),
    on ? svg("path", { class: "lane", d: `M ${x(lane)} ${half} V ${height}` }) : null,
    svg("circle", { class: named ? "commit named" : "commit", cx: x(lane), cy: half, r: 4 }),
  );
}
