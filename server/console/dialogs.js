/** Questions that stop everything else: for the key, for a name, and whether one is sure. */

import { byId, say } from "./dom.js";

/** The key that was typed, or null. `why`: what the service said to the one before, or null if there was none. */
export function askKey(why) {
  const dialog = byId("key-dialog");
  const input = dialog.querySelector("input");
  say(byId("key-why"), why ?? "It lets nobody in without one. The command engramdb keys add makes one, where the service runs.");
  input.value = "";
  return new Promise((resolve) => {
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "use" ? input.value.trim() || null : null), {
      once: true,
    });
    dialog.showModal();
  });
}

/** The name that was typed, or null. */
export function askName(title, text, action) {
  const dialog = byId("name-dialog");
  const input = dialog.querySelector("input");
  say(byId("name-title"), title);
  say(byId("name-text"), text);
  say(byId("name-yes"), action);
  input.value = "";
  return new Promise((resolve) => {
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes" ? input.value.trim() || null : null), {
      once: true,
    });
    dialog.showModal();
  });
}

/** Whether `action` shall be done. */
export function sure(title, text, action) {
  const dialog = byId("sure-dialog");
  say(byId("sure-title"), title);
  say(byId("sure-text"), text);
  say(byId("sure-yes"), action);
  return new Promise((resolve) => {
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    dialog.showModal();
  });
}
