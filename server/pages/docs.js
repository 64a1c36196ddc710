"use strict";
// Shows openapi.json as text: nothing of it is taken for HTML.

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function resolved(schema, all) {
  return schema && schema.$ref ? all[schema.$ref.split("/").pop()] : schema;
}

function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  const several = schema.anyOf || schema.oneOf;
  if (several) return several.map(typeOf).join(" | ");
  if (schema.type === "array") return "[" + typeOf(schema.items) + "]";
  return schema.type || "any";
}

function table(rows) {
  const made = element("table");
  for (const row of rows) made.append(element("tr", "", ...row.map((cell) => element("td", cell))));
  return made;
}

function bodyOf(schema, all) {
  const whole = resolved(schema, all);
  if (!whole) return element("span");
  const several = whole.oneOf || (whole.anyOf || []).filter((one) => one.type !== "null");
  if (several.length) return element("div", "", ...several.map((one) => bodyOf(one, all)));
  const required = new Set(whole.required || []);
  const rows = Object.entries(whole.properties || {}).map(([name, one]) => [
    name, typeOf(one), required.has(name) ? "required" : one.default === undefined ? "" : "default " + JSON.stringify(one.default),
    one.description || "",
  ]);
  return element("div", "", element("p", whole.description || ""), table(rows));
}

function route(path, method, what, all) {
  const head = element("summary", "", element("code", method.toUpperCase()), " ", element("code", path), " ",
    element("span", (what.description || "").split("\n")[0]));
  head.firstChild.className = "method";
  const made = element("details", "", head);
  if (what.description) made.append(element("p", what.description));
  const parameters = (what.parameters || []).map((one) => [
    one.name, one.in, typeOf(one.schema), one.required ? "required" : "", one.description || (one.schema || {}).description || "",
  ]);
  if (parameters.length) made.append(element("h4", "Parameters"), table(parameters));
  const body = what.requestBody && what.requestBody.content["application/json"];
  if (body) made.append(element("h4", "Body"), bodyOf(body.schema, all));
  return made;
}

async function show() {
  const document_ = await (await fetch("/openapi.json")).json();
  const all = (document_.components || {}).schemas || {};
  document.getElementById("about").textContent = document_.info.title + " " + document_.info.version + ". " + document_.info.description;
  const groups = new Map();
  for (const [path, methods] of Object.entries(document_.paths)) {
    for (const [method, what] of Object.entries(methods)) {
      const tag = (what.tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(route(path, method, what, all));
    }
  }
  const routes = document.getElementById("routes");
  for (const [tag, parts] of groups) routes.append(element("h2", tag), ...parts);
}

show().catch((error) => { document.getElementById("about").textContent = "openapi.json cannot be read: " + error; });
