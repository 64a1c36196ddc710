/** Jobs: what takes longer than a second, how far it is, and the button that ends it. */

import { button, el, fill } from "./dom.js";
import { moment, percent } from "./units.js";

const RUNNING_MS = 500;
const IDLE_MS = 10_000;
const SHOWN = 8;
const LONG = 120; // letters: about three lines
const UNDER_WAY = ["queued", "running"];

export class Jobs {
  #due = 0;
  #underWay = new Set();
  #reading = null;
  #list = [];
  #open = new Set(); // jobs of which the reader has opened the whole error

  /** `over()` is called when a job has ended. */
  constructor(service, place, over) {
    this.service = service;
    this.place = place;
    this.over = over;
  }

  follow() {
    return this.refresh();
  }

  /** Whether there is a job of this kind, over or not. */
  has(kind, engram) {
    return this.#list.some((job) => job.kind === kind && job.engram === engram);
  }

  /** Look again at once where `job` is one that is not known yet. */
  soon(job) {
    if (job !== undefined && job !== null && !this.#underWay.has(job)) this.refresh();
  }

  /** Read the jobs, and again later: soon where one is under way. One reading at a time. */
  refresh() {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = null;
    });
    return this.#reading;
  }

  async #read() {
    clearTimeout(this.#due);
    try {
      const { jobs } = await this.service.get("/v1/jobs");
      this.#list = jobs;
      this.#draw(jobs);
      const now = new Set(jobs.filter((job) => UNDER_WAY.includes(job.state)).map((job) => job.id));
      const ended = [...this.#underWay].some((id) => !now.has(id));
      this.#underWay = now;
      if (ended) this.over();
    } catch (error) {
      if (!this.place.querySelector("progress")) fill(this.place, el("li", { class: "note" }, error.status === 401 ? "a key is needed" : error.message));
    }
    const wait = document.hidden ? IDLE_MS : this.#underWay.size ? RUNNING_MS : IDLE_MS;
    this.#due = setTimeout(() => this.refresh(), wait);
  }

  #draw(jobs) {
    const newest = [...jobs].sort((a, b) => (a.created < b.created ? 1 : -1)).slice(0, SHOWN);
    if (!newest.length) {
      fill(this.place, el("li", { class: "note" }, "none so far"));
      return;
    }
    const held = document.activeElement?.dataset?.job;
    fill(this.place, newest.map((job) => this.#one(job)));
    if (held) this.place.querySelector(`[data-job="${CSS.escape(held)}"]`)?.focus();
  }

  #one(job) {
    const going = UNDER_WAY.includes(job.state);
    const said = job.error?.detail ?? job.error?.title ?? job.message ?? "";
    const told = said === job.state ? "" : said;
    const bar = going ? el("progress", { max: 100, "aria-label": `${job.kind} of ${job.engram}` }) : null;
    if (bar && job.state === "running" && job.percent !== null) bar.value = job.percent;
    return el(
      "li",
      { class: ["failed", "interrupted"].includes(job.state) ? "bad" : null },
      el(
        "div",
        { class: "head" },
        el("b", {}, job.kind),
        el("span", { class: "unit" }, going && job.percent !== null ? percent(job.percent / 100, 0) : job.state),
        going ? button("Cancel", () => this.#cancel(job), { class: "small", "data-job": job.id, "aria-label": `Cancel ${job.kind} of ${job.engram}` }) : null,
      ),
      bar,
      told.length > LONG
        ? [el("small", {}, [job.engram, going ? "" : moment(job.ended ?? job.created)].filter(Boolean).join(" · ")), this.#long(job, told)]
        : el("small", {}, [job.engram, told, going ? "" : moment(job.ended ?? job.created)].filter(Boolean).join(" · ")),
    );
  }

  /** A long text, of which the beginning is shown until the reader opens it: it must not push the other jobs away. */
  #long(job, told) {
    const more = el("details", { open: this.#open.has(job.id) }, el("summary", { "data-job": job.id }, el("small", {}, told)));
    more.addEventListener("toggle", () => (more.open ? this.#open.add(job.id) : this.#open.delete(job.id)));
    return more;
  }

  async #cancel(job) {
    await this.service.delete(`/v1/jobs/${encodeURIComponent(job.id)}`).catch(() => {});
    await this.refresh();
  }
}
