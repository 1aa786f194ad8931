"""Collections on files small enough to check by hand."""

import gzip
import json

import pytest

from rerank_plugins import InputError
from rerank_plugins.evaluation import load_collection, run_passages, write_qrels


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\ta\t2\nq1\tb\t0\n")
    corpus = [{"_id": "a", "title": "T", "text": "one"}, {"_id": "b", "text": "two"}]
    with gzip.open(tmp_path / "corpus.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(d) + "\n" for d in corpus)
    queries = [{"_id": "q1", "text": "?"}, {"_id": "q2", "text": "not judged"}]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    return tmp_path


def test_a_beir_folder_plain_and_gzipped(folder):
    collection = load_collection(folder)
    assert collection.documents == {"a": "T one", "b": "two"}
    assert (collection.queries, collection.unjudged) == ({"q1": "?"}, {"q2": "not judged"})
    assert collection.qrels == {"q1": {"a": 2, "b": 0}}
    assert collection.synthetic == ""
    assert run_passages(collection, {"q1": ["b", "a"]}, "q1") == ["two", "T one"]


def test_a_folder_without_judgements_has_queries_and_no_grades(folder):
    (folder / "qrels" / "test.tsv").unlink()
    collection = load_collection(folder, split=None)
    assert collection.queries == {"q1": "?", "q2": "not judged"}
    assert collection.qrels == {"q1": {}, "q2": {}}
    with pytest.raises(InputError, match="rerank-plugins judge"):
        load_collection(folder)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere", "is not a collection: it is not a folder. Give a folder with corpus.jsonl"),
        ("qrels", "is not a collection: it has no corpus.jsonl, plain or gzipped. Give a folder"),
    ],
)
def test_what_is_no_collection(folder, source, says):
    with pytest.raises(InputError) as caught:
        load_collection(folder / source)
    assert says in str(caught.value)


def test_another_split_is_suggested(folder):
    (folder / "qrels" / "train.tsv.gz").touch()
    with pytest.raises(
        InputError, match=r"dev\.tsv', plain or gzipped\. Give --split test or train"
    ):
        load_collection(folder, split="dev")


@pytest.mark.parametrize("name", ["judged.tsv", "judged.tsv.gz"])
def test_judgements_are_read_as_they_were_written(folder, name):
    qrels = {"q1": {"a": 3, "b": 0}, "q2": {"b": 1}}
    write_qrels(folder / "qrels" / name, qrels, synthetic="umbrela.v1 by a model")
    collection = load_collection(folder, split="judged")
    assert collection.qrels == qrels
    assert collection.synthetic == "umbrela.v1 by a model"
    write_qrels(folder / "qrels" / "people.tsv", qrels)
    assert load_collection(folder, split="people").synthetic == ""


@pytest.mark.parametrize(("key", "origin"), [("a\tb", ""), ("a", "two\nlines"), ("a", "x\ty")])
def test_judgements_that_the_format_cannot_hold(tmp_path, key, origin):
    with pytest.raises(InputError, match="a tab or a line break"):
        write_qrels(tmp_path / "x.tsv", {"q": {key: 1}}, synthetic=origin)
    assert not list(tmp_path.iterdir())


def test_broken_files_are_named_with_their_line(folder):
    with pytest.raises(InputError, match=r"there is no file .*train\.tsv"):
        load_collection(folder, split="train")
    (folder / "queries.jsonl").write_text('{"_id": "q1"}\n')
    with pytest.raises(InputError, match="line 1"):
        load_collection(folder)
    (folder / "qrels" / "test.tsv").write_text("header\nq1\ta\thigh\n")
    with pytest.raises(InputError, match="line 2"):
        load_collection(folder)


def spoiled(folder, name, text):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("queries.jsonl", '{"_id": "q1", "text": "?"}\nnothing\n', "line 2 of .* is not JSON"),
        ("queries.jsonl", "[1]\n", "line 1 of .* is not a JSON object"),
        (
            "queries.jsonl",
            '{"_id": "q1", "text": "a"}\n' * 2,
            "line 2 of .* gives the id 'q1' again",
        ),
        ("queries.jsonl", '{"_id": "x", "text": "a"}\n', "1 judged queries .* among them 'q1'"),
        ("queries.jsonl", "", "has no queries"),
        ("corpus.jsonl", "", "has no documents"),
        ("qrels/test.tsv", "header\n", "has no judgements"),
        ("qrels/test.tsv", "h\nq1\ta\t1\nq1\ta\t2\n", "line 3 of .* judges 'a' .* again"),
    ],
)
def test_files_that_are_refused(folder, name, text, says):
    with pytest.raises(InputError, match=says):
        load_collection(spoiled(folder, name, text))


def test_a_damaged_gzip_file(folder):
    file = folder / "corpus.jsonl.gz"
    whole = file.read_bytes()
    for broken in (whole[:-12], b"no gzip at all", whole[:12] + b"\0\1\2\3" + whole[16:]):
        file.write_bytes(broken)
        with pytest.raises(
            InputError, match=r"corpus\.jsonl\.gz is a damaged gzip file|is not JSON"
        ):
            load_collection(folder)


def test_bytes_that_are_no_text(folder):
    (folder / "queries.jsonl").write_bytes(b'{"_id": "q1", "text": "\xff"}\n')
    with pytest.raises(InputError, match="is not UTF-8"):
        load_collection(folder)


def test_a_collection_of_ir_datasets(tmp_path):
    ir_datasets = pytest.importorskip("ir_datasets", reason="pip install ir_datasets")
    (tmp_path / "docs.tsv").write_text("a\tone\nb\ttwo\n")
    (tmp_path / "queries.tsv").write_text("q1\t?\nq2\tnot judged\n")
    (tmp_path / "qrels").write_text("q1 0 a 2\nq1 0 b 0\n")
    made = ir_datasets.create_dataset(
        docs_tsv=str(tmp_path / "docs.tsv"),
        queries_tsv=str(tmp_path / "queries.tsv"),
        qrels_trec=str(tmp_path / "qrels"),
    )
    name = "rerank-plugins-test"
    if name not in ir_datasets.registry:
        ir_datasets.registry.register(name, made)
    collection = load_collection(f"irds:{name}")
    assert collection.documents == {"a": "one", "b": "two"}
    assert (collection.queries, collection.qrels) == ({"q1": "?"}, {"q1": {"a": 2, "b": 0}})
    with pytest.raises(InputError, match="ir_datasets knows no 'nonsense'"):
        load_collection("irds:nonsense")


def test_the_first_judgement_of_a_file_without_a_header_counts(folder):
    """Where the header is expected: its grade is a number, and a header's is a word."""
    (folder / "qrels" / "test.tsv").write_text("q1\ta\t2\nq1\tb\t1\n")
    assert load_collection(folder).qrels == {"q1": {"a": 2, "b": 1}}
