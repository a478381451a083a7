"use strict";

// Writes the page from openapi.json. Whatever comes from there is text and never markup.

const LONGEST_SHOWN = 200000;
let schemas = {};

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// A text whose parts between backticks are code.
function prose(text) {
  return text.split("`").map((part, index) => (index % 2 ? element("code", {}, part) : part));
}

function description(schema) {
  return schema.description || (schema.anyOf || []).map(description).find(Boolean) || "";
}

function resolved(schema) {
  return schema.$ref ? schemas[schema.$ref.split("/").pop()] || {} : schema;
}

function title(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  const choices = schema.anyOf || schema.oneOf;
  if (choices) return choices.map(title).join(" or ");
  if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(" | ");
  if (schema.type === "array") {
    return schema.items ? `list of ${title(schema.items)}` : "list";
  }
  const bounds = [];
  if (schema.format) bounds.push(schema.format);
  if (schema.minimum !== undefined) bounds.push(`from ${schema.minimum}`);
  if (schema.maximum !== undefined) bounds.push(`to ${schema.maximum}`);
  if (schema.default !== undefined) bounds.push(`default ${JSON.stringify(schema.default)}`);
  return [schema.type || "anything", ...bounds].join(", ");
}

// The objects inside a schema, however they are wrapped.
function objectsIn(schema) {
  const found = resolved(schema);
  if (found.properties) return [found];
  if (found.items) return objectsIn(found.items);
  if (found.prefixItems) return found.prefixItems.flatMap(objectsIn);
  return (found.anyOf || found.oneOf || []).flatMap(objectsIn);
}

function fields(schema, depth = 0) {
  const list = element("ul", { class: "fields" });
  for (const object of objectsIn(schema)) {
    const required = object.required || [];
    for (const [name, value] of Object.entries(object.properties)) {
      const needed = required.includes(name) ? "" : " (optional)";
      const line = [element("code", {}, name), " ", element("span", { class: "type" }, title(value) + needed)];
      if (description(value)) line.push(" – ", ...prose(description(value)));
      const inner = depth < 4 && objectsIn(value).length > 0;
      list.append(element("li", {}, ...(inner
        ? [element("details", {}, element("summary", {}, ...line), fields(value, depth + 1))]
        : line)));
    }
  }
  return list;
}

function content(part) {
  const [kind, media] = Object.entries(part.content || {})[0] || [];
  if (!kind) return [];
  return [element("p", {}, element("code", {}, kind), ": ", title(media.schema)), fields(media.schema)];
}

function parameterList(parameters) {
  const list = element("ul", { class: "fields" });
  for (const each of parameters) {
    const about = `${title(each.schema)}, ${each.in}${each.required ? ", required" : ""}`;
    list.append(element("li", {}, element("code", {}, each.name), " ",
      element("span", { class: "type" }, about), ...prose(each.description ? ` – ${each.description}` : "")));
  }
  return list;
}

function input(parameter, id) {
  const choices = parameter.schema.enum;
  if (!choices) return element("input", { id, name: parameter.name, autocomplete: "off", spellcheck: "false" });
  const select = element("select", { id, name: parameter.name }, element("option", { value: "" }, ""));
  for (const choice of choices) select.append(element("option", { value: choice }, choice));
  return select;
}

function target(path, parameters, form) {
  const query = new URLSearchParams();
  let found = path;
  for (const each of parameters) {
    const value = form.elements[each.name].value;
    if (each.in === "path") found = found.replace(`{${each.name}}`, encodeURIComponent(value));
    else if (value) query.set(each.name, value);
  }
  return query.size ? `${found}?${query}` : found;
}

async function ask(address, output) {
  output.replaceChildren(element("p", { class: "quiet" }, `GET ${address} …`));
  const begun = performance.now();
  try {
    const answer = await fetch(address, { headers: { accept: "application/json" }, cache: "no-store" });
    let text = await answer.text();
    const took = Math.round(performance.now() - begun);
    try {
      text = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      // shown as it came
    }
    if (text.length > LONGEST_SHOWN) text = `${text.slice(0, LONGEST_SHOWN)}\n… (${text.length} characters)`;
    output.replaceChildren(
      element("p", answer.ok ? {} : { class: "bad" }, `${answer.status} ${answer.statusText} in ${took} ms: ${address}`),
      element("pre", { tabindex: "0", "aria-label": "Answer" }, text));
  } catch (error) {
    output.replaceChildren(element("p", { class: "bad" }, `No answer: ${error.message}`));
  }
}

function tryIt(path, operation) {
  const parameters = operation.parameters.filter((each) => each.in !== "header");
  const form = element("form", {}, element("h3", {}, "Try it"));
  for (const each of parameters) {
    const id = `${operation.operationId}-${each.name}`;
    const field = input(each, id);
    if (each.required) field.required = true;
    form.append(element("label", { for: id }, each.name + (each.required ? " (required)" : "")), field);
  }
  const output = element("div", { "aria-live": "polite" });
  form.append(element("button", { type: "submit" }, `Ask ${path}`), output);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask(target(path, parameters, form), output);
  });
  return form;
}

function section(path, method, operation) {
  const summary = element("summary", {},
    element("span", { class: `method ${method}` }, method.toUpperCase()), " ",
    element("code", { class: "path" }, path), " ", element("span", {}, ...prose(operation.summary)));
  const body = element("div");
  const parts = element("details", { class: "operation", id: operation.operationId }, summary, body);
  parts.addEventListener("toggle", () => {
    if (parts.open && !body.firstChild) fill(body, path, method, operation);
  });
  return parts;
}

function fill(body, path, method, operation) {
  const streams = Boolean(operation.responses["200"]?.content?.["text/event-stream"]);
  if (operation.description) {
    for (const text of operation.description.split("\n\n")) body.append(element("p", {}, ...prose(text)));
  }
  if (operation.parameters.length) body.append(element("h3", {}, "Parameters"), parameterList(operation.parameters));
  if (operation.requestBody) body.append(element("h3", {}, "Body"), ...content(operation.requestBody));
  for (const [status, answer] of Object.entries(operation.responses)) {
    if (status >= "400") continue;
    body.append(element("h3", {}, streams ? `Answer ${status}: a stream of events` : `Answer ${status}`));
    body.append(...content(answer));
  }
  body.append(element("h3", {}, "Refusals"));
  const refusals = element("ul", { class: "fields" });
  for (const [status, answer] of Object.entries(operation.responses)) {
    if (status >= "400") refusals.append(element("li", {}, element("code", {}, status), " ", ...prose(answer.description)));
  }
  body.append(refusals);
  if (method === "get" && !streams) body.append(tryIt(path, operation));
}

function show(found) {
  schemas = found.components.schemas;
  document.getElementById("version").textContent = found.info.version;
  const groups = new Map();
  for (const [path, operations] of Object.entries(found.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const tag = operation.tags[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(section(path, method, operation));
    }
  }
  const main = document.getElementById("operations");
  for (const [tag, operations] of groups) {
    main.append(element("section", {}, element("h2", {}, tag), ...operations));
  }
}

function filter() {
  const words = document.getElementById("filter").value.trim().toLowerCase();
  let count = 0;
  for (const group of document.querySelectorAll("main section")) {
    let shown = 0;
    for (const operation of group.querySelectorAll(".operation")) {
      operation.hidden = !operation.querySelector("summary").textContent.toLowerCase().includes(words);
      shown += operation.hidden ? 0 : 1;
    }
    group.hidden = shown === 0;
    count += shown;
  }
  document.getElementById("state").textContent = `${count} operations`;
}

function openNamed() {
  const named = document.getElementById(location.hash.slice(1));
  if (!named?.matches(".operation")) return;
  named.open = true;
  named.scrollIntoView();
}

async function begin() {
  try {
    const answer = await fetch("/api/openapi.json");
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    show(await answer.json());
  } catch (error) {
    document.getElementById("state").textContent = `The document cannot be read: ${error.message}`;
    return;
  }
  filter();
  openNamed();
  document.getElementById("filter").addEventListener("input", filter);
  window.addEventListener("hashchange", openNamed);
}

begin();
