// The API for people: /v1/openapi.json as a page.

import { h } from "./dom.js";

const main = document.getElementById("view");

async function show() {
  const answer = await fetch("/v1/openapi.json");
  if (!answer.ok) return main.replaceChildren(h("p", { class: "problem" }, (await answer.json()).detail, " ", h("a", { href: "/" }, "Sign in")));
  const api = await answer.json();
  const groups = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] || "other";
      groups.set(tag, [...(groups.get(tag) || []), operationBox(api, method.toUpperCase(), path, operation)]);
    }
  }
  main.replaceChildren(
    h("h1", {}, "API"), h("p", {}, api.info.description),
    h("p", {}, "Programs send ", h("code", {}, "Authorization: Bearer TOKEN"), ". ", h("a", { href: "/v1/openapi.json" }, "openapi.json"), " describes everything for generators of clients."),
    ...[...groups].map(([tag, boxes]) => h("section", { class: "card" }, h("h2", {}, tag), boxes)));
}

function operationBox(api, method, path, operation) {
  const scope = operation.security?.find((one) => one.token)?.token[0];
  const parameters = operation.parameters || [];
  const bodies = Object.entries(operation.requestBody?.content || {});
  const answers = Object.entries(operation.responses);
  return h("details", {},
    h("summary", {}, h("code", {}, `${method} ${path}`), h("span", { class: "faint" }, scope ? ` ${scope}` : "")),
    h("p", {}, operation.description || operation.summary),
    parameters.length ? table(["Parameter", "In", "Type", "Meaning"], parameters.map((one) => [one.name, one.in, typeOf(one.schema), one.description || ""])) : null,
    bodies.length ? table(["Body", "Fields"], bodies.map(([kind, { schema }]) => [kind, fields(api, schema)])) : null,
    table(["Answer", "Meaning", "Fields"], answers.map(([status, one]) => [status, one.description, answerFields(api, status, one)])));
}

const table = (headings, rows) => h("table", {},
  h("thead", {}, h("tr", {}, headings.map((one) => h("th", { scope: "col" }, one)))),
  h("tbody", {}, rows.map((row) => h("tr", {}, row.map((one) => h("td", { class: "wide" }, one))))));

const answerFields = (api, status, answer) => (status === "default" || status >= "400"
  ? "application/problem+json" : fields(api, Object.values(answer.content || {})[0]?.schema));

function resolve(api, schema) {
  return schema?.$ref ? api.components.schemas[schema.$ref.split("/").at(-1)] : schema;
}

function fields(api, schema) {
  const found = resolve(api, schema);
  if (!found) return "";
  if (found.type === "array") return `list of ${typeOf(found.items)}`;
  if (!found.properties) return typeOf(found);
  return Object.entries(found.properties).map(([name, one]) => `${name}: ${typeOf(one)}`).join(", ");
}

function typeOf(schema = {}) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum) return schema.enum.join(" or ");
  if (schema.type === "array") return `list of ${typeOf(schema.items || schema.prefixItems?.[0])}`;
  return [schema.type || "any", schema.format].filter(Boolean).join(", ");
}

show().catch((error) => main.replaceChildren(h("p", { class: "problem" }, error.message)));
