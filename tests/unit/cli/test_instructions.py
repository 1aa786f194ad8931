"""``--instruction``: of the commands that rank."""

import json

import pytest
from click.testing import CliRunner

from rerank_plugins import InputError, Reranker, serving
from rerank_plugins.cli import _arguments, build
from rerank_plugins.cli._explain import explanation, explanation_numbers, rank_recorded
from rerank_plugins.jobs import Query
from rerank_plugins.strategies import PairScore, Pointwise
from rerank_plugins.testing import Oracle

TOLD = "Find what vets say."
ROW = {"query_id": "q", "query": "flea", "passages": ["a", "a flea"]}


@pytest.fixture
def model(monkeypatch):
    """The model behind ``--reranker x``; behind ``--reranker plain``, no prompt takes one."""
    found = Oracle(key=lambda query, passage: float(len(passage)))
    known = {"x": Reranker(Pointwise(), found), "plain": Reranker(PairScore(), found)}
    monkeypatch.setattr(_arguments, "load_reranker", lambda name, **_: known[name])
    return found


def call(*arguments, **options):
    return CliRunner().invoke(build(), list(map(str, arguments)), **options)


def told(model):
    return [call.prompt.text.splitlines()[1].removeprefix("<Instruct>: ") for call in model.asked]


def test_rank(model):
    lines = [ROW, {**ROW, "query_id": "r", "instruction": "Find fleas."}]
    given = "".join(json.dumps(line) + "\n" for line in lines)
    found = call("rank", "-", "--reranker", "x", "--instruction", TOLD, input=given)
    assert found.exit_code == 0, found.output
    assert told(model) == [TOLD, TOLD, "Find fleas.", "Find fleas."]


def test_a_file_is_resumed_with_the_same_instruction_only(model, tmp_path):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps(ROW) + "\n")
    given = ("rank", source, out, "--reranker", "x", "--instruction")
    assert call(*given, TOLD).exit_code == 0
    assert call(*given, TOLD).exit_code == 0
    assert len(model.asked) == 2
    found = call(*given, "Find fleas.")
    assert "was started with other reranker" in str(found.exception)


def test_a_line_of_a_file_that_cannot_have_one(model):
    line = json.dumps({**ROW, "instruction": TOLD}) + "\n"
    found = call("rank", "-", "--reranker", "plain", input=line)
    assert isinstance(found.exception, InputError)
    assert "PairScore has no place for an instruction" in str(found.exception)
    found = call("rank", "-", "--reranker", "x", input=line.replace(TOLD, " "))
    assert "line 1 of standard input: instruction is ' '" in str(found.exception)
    assert not model.asked


def test_explain(model, tmp_path):
    (tmp_path / "texts.txt").write_text("a\na flea\n")
    given = ("explain", "q", "--passages", tmp_path / "texts.txt", "--reranker", "x")
    found = call(*given, "--instruction", TOLD)
    assert found.exit_code == 0, found.output
    assert f"=== instruction: {TOLD}\n" in found.output
    assert f"<Instruct>: {TOLD}" in found.output
    assert json.loads(call(*given, "--instruction", TOLD, "--json").stdout)["instruction"] == TOLD
    assert "instruction" not in json.loads(call(*given, "--json").stdout)
    assert "=== instruction" not in call(*given).output


def test_the_explanation_of_a_query_with_an_instruction(model):
    request = Query("1", "flea", ("a", "b"), None, TOLD)
    found = rank_recorded(Reranker(Pointwise(), model), request)
    assert f"=== instruction: {TOLD}" in explanation(request, *found).splitlines()
    assert explanation_numbers(request, *found)["instruction"] == TOLD


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("rank", "-", "--reranker", "plain"), "PairScore has no place for an instruction"),
        (("explain", "q", "--passages", "TEXTS", "--reranker", "plain"), "has no place"),
        (("evaluate", "FILE", "--reranker", "plain"), "has no place for an instruction"),
        (("evaluate", "FILE"), "--instruction is for rerankers. Give --reranker too"),
        (("serve", "plain"), "has no place for an instruction"),
        (("batch", "FILE", "out", "--reranker", "plain"), "has no place for an instruction"),
        (("bench", "--reranker", "plain"), "PairScore has no place for an instruction"),
        (("bench", "--engine"), "--engine asks no model, so it takes no --instruction"),
    ],
)
def test_it_is_never_ignored(model, tmp_path, given, says):
    file = tmp_path / "in.jsonl"
    file.write_text(json.dumps(ROW) + "\n")
    (tmp_path / "texts.txt").write_text("a\na flea\n")
    files = {"FILE": file, "TEXTS": tmp_path / "texts.txt"}
    arguments = [files.get(word, word) for word in given]
    found = call(*arguments, "--instruction", TOLD, input=file.read_text())
    assert isinstance(found.exception, InputError)
    assert says in str(found.exception)
    assert not model.asked


def test_feedback_by_a_run_takes_none(tmp_path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d", "text": "flea"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "flea"}\n')
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    found = call("feedback", tmp_path, "--run", "run.trec", "--instruction", TOLD)
    assert "give either --reranker or --run" in str(found.exception)


def test_bench(model):
    given = ("bench", "--reranker", "x", "--passages", "2", "--repeat", "1")
    found = call(*given, "--instruction", TOLD)
    assert found.exit_code == 0, found.output
    assert set(told(model)) == {TOLD}


def test_serve(model, monkeypatch):
    started = {}
    monkeypatch.setattr(serving, "create_app", lambda reranker, **_: reranker)
    monkeypatch.setattr(serving, "serve", lambda app, **_: started.update(reranker=app))
    found = call("serve", "x", "--instruction", TOLD)
    assert found.exit_code == 0, found.output
    assert started["reranker"].strategy == Pointwise(instruction=TOLD)


def test_batch(tmp_path, monkeypatch):
    ray = pytest.importorskip("rerank_plugins.jobs.ray")
    specs = []

    def rank_dataset(source, spec, output, **options):
        specs.append(spec)
        return ray.DatasetCounts()

    monkeypatch.setattr(ray, "rank_dataset", rank_dataset)
    file, spec = tmp_path / "in.jsonl", tmp_path / "spec.json"
    file.touch()
    spec.write_text(json.dumps({"strategy": "pointwise", "backend": "constant"}))
    for options in ((), ("--instruction", TOLD)):
        found = call("batch", file, tmp_path / "out", "--reranker", spec, *options)
        assert found.exit_code == 0, found.output
    assert specs[0] == {"strategy": "pointwise", "backend": "constant"}
    assert specs[1]["strategy"]["instruction"] == TOLD
    assert specs[1]["backend"] == "constant"
