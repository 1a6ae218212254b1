// The API from its own description.

const made = (tag, text, ...inside) => {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  element.append(...inside);
  return element;
};
const document_ = await (await fetch("api/openapi.json")).json();
const named = (schema) => schema?.$ref?.split("/").pop()
  || schema?.anyOf?.map(named).join(" or ") || schema?.items && `list of ${named(schema.items)}` || schema?.type || "";

function fields(schema) {
  const inner = schema?.$ref ? document_.components.schemas[named(schema)] : schema;
  return Object.entries(inner?.properties || {}).map(([name, one]) => [name, named(one), one.description || ""]);
}

for (const [path, methods] of Object.entries(document_.paths)) {
  for (const [method, route] of Object.entries(methods)) {
    const section = made("section", null, made("h2", null, made("code", `${method.toUpperCase()} ${path}`)));
    if (route.description) section.append(made("p", route.description));
    const body = Object.values(route.requestBody?.content || {})[0]?.schema;
    const rows = [...(route.parameters || []).map((p) => [p.name, named(p.schema), p.description || p.in]), ...fields(body)];
    if (body && !fields(body).length) rows.push(["body", (body.oneOf || []).map(named).join(", "), ""]);
    if (rows.length) section.append(made("table", null, ...rows.map((row) => made("tr", null, ...row.map((cell) => made("td", cell))))));
    const good = Object.entries(route.responses).find(([code]) => code.startsWith("2"));
    section.append(made("p", `answers ${good?.[0]} ${named(Object.values(good?.[1].content || {})[0]?.schema)}`));
    document.getElementById("routes").append(section);
  }
}
