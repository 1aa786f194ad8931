"""`rerank-plugins train`, as a user calls it."""

import json

import pytest
from click.testing import CliRunner

from rerank_plugins import load_reranker
from rerank_plugins.cli import build

PASSAGES = ["a dog sleeps", "the flea lives two months", "a wolf hunts"]


def call(*arguments):
    return CliRunner().invoke(build(), ["train", *map(str, arguments)])


@pytest.fixture
def lists(tmp_path):
    path = tmp_path / "lists.jsonl"
    rows = [
        {
            "query_id": str(i),
            "query": f"how long lives a flea {'?' * i}",
            "candidates": [
                {"id": str(k), "text": text, "label": label}
                for k, (text, label) in enumerate(zip(PASSAGES, (0, 2, 1), strict=True))
            ],
        }
        for i in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_of_lists_becomes_a_reranker(lists, encoder_folder, tmp_path):
    out = tmp_path / "out"
    about = tmp_path / "about.json"
    about.write_text('{"licence": "none"}')
    found = call(
        *(encoder_folder, lists, "--strategy", "pair-score", "--output", out, "--json"),
        *("--epochs", 80, "--accumulate", 1, "--learning-rate", 5e-3, "--loss", "ranknet"),
        *("--hold-out", 0.25, "--evaluate-every", 20, "--about", about, "--device", "cpu"),
    )
    assert found.exit_code == 0, found.output
    result = json.loads(found.stdout)
    assert result["steps"] == 240
    assert result["ndcg"] == 1.0
    order = load_reranker(out, device="cpu").rank("how long lives a flea ?", PASSAGES).order
    assert order[0] == 1
    noted = json.loads((out / "reranker.json").read_text("utf-8"))["about"]
    assert noted["licence"] == "none"
    assert noted["options"]["learning_rate"] == 5e-3


def test_an_encoder_is_trained_for_late_interaction(lists, encoder_folder, tmp_path):
    found = call(
        *(encoder_folder, lists, "--strategy", "pair-score", "--late-interaction"),
        *("--loss", "listnet", "--score-scale", 20, "--epochs", 20, "--accumulate", 1),
        *("--learning-rate", 5e-3, "--hold-out", 0, "--device", "cpu"),
        *("--output", tmp_path / "out"),
    )
    assert found.exit_code == 0, found.output
    ranking = load_reranker(tmp_path / "out", device="cpu").rank(
        "how long lives a flea ?", PASSAGES
    )
    assert ranking.order[0] == 1
    assert ranking.score_kind == "similarity"


def test_a_prompt_of_one_s_own_comes_with_what_is_trained(lists, llama_folder, tmp_path):
    prompt = tmp_path / "mine.toml"
    text = 'kind = "listwise"\nalphabet = "letters"\nuser = "{query}\\n{passages}Best: ["\n'
    prompt.write_text(text)
    out = tmp_path / "out"
    found = call(
        *(llama_folder, lists, "--strategy", "single-token", "--prompt", prompt, "--output", out),
        *("--hold-out", 0, "--max-steps", 1, "--device", "cpu", "--loss", "ranknet"),
    )
    assert found.exit_code == 0, found.output
    prompt.unlink()
    strategy = load_reranker(out).strategy
    assert strategy.prompt.user == "{query}\n{passages}Best: ["


def test_a_collection_and_a_run_become_a_reranker(encoder_folder, tmp_path):
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    texts = dict(zip("abc", PASSAGES, strict=True))
    corpus = [json.dumps({"_id": k, "title": "", "text": t}) for k, t in texts.items()]
    (folder / "corpus.jsonl").write_text("\n".join(corpus))
    queries = {"q": "how long lives a flea ?", "r": "the wolf ?"}
    lines = [json.dumps({"_id": k, "text": t}) for k, t in queries.items()]
    (folder / "queries.jsonl").write_text("\n".join(lines))
    judged = "query-id\tcorpus-id\tscore\nq\tb\t1\nr\tc\t1\n"
    (folder / "qrels" / "train.tsv").write_text(judged)
    run = tmp_path / "run.trec"
    ranked = [f"{q} Q0 {d} {i} {9 - i} x" for q in queries for i, d in enumerate("abc", 1)]
    run.write_text("\n".join(ranked) + "\n")
    out = tmp_path / "out"
    common = (encoder_folder, folder, "--strategy", "pair-score", "--output", out)
    assert "--run" in str(call(*common).exception)
    found = call(
        *(*common, "--run", run, "--size", 3, "--hold-out", 0, "--epochs", 40, "--accumulate", 2),
        *("--learning-rate", 5e-3, "--device", "cpu"),
    )
    assert found.exit_code == 0, found.output
    assert f"load_reranker('{out}')" in found.stdout
    reranker = load_reranker(out, device="cpu")
    assert reranker.rank(queries["r"], PASSAGES).order[0] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--loss", "none-such"], "no ranking loss"),
        (["--loss", "kl", "--loss-options", "{"], "not JSON"),
        (["--loss", "kl", "--loss-options", '{"warmth": 1}'], "no option warmth"),
        (["--strategy", "none-such"], "none-such"),
        (["--prompt", "first.v1"], "has no prompt"),
        (["--about", "nowhere.json"], "nowhere.json"),
        (["--generations", "1", "--reward", "grouprank"], "generations"),
        (["--learning-rate", "-1"], "learning_rate"),
        (["--reward", "grouprank", "--patience", "3"], "--patience has no effect with --reward"),
        (["--reward", "grouprank", "--loss", "ranknet"], "--loss has no effect with --reward"),
        (["--hold-out", "0", "--patience", "3"], "no lists to validate on"),
        (["--generations", "4"], "--generations has no effect without --reward"),
        (["--run", "run.trec"], "--run has no effect with a file of lists"),
        (["--validation", "v", "--hold-out", "0.5"], "--hold-out has no effect with --validation"),
    ],
)
def test_slips_are_told(arguments, said, lists, encoder_folder, tmp_path):
    common = (encoder_folder, lists, "--strategy", "pair-score", "--output", tmp_path / "out")
    assert said in str(call(*common, *arguments).exception)
    assert not (tmp_path / "out").exists()
