"""Tables, progress, calls as text and JSON."""

import csv
import json

import pytest

from rerank_plugins import BackendError, InputError
from rerank_plugins.calls import (
    Completion,
    Embed,
    Generate,
    Identifier,
    LabelLogprobs,
    Likelihood,
    Message,
    NextToken,
    Prompt,
    Reply,
    ScorePair,
    Untrusted,
    Vectors,
)
from rerank_plugins.cli._terminal import (
    call_text,
    progress,
    reply_text,
    table,
    to_json,
    write_table,
)

PROMPT = Prompt((Message("system", ("Be brief.",)), Message("user", ("A ", Untrusted("flea")))))


def test_a_table():
    rows = [["a", "1", "22"], ["long name", "333", ""]]
    expected = ["name         x   y", "a            1  22  first", "long name  333"]
    assert table(["name", "x", "y"], rows, ["first", ""]).splitlines() == expected
    assert table(["name", "x"], []) == "name  x"
    with pytest.raises(ValueError, match="zip"):
        table(["name"], [["a", "b"]])


def test_tab_separated_values_read_back(tmp_path):
    rows = [["q\t1", 0.5], ['q"2\n', ""]]
    write_table(tmp_path / "t.tsv", ["query", "value"], rows)
    with (tmp_path / "t.tsv").open(newline="") as file:
        found = list(csv.reader(file, delimiter="\t"))
    assert found == [["query", "value"], ["q\t1", "0.5"], ['q"2\n', ""]]
    with pytest.raises(InputError, match="cannot write"):
        write_table(tmp_path / "none" / "t.tsv", ["a"], [])
    with pytest.raises(ZeroDivisionError):
        write_table(tmp_path / "t.tsv", ["a"], ([1 / n] for n in (1, 0)))
    assert (tmp_path / "t.tsv").read_text().startswith("query\tvalue\n")


def test_no_progress_without_a_terminal(capsys):
    for length in (None, 3):
        with progress("ranked", length) as tell:
            tell(2)
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress("ranked") as tell:
        tell(2)
        tell(3)
    assert capsys.readouterr().err.endswith("\rranked: 5\n")
    with progress("timed", 3) as tell:
        tell(3)
    assert "timed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("call", "end"),
    [
        (NextToken(PROMPT, ("A", "B")), "--- which comes next?\n'A' 'B'"),
        (Generate(PROMPT, max_tokens=7), "--- then write\nup to 7 tokens, greedily"),
        (
            Generate(PROMPT, max_tokens=7, temperature=0.5, top_p=0.8, top_k=3),
            "--- then write\nup to 7 tokens, sampled: temperature 0.5, top_p 0.8, top_k 3",
        ),
        (Likelihood(PROMPT, Untrusted("a query")), "--- how likely is then\na query"),
        (Embed(PROMPT), "--- which vectors are there?\nat the last token"),
        (Embed(PROMPT, ("<m>", "<n>")), "--- which vectors are there?\nat each <m> and <n>"),
    ],
)
def test_calls_with_a_prompt(call, end):
    assert call_text(call) == f"--- system\nBe brief.\n--- user\nA flea\n{end}"


def test_a_started_answer_and_a_plain_prompt():
    prompt = Prompt((Message("user", ("A",)),), prefill=("[", Identifier(1)), chat=False)
    assert call_text(Generate(prompt, max_tokens=1)).startswith(
        "--- plain text\nA\n--- the answer begins\n[B\n--- then write\n"
    )


def test_pairs_and_templates_of_the_backend():
    pair = ScorePair("q", "p")
    assert call_text(pair) == "--- first text\nq\n--- second text\np"
    spec = {"query_template": "query: {query}", "passage_template": "doc: {passage}"}
    assert call_text(pair, spec) == "--- first text\nquery: q\n--- second text\ndoc: p"
    shown = call_text(NextToken(PROMPT, ("A",)), {"chat_template": "{{ x }}"})
    assert shown.startswith("--- chat template\n{{ x }}\n--- system\n")


def test_replies():
    assert reply_text(Reply(LabelLogprobs({"A": -2.0, "B": -0.5}))) == "B -0.5000  A -2.0000"
    assert reply_text(Reply(Completion("[2] > [1]"))) == "[2] > [1]"
    assert reply_text(Reply(0.25)) == "0.25"
    assert reply_text(Reply(Vectors(((0.5, 1.0),) * 3))) == "vectors: 3, of 2 numbers"
    assert reply_text(BackendError("it is down")) == "BackendError: it is down"


def test_json_for_machines():
    value = {"a": float("inf"), 1: (float("nan"), 0.5), "s": {3}, "ü": None}
    assert json.loads(to_json(value)) == {"a": None, "1": [None, 0.5], "s": [3], "ü": None}
    assert "ü" in to_json(value)
