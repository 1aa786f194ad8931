const nameOf = (schema) => (schema.$ref || "").split("/").pop();

function link(name) {
  const made = element("a", name);
  made.href = `#${name}`;
  return made;
}

// The type of a value in words, with links to the types that have names.
function typeOf(schema) {
  const many = schema.anyOf || schema.oneOf;
  if (schema.$ref) return [link(nameOf(schema))];
  if (many) return many.flatMap((one, i) => [...(i ? [" or "] : []), ...typeOf(one)]);
  if (schema.type === "array") return ["list of ", ...typeOf(schema.items || {})];
  if (schema.enum) return [schema.enum.slice(0, 6).map(String).join(", ") + (schema.enum.length > 6 ? ", ..." : "")];
  return [schema.type || "anything"];
}

const LIMITS = { minimum: "at least", maximum: "at most", maxLength: "characters at most", maxItems: "items at most" };

function limitsOf(schema) {
  const places = [schema, ...(schema.anyOf || []), schema.items || {}];
  const found = places.flatMap((one) => Object.keys(LIMITS).filter((key) => key in one).map((key) =>
    key.startsWith("max") && key !== "maximum" ? `${one[key]} ${LIMITS[key]}` : `${LIMITS[key]} ${one[key]}`));
  return [...new Set(found)].join("; ");
}

function fields(schema) {
  const table = element("table", undefined, "fields"), head = element("tr"), body = element("tbody");
  head.append(...["field", "type", "meaning"].map((text) => element("th", text)));
  for (const [name, field] of Object.entries(schema.properties || {})) {
    const line = element("tr"), first = element("td"), type = element("td");
    first.append(element("code", name));
    if ((schema.required || []).includes(name)) first.append(" ", element("span", "required", "note"));
    type.append(...typeOf(field));
    const meaning = [field.description, limitsOf(field)].filter(Boolean).join(" ");
    line.append(first, type, described("td", meaning, "text"));
    body.append(line);
  }
  table.append(element("thead"), body);
  table.tHead.append(head);
  return table;
}

// Paths that do the same are one operation; those with a body come first.
function operations(paths) {
  const found = new Map();
  for (const [path, methods] of Object.entries(paths))
    for (const [method, about] of Object.entries(methods)) {
      const key = `${method} ${about.description || about.summary}`;
      found.set(key, found.get(key) || { method, about, paths: [] }).get(key).paths.push(path);
    }
  return [...found.values()].sort((a, b) => !a.about.requestBody - !b.about.requestBody);
}

function operation({ paths, method, about }) {
  const made = element("section"), title = element("h2");
  title.append(element("span", method.toUpperCase(), "method"));
  for (const path of paths) title.append(" ", element("code", path));
  made.append(title, described("p", about.description || about.summary, "about"));
  const body = about.requestBody && Object.values(about.requestBody.content)[0].schema;
  if (body) {
    const line = element("p", "Body: ");
    line.append(...typeOf(body));
    made.append(line);
  }
  const table = element("table"), rows = element("tbody");
  for (const [status, answer] of Object.entries(about.responses)) {
    const line = element("tr"), type = element("td"), content = Object.values(answer.content || {})[0];
    if (content && content.schema) type.append(...typeOf(content.schema));
    line.append(element("td", status, "number"), described("td", answer.description, "text"), type);
    rows.append(line);
  }
  table.append(rows);
  const details = element("details");
  details.append(element("summary", "Answers"), table);
  made.append(details);
  return made;
}

async function load() {
  say("");
  try {
    const found = await ask("openapi.json");
    at("version").textContent = `${found.info.title} ${found.info.version}`;
    at("paths").replaceChildren(...operations(found.paths).map(operation));
    at("schemas").replaceChildren(element("h2", "Types"), ...Object.entries(found.components.schemas).map(([name, schema]) => {
      const made = element("section"), title = element("h3");
      made.id = name;
      title.append(element("code", name));
      made.append(title, described("p", schema.description || "", "about"), fields(schema));
      return made;
    }));
  } catch (error) {
    say(error.message);
  }
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  load();
});
load();
