"use strict";
const at = (id) => document.getElementById(id);
const base = location.pathname.replace(/[^/]*$/, "");

// Everything that comes from outside goes through here, as text.
function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// A text of the service, in which `names` are code.
function described(name, text, className) {
  const made = element(name, undefined, className);
  made.append(...text.split(/`+/).map((part, i) => (i % 2 ? element("code", part) : part)));
  return made;
}

// The key stays in the field: it is stored nowhere.
async function ask(path, body) {
  const headers = body ? { "Content-Type": "application/json" } : {};
  if (at("key").value) headers.Authorization = `Bearer ${at("key").value}`;
  const options = { headers, method: body ? "POST" : "GET", body: body && JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(base + path, options);
  } catch {
    throw new Error("The service does not answer.");
  }
  if (answer.status === 401) {
    at("lock").hidden = false;
    at("key").focus();
  }
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(found.detail || `The service answered ${answer.status}.`);
  return found;
}

function say(text) {
  at("problem").textContent = text;
  at("problem").hidden = !text;
}
