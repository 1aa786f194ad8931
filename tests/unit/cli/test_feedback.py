"""``rerank-plugins feedback``: the index that is kept, and the summary."""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from click.testing import CliRunner

from rerank_plugins import InputError
from rerank_plugins.cli import build
from rerank_plugins.cli._feedback import collection_index, draw, summary
from rerank_plugins.evaluation import Collection
from rerank_plugins.feedback.measure import Comparison

pytest.importorskip("faiss")

COLLECTION = Collection(documents={"a": "one", "b": "two"}, queries={"q": "one"}, qrels={})
SKIPPED = "all scores are equal"
FOUND = [
    Comparison(query="q", before=0.5, after=1.0, control=0.5, fused=0.75, angle=10.0, skipped=""),
    Comparison(
        query="r", before=0.5, after=0.25, control=0.5, fused=0.5, angle=0.0, skipped=SKIPPED
    ),
]


def encode(texts):
    return np.array([[len(text), text.count("o")] for text in texts], dtype=np.float32)


def test_an_index_is_built_once(tmp_path, capsys):
    folder = str(tmp_path / "index")
    assert len(collection_index(COLLECTION, encode, folder)) == 2
    assert capsys.readouterr().err == "Encoding 2 documents ...\n"
    assert collection_index(COLLECTION, encode, folder).ids == ("a", "b")
    assert capsys.readouterr().err == ""


def test_an_index_of_something_else_is_refused(tmp_path):
    folder = str(tmp_path / "index")
    collection_index(COLLECTION, encode, folder)
    other = Collection(documents={"a": "one", "b": "three"}, queries={}, qrels={})
    with pytest.raises(InputError, match=f"the index in '{folder}' is of another collection"):
        collection_index(other, encode, folder)
    for encoder in (lambda texts: encode(texts) + 1, lambda texts: encode(texts)[:, :1]):
        with pytest.raises(InputError, match="of another encoder"):
            collection_index(COLLECTION, encoder, folder)


def test_the_summary():
    lines = [line.split() for line in summary(FOUND, "R@10").splitlines()]
    assert lines[0] == ["2", "queries"]
    assert lines[2] == ["first", "search", "0.5000"]
    assert lines[3][:4] == ["second", "search", "0.6250", "+0.1250"]
    assert lines[3][-2:] == ["1", "1"]
    assert lines[4][-5:] == ["0.5000", "+0.0000", "[+0.0000,", "+0.0000]", "0", "0"][1:]
    assert lines[5][:4] == ["fused", "list", "0.6250", "+0.1250"]
    assert " ".join(lines[6]) == f"no feedback for 1: {SKIPPED}"


def test_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    draw(FOUND, "R@10", tmp_path / "p.svg")
    assert ET.parse(tmp_path / "p.svg").getroot().tag.endswith("svg")
    with pytest.raises(InputError, match="cannot write the picture"):
        draw(FOUND, "R@10", tmp_path / "p.nonsense")


@pytest.mark.parametrize("expand", ["query", "neighbours", "both"])
def test_how_further_passages_are_found(expand, tmp_path, monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    documents = [{"_id": f"d{i}", "text": f"passage {i}"} for i in range(60)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "passage 0"}')
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td3\t1\n")
    ranked = "".join(f"q Q0 d{i} {i + 1} {-i} run\n" for i in range(60))
    (tmp_path / "run.trec").write_text(ranked)

    def known(texts, role="passage"):
        assert role in ("passage", "query")
        return vectors[[int(text.split()[-1]) for text in texts]]

    monkeypatch.setattr("rerank_plugins.cli._feedback.load_encoder", lambda name: known)
    arguments = [str(tmp_path), "--run", str(tmp_path / "run.trec"), "--k", "40", "--json"]
    done = CliRunner().invoke(build(), ["feedback", *arguments, "--expand", expand])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["queries"] == 1
    assert expand == "query" or said["skipped"] == {}
    wrong = CliRunner().invoke(build(), ["feedback", *arguments, "--expand", expand, "--head", "3"])
    assert (wrong.exit_code == 0) == (expand == "query")


def test_bm25_has_no_vectors(tmp_path):
    pytest.importorskip("bm25s")
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text(
        "".join(
            json.dumps({"_id": f"d{i}", "text": f"flea {'weeks lifespan' * (i % 2)} {i}"}) + "\n"
            for i in range(9)
        )
    )
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "flea"}) + "\n")
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td1\t1\n")
    (tmp_path / "run.trec").write_text("".join(f"q Q0 d{i} {i + 1} {9 - i} t\n" for i in range(9)))
    asked = [
        "feedback",
        str(tmp_path),
        "--first-stage",
        "bm25",
        "--run",
        str(tmp_path / "run.trec"),
    ]
    found = CliRunner().invoke(build(), [*asked, "--json"], catch_exceptions=False)
    assert json.loads(found.stdout)["first"] == 1
    for more in (
        ["--expand", "neighbours"],
        ["--index", "folder"],
        ["--encoder", "minilm"],
        ["--neighbours", "16"],
    ):
        refused = CliRunner().invoke(build(), [*asked, *more])
        assert str(refused.exception).startswith(f"{more[0]} is for vectors")
    refused = CliRunner().invoke(build(), ["feedback", str(tmp_path), "--neighbours", "8"])
    assert "--neighbours is for --expand neighbours" in str(refused.exception)
