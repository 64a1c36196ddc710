/** Elements made by hand. Data only ever becomes text: nothing here, or anywhere in the console, parses markup. */

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes (`on…` functions become listeners, null and false are left out) and children. */
export function el(name, attributes = {}, ...children) {
  return dressed(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
  return dressed(document.createElementNS(SVG, name), attributes, children);
}

/** Replace what is in `node`. */
export function fill(node, ...children) {
  node.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Set the text of an element, and touch the page only where it differs. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A button that runs `action`, and is disabled while that goes on. */
export function button(text, action, attributes = {}) {
  const made = el("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", async () => {
    made.disabled = true;
    try {
      await action();
    } finally {
      made.disabled = false;
    }
  });
  return made;
}

function dressed(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}
