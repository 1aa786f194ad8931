"""``rerank-plugins judge``: a server's grades, those it does not give, and a run that stops."""

import json

import pytest
from click.testing import CliRunner
from openai_server import OpenAIServer

from rerank_plugins import InputError
from rerank_plugins.cli import build
from rerank_plugins.cli._judge import pooled
from rerank_plugins.errors import CallError
from rerank_plugins.evaluation import load_collection, write_run

pytest.importorskip("httpx")

TEXTS = {"a": "grade 3", "b": "grade 0", "c": "says nothing", "d": "grade 1", "e": "is refused"}


class Judge(OpenAIServer):
    """A server that reads a passage's grade from its text."""

    refuses = True

    def questions(self):
        """What it was asked, apart from what finds out what it can do."""
        asked = [body["messages"][-1]["content"] for body in self.asked]
        return [text for text in asked if "Passage: " in text]

    def refusal(self, body, headers):
        if self.refuses and "is refused" in body["messages"][-1]["content"]:
            return 400, {"error": {"message": "content policy"}}
        return None

    def written(self, scores, body):
        self.cut = False
        text = body["messages"][-1]["content"].partition("Passage: grade ")[2]
        return ["##final", " score: ", text[0]] if text else ["I cannot say"]


@pytest.fixture
def server():
    started = Judge()
    yield started
    started.close()


@pytest.fixture
def folder(tmp_path):
    """A collection without judgements, a run, and the spec of a model on the server."""
    documents = [{"_id": key, "text": text} for key, text in TEXTS.items()]
    queries = [{"_id": "q", "text": "flea?"}, {"_id": "r", "text": "cat?"}]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    write_run(tmp_path / "run.trec", {"q": ["a", "b", "e"], "r": ["d", "a", "c"]})
    return tmp_path


@pytest.fixture
def judge(folder, server):
    spec = {
        "strategy": "pair-score",  # whatever it is: a judge asks in its own way
        "backend": {"name": "openai", "base_url": server.url, "model": "served-model"},
    }
    (folder / "judge.json").write_text(json.dumps(spec))

    def run(*options, run="run.trec"):
        given = [str(folder), "--run", str(folder / run), "--reranker", str(folder / "judge.json")]
        output = ["--output", str(folder / "qrels" / "judged.tsv")]
        return CliRunner().invoke(build(), ["judge", *given, *output, *options])

    return run


def test_grades_are_those_that_the_model_wrote(judge, folder, server):
    found = judge("--depth", "2")
    assert found.exit_code == 0, found.output
    assert "2 queries, grades: 2 of 3, 1 of 1, 1 of 0" in found.output
    collection = load_collection(folder, split="judged")
    assert collection.qrels == {"q": {"a": 3, "b": 0}, "r": {"d": 1, "a": 3}}
    assert collection.synthetic == "umbrela.v1 by served-model"
    asked = server.questions()
    assert len(asked) == 4
    assert asked[0].startswith("Given a query and a passage, you must provide a score on an integ")
    assert any("Query: flea?\nPassage: grade 3\n" in text for text in asked)


def test_an_instruction_is_told_or_refused(judge, server):
    refused = judge("--instruction", "Find fleas.")
    assert "has no place for an instruction" in str(refused.exception)
    assert not server.asked
    judge("--depth", "1", "--prompt", "erank.v1", "--instruction", "Find fleas.")
    asked = [body["messages"][-1]["content"] for body in server.asked]
    assert any("relevance definition is: Find fleas." in text for text in asked)


def test_what_the_model_did_not_say_is_no_grade(judge, folder):
    found = judge("--on-error", "skip")
    assert found.exit_code == 3
    assert "no grade for 2 passages: 1 answers had none, 1 calls failed" in found.output
    collection = load_collection(folder, split="judged")
    assert collection.qrels == {"q": {"a": 3, "b": 0}, "r": {"d": 1, "a": 3}}


def test_a_failure_stops_it_and_the_same_command_resumes(judge, folder, server):
    found = judge("--batch-size", "1")
    assert isinstance(found.exception, CallError)
    assert not (folder / "qrels" / "judged.tsv").exists()
    server.refuses, before = False, len(server.questions())
    again = judge("--batch-size", "1")
    assert again.exit_code == 3  # one passage gets no readable answer, twice
    assert len(server.questions()) - before == 4  # of six passages, two were kept
    assert load_collection(folder, split="judged").qrels["q"] == {"a": 3, "b": 0}


def test_numbers_for_machines(judge, folder):
    said = json.loads(judge("--depth", "2", "--json").output)
    assert said["grades"] == {"3": 2, "1": 1, "0": 1}
    assert (said["queries"], said["unreadable"], said["failed"]) == (2, 0, 0)
    assert said["synthetic"] == "umbrela.v1 by served-model"
    assert said["usage"]["calls"] == 4


def test_everything_measured_with_them_says_so(judge, folder):
    judge("--depth", "2")
    write_run(folder / "other.trec", {"q": ["b", "a"], "r": ["a", "d"]})
    runs = [str(folder / "run.trec"), str(folder / "other.trec")]
    note = "SYNTHETIC: a model gave the grades (umbrela.v1 by served-model), not people"
    given = ["--split", "judged"]
    for command in (
        ["evaluate", str(folder), "--run", runs[0], "--run", runs[1], *given],
        ["compare", *runs, "--collection", str(folder), *given],
    ):
        assert note in CliRunner().invoke(build(), command).output.splitlines()
        said = CliRunner().invoke(build(), [*command, "--json"]).output
        assert json.loads(said)["synthetic"] == "umbrela.v1 by served-model"


def test_people_s_judgements_are_never_replaced(judge, folder):
    (folder / "qrels").mkdir()
    file = folder / "qrels" / "judged.tsv"
    file.write_text("query-id\tcorpus-id\tscore\nq\ta\t1\n")
    found = judge()
    assert isinstance(found.exception, InputError)
    assert "holds judgements of people. Give another --output." in str(found.exception)
    assert file.read_text().endswith("q\ta\t1\n")


@pytest.mark.parametrize(
    ("run", "says"),
    [
        ({"q": ["zzz"]}, "names 1 documents that the collection lacks"),
        ({"x": ["a"]}, "answers 1 queries that the collection lacks"),
        ({"q": ["c"]}, "none of the 1 answers has a grade"),
    ],
)
def test_runs_that_cannot_be_judged(judge, folder, run, says):
    write_run(folder / "odd.trec", run)
    found = judge(run="odd.trec")
    assert says in str(found.exception)
    assert not (folder / "qrels" / "judged.tsv").exists()


def test_the_pool_has_every_run_s_first_documents_once():
    runs = [{"q": ["a", "b", "c"], "r": ["c"]}, {"s": ["a"], "q": ["d", "a"]}]
    assert pooled(runs, depth=2) == {"q": ["a", "b", "d"], "r": ["c"], "s": ["a"]}
    assert pooled(runs, depth=1, queries=1) == {"q": ["a", "d"]}
