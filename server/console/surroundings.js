/** A neuron in the middle, those that project to it at the left, those it projects to at the right. */

import { fill, svg } from "./dom.js";
import { real } from "./units.js";

const STEP = 19; // pixels from one neuron to the next
const LEAST_HEIGHT = 330;
const TOP = 30;

export class Surroundings {
  #center = null;
  #sides = null;
  #width = 0;
  #walked = false; // by keyboard: the focus goes on to the next drawing
  #nodes = [];

  /** `go(id)` is called with the neuron that was chosen. */
  constructor(place, go) {
    this.place = place;
    this.go = go;
    place.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => {
      if (Math.abs(place.clientWidth - this.#width) > 1) this.#draw();
    }).observe(place);
  }

  /** `center`: {id, label, state}; `sides.in`, `sides.out`: {waiting, nodes: [{id, label, state, weight}]}. */
  show(center, sides) {
    this.#center = center;
    this.#sides = sides;
    this.#draw();
  }

  #draw() {
    const width = this.place.clientWidth;
    this.#width = width;
    if (!width || !this.#center) return;
    const focused = this.#walked || this.place.contains(document.activeElement);
    const last = document.activeElement?.dataset?.at;
    const most = Math.max(this.#sides.in.nodes.length, this.#sides.out.nodes.length);
    const height = Math.max(LEAST_HEIGHT, TOP + (most + 1) * STEP);
    const middle = { x: width / 2, y: (height + TOP) / 2 };
    const far = Math.min(width / 2 - 86, 250);
    const largest = Math.max(1e-9, ...["in", "out"].flatMap((side) => this.#sides[side].nodes.map((one) => Math.abs(one.weight))));
    const edges = svg("g", {});
    this.#nodes = [];
    const drawn = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Neighbourhood of ${this.#center.label}` });
    drawn.append(edges);
    for (const [side, sign, anchor, title] of [["in", -1, "end", "projects to it"], ["out", 1, "start", "it projects to"]]) {
      const { nodes, waiting } = this.#sides[side];
      const text = waiting ? `${title}: looking…` : nodes.length ? title : `${title}: none`;
      drawn.append(svg("text", { class: "side-title", x: sign < 0 ? 10 : width - 10, y: 18, "text-anchor": sign < 0 ? "start" : "end" }, text));
      nodes.forEach((one, place) => {
        const y = middle.y + (place - (nodes.length - 1) / 2) * STEP;
        const bend = Math.sqrt(Math.max(0, 1 - ((y - middle.y) / (0.62 * height)) ** 2));
        const at = { x: middle.x + sign * far * bend, y };
        const edge = svg("path", {
          class: one.weight < 0 ? "edge inhibits" : "edge",
          d: `M ${at.x} ${at.y} C ${at.x - sign * far * 0.4} ${at.y} ${middle.x + sign * far * 0.45} ${middle.y} ${middle.x} ${middle.y}`,
          "stroke-width": 0.75 + 3.75 * (Math.abs(one.weight) / largest),
        });
        edges.append(edge);
        drawn.append(this.#node(one, at, { side, place, anchor, sign, edge, title }));
      });
    }
    drawn.append(this.#middle(middle));
    fill(this.place, drawn);
    if (!this.#nodes.length) return;
    const first = this.#nodes.find(({ node }) => node.dataset.at === last) ?? this.#nodes.find(({ side }) => side === "out") ?? this.#nodes[0];
    this.#aim(first.node);
    if (focused) {
      first.node.focus({ preventScroll: true });
      if (!this.#sides.in.waiting && !this.#sides.out.waiting) this.#walked = false;
    }
  }

  #node(one, at, { side, place, anchor, sign, edge, title }) {
    const node = svg(
      "g",
      {
        class: `node of-${one.state}`,
        role: "link",
        tabindex: -1,
        "data-at": `${side}-${place}`,
        "data-id": one.id,
        "aria-label": `${one.label}, ${title} with ${real(one.weight)} mV, ${one.state}`,
        onclick: () => this.go(one.id),
        onpointerenter: () => edge.classList.add("lit"),
        onpointerleave: () => edge.classList.remove("lit"),
        onfocus: () => edge.classList.add("lit"),
        onblur: () => edge.classList.remove("lit"),
      },
      svg("title", {}, `${one.label} · ${real(one.weight)} mV · ${one.state}`),
      svg("rect", { x: sign < 0 ? at.x - 82 : at.x - 10, y: at.y - STEP / 2, width: 92, height: STEP, fill: "transparent" }),
      svg("circle", { class: "ring", cx: at.x, cy: at.y, r: 8 }),
      svg("circle", { cx: at.x, cy: at.y, r: 4.5 }),
      svg("text", { x: at.x + sign * 10, y: at.y + 4, "text-anchor": anchor }, shortened(one.label)),
    );
    this.#nodes.push({ node, side, place, id: one.id, y: at.y });
    return node;
  }

  #middle({ x, y }) {
    return svg(
      "g",
      { class: `node center of-${this.#center.state}`, "aria-hidden": "true" },
      svg("circle", { cx: x, cy: y, r: 9 }),
      svg("text", { x, y: y - 16, "text-anchor": "middle" }, shortened(this.#center.label)),
    );
  }

  /** Only one neuron takes part in the order of tabs; arrows go to the others. */
  #aim(aimed) {
    for (const { node } of this.#nodes) node.setAttribute("tabindex", node === aimed ? 0 : -1);
  }

  #key(event) {
    const here = this.#nodes.find(({ node }) => node === document.activeElement);
    if (!here) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.#walked = true;
      this.go(here.id);
      return;
    }
    const same = this.#nodes.filter(({ side }) => side === here.side);
    const other = this.#nodes.filter(({ side }) => side !== here.side);
    const nearest = () => other.reduce((best, one) => (Math.abs(one.y - here.y) < Math.abs(best.y - here.y) ? one : best), other[0]);
    const next = {
      ArrowDown: () => same[here.place + 1],
      ArrowUp: () => same[here.place - 1],
      Home: () => same[0],
      End: () => same.at(-1),
      ArrowLeft: () => (here.side === "out" ? nearest() : null),
      ArrowRight: () => (here.side === "in" ? nearest() : null),
    }[event.key];
    if (!next) return;
    event.preventDefault();
    const node = next()?.node;
    if (!node) return;
    this.#aim(node);
    node.focus();
  }
}

const shortened = (text) => (text.length > 11 ? `${text.slice(0, 10)}…` : text);
