const KINDS = {
  logit: "Scores are logits: higher is better, and requests compare.",
  logprob: "Scores are log-probabilities: 0 is the highest.",
  probability: "Scores are probabilities.",
  grade: "Scores are grades that the model gave.",
  "z-score": "Scores mix two sources: they compare within this list alone.",
  rank: "Scores only number the places: 1, 1/2, 1/3, ...",
};

function passagesOf(text) {
  const parts = /\n[ \t]*\n/.test(text) ? text.split(/\n[ \t]*\n/) : text.split("\n");
  return parts.map((part) => part.trim()).filter(Boolean);
}

function row(result, rank, documents) {
  const made = element("tr");
  const score = result.score === null ? "not read" : result.score.toFixed(4);
  made.append(
    element("td", rank, "number"),
    element("td", result.index + 1, "number"),
    element("td", score, "number"),
    element("td", documents[result.index], "text"),
  );
  return made;
}

function figure(label, value) {
  const made = element("li", `${label} `);
  made.append(element("b", value));
  return made;
}

function call(asked, number, all) {
  const made = element("details");
  made.open = number === 1;
  made.append(
    element("summary", `Call ${number} of ${all}: ${asked.kind}`),
    element("pre", asked.question),
    element("h3", asked.failed ? "It failed" : "Its answer"),
    element("pre", asked.answer),
  );
  return made;
}

function show(found, documents) {
  at("order").replaceChildren(...found.results.map((r, i) => row(r, i + 1, documents)));
  at("kind").textContent = KINDS[found.score_kind] || "";
  const usage = found.usage;
  at("cost").replaceChildren(
    figure("calls", usage.calls),
    figure("tokens read", usage.prompt_tokens),
    figure("tokens written", usage.generated_tokens),
    figure("seconds", usage.seconds.toFixed(2)),
    ...(usage.loading_seconds ? [figure("loading", usage.loading_seconds.toFixed(2))] : []),
  );
  const warnings = found.meta.warnings || [];
  at("warnings").replaceChildren(...warnings.map((text) => element("li", text, "problem")));
  const asked = found.asked || [];
  at("asked").replaceChildren(...asked.map((one, i) => call(one, i + 1, usage.calls)));
  if (!asked.length) at("asked").append(element("p", "Nothing.", "note"));
  if (asked.length < usage.calls)
    at("asked").append(element("p", `The first ${asked.length} of ${usage.calls} calls.`, "note"));
  at("result").hidden = false;
}

at("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const documents = passagesOf(at("passages").value);
  const instruction = at("instruction").value.trim() || undefined; // JSON leaves it out
  const question = { query: at("query").value, documents, instruction, explain: true };
  say("");
  at("rank").disabled = true;
  try {
    show(await ask("v1/rerank", question), documents);
  } catch (error) {
    at("result").hidden = true;
    say(error.message);
  }
  at("rank").disabled = false;
});

ask("v1/models").then(
  (found) => (at("model").textContent = found.data[0].id),
  () => {},
);
