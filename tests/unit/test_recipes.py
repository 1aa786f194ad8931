"""The recipes' scripts in models/: the licences of lists, and averaged weights."""

import argparse
import gzip
import importlib.util
import json
import sys
from pathlib import Path
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest

from rerank_plugins import InputError
from rerank_plugins.training.data import TrainingList, read_lists, write_lists

RECIPES = Path(__file__).parents[2] / "models" / "recipes"
ONE = TrainingList("flea", ("a dog", "a flea"), (0, 1), query_id="q", teacher=(0.5, 2.0))


def recipe(name):
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", RECIPES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lists_keep_their_licence_and_stay_readable(tmp_path):
    licences, path = recipe("licences"), tmp_path / "lists.jsonl.gz"
    other = TrainingList("sea", ("a dog", "the sea"), (0, 1))
    assert licences.write_licensed([(ONE, "MIT (A)"), (other, "MIT (A)")], path) == 2
    assert licences.read_licensed(path) == ([ONE, other], ["MIT (A)"])
    assert list(read_lists(path)) == [ONE, other]


@pytest.mark.parametrize("licence", [None, "", "  ", 3])
def test_a_file_without_a_licence_is_refused(licence, tmp_path):
    licences, path = recipe("licences"), tmp_path / "lists.jsonl.gz"
    licences.write_licensed([(ONE, "MIT (A)"), (ONE, "MIT (A)")], path)
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    rows[1]["licence"] = licence
    if licence is None:
        del rows[1]["licence"]
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    with pytest.raises(InputError, match=r"line 2 of .* states no licence"):
        licences.read_licensed(path)


def test_a_list_without_a_licence_is_not_written(tmp_path):
    with pytest.raises(InputError, match="a list has no licence"):
        recipe("licences").write_licensed([(ONE, " ")], tmp_path / "lists.jsonl")
    assert not (tmp_path / "lists.jsonl").exists()


def test_averaged_weights_lie_between_both(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    for name, value in (("base", 1.0), ("tuned", 3.0)):
        (tmp_path / name).mkdir()
        save_file({"w": torch.full((2,), value)}, tmp_path / name / "model.safetensors")
    (tmp_path / "tuned" / "config.json").write_text("{}")
    averaged = recipe("averaged")
    averaged.main(tmp_path / "base", tmp_path / "tuned", 0.25, tmp_path / "mixed")
    assert load_file(tmp_path / "mixed" / "model.safetensors")["w"].tolist() == [1.5, 1.5]
    assert (tmp_path / "mixed" / "config.json").read_text() == "{}"
    with pytest.raises(SystemExit, match=r"the share is 2\.0"):
        averaged.main(tmp_path / "base", tmp_path / "tuned", 2.0, tmp_path / "mixed")


WORDS = ("life of a flea", "a very good cat", "the sea", "two months", "adult cats sleep")


@pytest.fixture
def trained_projection(tmp_path, monkeypatch):
    """A function that trains a projection of a tiny encoder, into a folder of this name."""
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    import tiny_exports

    monkeypatch.syspath_prepend(str(RECIPES))
    module, lists = recipe("projection"), tmp_path / "lists"
    lists.mkdir()
    tiny_exports.bert(tmp_path / "encoder", "BertModel")
    teacher = (3.0, 1.0, 0.5, 0.0)
    made = [
        (
            TrainingList(WORDS[i], (*WORDS[:i], *WORDS[i + 1 :]), (1, 0, 0, 0), teacher=teacher),
            "MIT",
        )
        for i in range(5)
    ]
    for split in ("train", "val"):
        recipe("licences").write_licensed(made, lists / f"questions.{split}.jsonl.gz")

    def run(name):
        given = ["train", lists, "--out", tmp_path / name, "--encoder", tmp_path / "encoder"]
        given += ["--steps", 6, "--evaluate-every", 2, "--learning-rate", 0.05, "--batch", 2]
        monkeypatch.setattr(sys, "argv", ["projection.py", *map(str, given)])
        module.main()
        saved = (tmp_path / name / "last.safetensors").read_bytes()
        end = 8 + int.from_bytes(saved[:8], "little")
        return json.loads(saved[8:end]), saved[end:]  # the header's keys come in any order

    return module, run


def test_a_projection_learns_and_resumes_to_the_same_weights(
    trained_projection, tmp_path, monkeypatch
):
    module, run = trained_projection
    whole = run("whole")
    history = json.loads((tmp_path / "whole" / "history.json").read_text())
    losses = [line["loss"] for line in history if "loss" in line]
    assert [line["step"] for line in history] == list(range(7))
    assert losses[-1] < losses[0]
    calls, original = [], module.scored

    def killed(*given):
        calls.append(1)
        if len(calls) > 17:
            raise KeyboardInterrupt
        return original(*given)

    monkeypatch.setattr(module, "scored", killed)
    with pytest.raises(KeyboardInterrupt):
        run("cut")
    monkeypatch.setattr(module, "scored", original)
    assert run("cut") == whole


def test_a_projection_is_added_to_an_exported_encoder(trained_projection, tmp_path, monkeypatch):
    from rerank_plugins.backends import LateInteractionBackend
    from rerank_plugins.calls import ScorePair

    module, run = trained_projection
    run("made")

    def score():
        backend = LateInteractionBackend(tmp_path / "encoder", engine="onnx", cache_bytes=0)
        return backend.run([ScorePair(WORDS[0], WORDS[1])])[0].answer

    before = score()
    for share, changes in (("0", False), ("1", True)):
        given = ["add", tmp_path / "made" / "last.safetensors", tmp_path / "encoder" / "model.onnx"]
        monkeypatch.setattr(sys, "argv", ["x", *map(str, given), "--share", share])
        module.main()
        assert (score() != pytest.approx(before, abs=1e-4)) is changes


@pytest.mark.parametrize("name", ["first_train", "paradigms"])
def test_training_refuses_lists_without_a_licence(name, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    write_lists([ONE], tmp_path / "questions.train.jsonl.gz")
    monkeypatch.syspath_prepend(str(RECIPES))
    arguments = [f"{name}.py", "model.gguf", str(tmp_path), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(InputError, match=r"line 1 of .* states no licence"):
        recipe(name).main()
    assert not list(tmp_path.glob("out/*"))


def test_groups_show_the_same_passages_to_the_questions_of_all(tmp_path, monkeypatch):
    """Twelve articles, a passage and two questions each: one group of ten, two are left over."""
    pytest.importorskip("bm25s")
    pytest.importorskip("Stemmer")
    from rerank_plugins import Reranker
    from rerank_plugins.evaluation import Collection
    from rerank_plugins.strategies import PairScore
    from rerank_plugins.testing import Oracle

    monkeypatch.syspath_prepend(str(RECIPES))
    module = recipe("group_data")
    names = [f"protein{chr(97 + i)}" for i in range(12)]
    texts = {f"{i}-0": f"Here {name} binds the cell very well." for i, name in enumerate(names)}
    queries = {
        f"q{i}{n}-{i}": f"{n} what binds {name}?" for i, name in enumerate(names) for n in "xy"
    }
    qrels = {query: {f"{query.rpartition('-')[2]}-0": 1} for query in queries}
    collection = Collection(documents=texts, queries=queries, qrels=qrels)
    miner = Reranker(PairScore(), Oracle(key=lambda q, p: float(p.split()[1] in q) / 2))

    def groups(**given):
        options = SimpleNamespace(words=20, **given)
        chance = module.Random(3)
        return [*module.lists_of("covidqa", collection, list(queries), options, miner, chance)]

    [group] = groups(hard=None)
    assert len(group) == 20
    assert len({one.passages for one in group}) == 1
    for one in group:
        own = one.labels.index(1.0)
        assert sum(one.labels) == 1.0
        assert one.passages[own].split()[1] in one.query
        assert one.order[0] == own == max(range(10), key=lambda i: one.teacher[i])
        assert one.teacher[own] >= 15 + 3  # half of 30, and the judgement
    assert len(groups(hard=7)) == 7
    hard = groups(hard=100)  # one for each passage
    assert [len(set(group[0].passages)) for group in hard] == [10] * 12
    assert {text for group in hard for text in group[0].passages} == set(texts.values())


def test_a_joined_adapter_changes_the_base_as_both_do(monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("peft")
    torch.manual_seed(0)
    shapes = {"m.lora_A.weight": (2, 5), "m.lora_B.weight": (4, 2)}
    both = [{name: torch.randn(*shape) for name, shape in shapes.items()} for _ in range(2)]
    made = recipe("continued").joined(both, [2.0, 0.5])
    change = sum(
        scale * one["m.lora_B.weight"] @ one["m.lora_A.weight"]
        for one, scale in zip(both, [2.0, 0.5], strict=True)
    )
    assert made["m.lora_A.weight"].shape == (4, 5)
    assert torch.allclose(made["m.lora_B.weight"] @ made["m.lora_A.weight"], change, atol=1e-6)


def test_a_budget_is_kept_for_the_run_that_resumes(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(RECIPES))
    module, now = recipe("first_train"), [0.0]
    monkeypatch.setattr(module, "CLOCK", lambda: now[0])

    def trial(folder, steps):
        now[0] += 20 + 6 * steps  # loading, and six seconds a step

    path = tmp_path / "steps.json"
    assert module.timed_steps(path, 5.0, trial) == 50
    assert module.timed_steps(path, 7.0, trial) == 50


def test_grades_are_the_teachers_scores_between_its_lowest_and_highest(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(RECIPES))
    one = TrainingList("flea", ("a", "b", "c"), (0, 0, 1), teacher=(-2.0, 1.0, 8.0))
    assert recipe("paradigms").graded(one).labels == (0, 3, 10)


ROOT = RECIPES.parents[1]


def page_module(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import paradigms_page

    return paradigms_page


def test_the_page_of_paradigms_has_the_figures_of_its_file(monkeypatch):
    module = page_module(monkeypatch)
    if not module.RESULTS.is_file():
        pytest.skip("nothing was measured: make paradigms")
    assert module.PAGE.read_text("utf-8") == module.page(json.loads(module.RESULTS.read_text()))


def test_the_page_shows_rows_before_and_after_training(monkeypatch, tmp_path):
    def one(ndcg, seconds):
        figures = {"queries": 43, "first": 0.5, "ndcg": ndcg, "interval": [-0.0104, 0.2]}
        costs = {"calls": 10.0, "prompt_tokens": 1500, "generated_tokens": 0, "seconds": seconds}
        return figures | costs

    module = page_module(monkeypatch)
    keys = {"first": 0.4, "first+": 0.6, "minilm-late": 0.55}
    found = {
        "titles": {"first": "FIRST", "late": "late interaction", "minilm-late": "MiniLM"},
        "measured": {
            f"{key} {name}": one(ndcg, 0.5)
            for key, ndcg in keys.items()
            for name in ("scifact", "cranfield", "dl19")
        },
        "trained": {"first": {"steps": 4, "lists": 88, "loss": [3.0, 2.0, 2.0, 1.0]}},
        "minutes": 10.0,
        "date": "2026-01-01",
        "machine": "a core",
        "command": "make paradigms",
    }
    text = module.page(found)
    assert "(SciFact 43, Cranfield 43, DL19 43)" in text
    assert "| BM25 | .5000 | .5000 | .5000 | .5000 |" in text
    cell = ".6000 [-.010, +.200]"
    assert f"| FIRST, trained | {cell} | {cell} | {cell} | .6000 |" in text
    assert "| FIRST, trained | 10 | 1,500 | 0 | 0.50 |" in text
    assert "| FIRST | 4 | 88 | 3.00 | 1.00 |" in text
    assert "late interaction |" not in text.partition("nDCG@10 of BM25")[2]
    found["measured"]["first+ dl19"]["seconds"] = 3.5
    assert module.both_points(found, "first") == [
        (0.5, pytest.approx(0.4)),
        (0.5, pytest.approx(0.6)),
    ]
    assert module.both_points(found, "late") == [None, None]
    pytest.importorskip("matplotlib")
    module.draw(found, tmp_path / "picture.svg")
    assert "</svg>" in (tmp_path / "picture.svg").read_text()


PROSE = (
    "A tide is the rise and fall of the sea that the moon and the sun bring about. "
    "It comes twice a day on most of the coasts, and its height is not the same in all of them. "
    "Where the shore is narrow and the water has no other way to go, it climbs by several metres. "
    "In the open sea, far from any land, nobody on a ship would notice that it is there at all."
)
RST = f"""
Tides
=====

Causes
------

{PROSE}

These are :func:`tide.height` and its friends::

    tide.height(3)

.. note:: Nothing of this is here.
"""
HTML = f"""<html><head><title>Tides &#8212; Manual 1.0</title></head><body><nav><p>{PROSE}</p></nav>
<h1>1. Tides</h1><p>{PROSE.replace("tide", "<em>wave</em>", 1)}<pre>wave(3)</pre>
<h2>1.1. Effects</h2><table><tr><td><p>{PROSE}</p></td></tr></table>
<p>{PROSE.replace("tide", "flood", 1)}</p></body></html>"""


def test_manuals_yield_their_prose_with_title_and_licence(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPES))
    manuals, sea = recipe("manuals"), tmp_path / "sea"
    sea.mkdir()
    (sea / "tides.rst").write_text(RST)
    (sea / "waves.html").write_text(HTML)
    (sea / "copies.html.gz").write_bytes(gzip.compress(HTML.encode()))
    (sea / "changelog.html").write_text(HTML.replace("rise", "raise"))
    out = tmp_path / "manuals.jsonl.gz"
    manuals.main([manuals.source(f"Sea={sea}:MIT (A)")], out, most=10, seed=1)
    rows = [json.loads(line) for line in gzip.decompress(out.read_bytes()).splitlines()]
    assert [(row["title"], row["text"]) for row in rows] == [
        ("Tides", PROSE.replace("tide", "wave", 1)),
        ("Tides: Effects", PROSE.replace("tide", "flood", 1)),
        ("Tides: Causes", PROSE),
    ]
    assert {(row["source"], row["licence"]) for row in rows} == {("Sea", "MIT (A)")}


@pytest.fixture
def on_path(monkeypatch):
    """A function that loads a recipe which imports other recipes."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    monkeypatch.syspath_prepend(str(RECIPES))
    return recipe


def test_what_is_asked_for_is_a_question(on_path):
    asked = on_path("asked")
    assert asked.cleaned(' "how long do fleas live"\nPassage: the sea') == "how long do fleas live"
    assert asked.is_usable("how long do fleas live")
    assert not asked.is_usable("a flea")
    assert not asked.is_usable("what does the passage say of fleas")
    assert not asked.is_usable("flea " * 26)
    shown = asked.prompt("Claim", "A flea lives for weeks.")
    assert shown.count("Passage:") == 4
    assert shown.endswith("Passage: A flea lives for weeks.\nClaim:")


def test_a_long_passage_is_shown_from_a_sentence_on(on_path):
    text = " ".join(f"Sentence {i} has Six Words here." for i in range(60))
    parts = {on_path("asked").part(text, Random(seed)) for seed in range(20)}
    assert len(parts) > 3
    assert all(part.startswith("Sentence") and len(part.split()) <= 80 for part in parts)
    assert on_path("asked").part("A short one.", Random(0)) == "A short one."


def wide(judged=True, relevant=1, bm25=(2.0, 1.0, 3.0, 0.5, 0.0, 0.1)):
    return {
        "query_id": "q",
        "query": "flea",
        "judged": judged,
        "relevant": relevant,
        "ids": list("abcdef"),
        "maxsim": [0.5, 0.9, 0.8, 0.2, 0.1, 0.3],
        "bm25": list(bm25),
    }


def test_a_list_that_is_drawn_has_one_relevant_passage_and_the_fused_teacher(on_path):
    module = on_path("asked_train")
    given = SimpleNamespace(bonus=1.0, loss="kl", near=None)
    passages = {key: f"text {key}" for key in "abcdef"}
    for seed in range(20):
        one = module.drawn(wide(relevant=2), passages, 4, Random(seed), given)
        assert sum(one.labels) == 1
        assert len(set(one.ids)) == len(one) == 4
        assert all(text == f"text {key}" for key, text in zip(one.ids, one.passages, strict=True))
        assert [key in "ab" for key in one.ids] == list(one.labels)
        deviation = float(np.std(wide()["bm25"]))
        for key, score in zip(one.ids, one.teacher, strict=True):
            i = "abcdef".index(key)
            fused = 30 * wide()["maxsim"][i] + 0.5 * (wide()["bm25"][i] - 1.1) / deviation
            assert score == pytest.approx(fused + 3 * (key in "ab"), abs=1e-4)
    by_order = SimpleNamespace(bonus=1.0, loss="ranknet", near=None)
    one = module.drawn(wide(judged=False), passages, 9, Random(0), by_order)
    assert sorted(one.ids) == list("abcdef")
    assert one.labels == one.teacher
    own = one.teacher[one.ids.index("a")]
    assert own == pytest.approx(15 + 0.5 * 0.9 / deviation + 1.5, abs=1e-4)


def test_the_loss_of_a_temperature_has_the_gradient_of_logits_that_it_divides(on_path):
    """The weight makes up for T^2: a teacher that is nearly flat pulls alike at both."""
    torch = pytest.importorskip("torch")
    module = on_path("asked_train")
    scores, teacher = torch.zeros(1, 3), torch.tensor([[0.02, 0.0, -0.02]])
    found = []
    for temperature in (1.0, 3.0):
        made = module.objective(SimpleNamespace(loss="kl", temperature=temperature))
        assert made.lm_weight == 0
        given = scores.clone().requires_grad_()
        (made.weight * made.loss()(given, teacher, teacher, None)).backward()
        found.append(given.grad)
    assert found[0][0].tolist() == pytest.approx((-teacher / 3)[0].tolist(), abs=1e-3)
    assert found[1][0].tolist() == pytest.approx(found[0][0].tolist(), abs=1e-3)
    assert module.objective(SimpleNamespace(loss="ranknet")).weight == 10


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--temperature", "0"], "'0' is not a number above 0"),
        (["--temperature", "nan"], "'nan' is not a number above 0"),
        (["--temperature", "inf"], "'inf' is not a number above 0"),
        (["--temperature", "x"], "'x' is not a number above 0"),
        (["--temperature", "3", "--loss", "ranknet"], "--temperature is for --loss kl"),
    ],
)
def test_a_temperature_that_means_nothing_is_refused(given, message, on_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    command = ["asked_train.py", "first", "base", "lists", "--out", "out", "--steps", "1", *given]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):
        on_path("asked_train").arguments()
    assert message in capsys.readouterr().err


def test_nothing_of_a_run_but_what_serves_is_shipped(on_path, tmp_path):
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    source, target = tmp_path / "trained", tmp_path / "shipped"
    (source / "checkpoints").mkdir(parents=True)
    for name in ("training.json", "training.lock", "README.md", "curve.svg"):
        (source / name).write_text("x")
    spec = {"backend": {"model": "."}, "about": {"base": {"name": "/some/folder"}}}
    (source / "reranker.json").write_text(json.dumps(spec))
    save_file({"a": torch.ones(2)}, source / "model.safetensors")
    on_path("ship").main(source, target, "org/base")
    made = {"curve.svg", "model.safetensors", "reranker.json"}
    assert {path.name for path in target.iterdir()} == made
    assert json.loads((target / "reranker.json").read_text())["about"]["base"]["name"] == "org/base"


def test_the_first_that_ships_is_opened_on_the_base_of_the_rows(on_path, monkeypatch):
    pytest.importorskip("torch")
    module, asked = on_path("paradigms"), []
    monkeypatch.setattr(
        module, "load_reranker", lambda *names, **given: asked.append((names, given))
    )
    for name in module.SHIPPED:
        module.opened(name, SimpleNamespace(model="model.gguf"))
    base = {"base": "model.gguf", "dtype": "bfloat16"}  # in the arithmetic of the rows
    assert asked[0] == (("rerank-plugins/smollm2-first",), base)
    assert [given for _, given in asked[1:]] == [{"strategy": "pair-score"}] * 2


def test_a_prompt_goes_by_its_name_where_its_own_words_are_read(on_path):
    pytest.importorskip("torch")
    ranker = on_path("first_train").ranker
    assert ranker(90, "short-letters.v2").inner.prompt == "short-letters.v2"
    assert ranker(60, "short-letters.v2").inner.prompt.max_passage_words == 60


@pytest.mark.parametrize("key", ["a", "b"])
def test_passages_without_a_licence_are_refused(key, on_path, tmp_path):
    rows = [{"_id": one, "text": "x", "licence": "MIT (A)"} for one in "ab"]
    del rows["ab".index(key)]["licence"]
    path = tmp_path / "passages.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match="states no licence"):
        on_path("asked_train").read_passages(path)


def test_a_written_question_that_others_answer_better_is_left_out(on_path):
    module, pools = on_path("asked_data"), on_path("pools")
    keys, words = list("abcde"), np.arange(5.0)
    made = pools.Question("asked-1", "flea", ("a",))
    line = module.row_of(made, keys, [0, 2, 4], [0.5, 0.9, 0.7], words)
    assert line["ids"] == ["a", "c", "e"]
    assert line["bm25"] == [0.0, 2.0, 4.0]
    assert line["relevant"] == 1
    assert module.row_of(made, keys, [0, 1, 2, 4], [0.5, 0.9, 0.8, 0.7], words) is None
    judged = pools.Question("q", "flea", ("a",), judged=True)
    assert module.row_of(judged, keys, [0, 1, 2, 4], [0.5, 0.9, 0.8, 0.7], words) is not None
    assert module.row_of(judged, keys, [0], [0.5], words) is None


def test_similarity_is_the_mean_over_the_question_s_tokens(on_path):
    chance = np.random.default_rng(0)
    query, *texts = (chance.normal(size=(n, 4)).astype(np.float16) for n in (3, 2, 5, 1))
    expected = [(query.astype(float) @ text.T.astype(float)).max(1).mean() for text in texts]
    assert on_path("asked_data").maxsim(query, texts) == pytest.approx(expected, abs=1e-5)
    assert on_path("asked_data").maxsim(query, texts[:1]) == pytest.approx(expected[:1], abs=1e-5)


def test_nothing_is_asked_about_articles_that_are_held_out(on_path, tmp_path):
    """By the rule that holds out their questions, and both kinds of article are here."""
    pools, data = on_path("pools"), on_path("questions_data")
    folder = tmp_path / "train" / "covidqa"
    (folder / "qrels").mkdir(parents=True)
    articles = [str(n) for n in range(40)]
    lines = {
        "corpus": [{"_id": f"{a}-0", "title": "", "text": f"text {a}"} for a in articles],
        "queries": [{"_id": f"q{a}-{a}", "text": f"flea {a}"} for a in articles],
    }
    for name, rows in lines.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    judged = "".join(f"q{a}-{a}\t{a}-0\t1\n" for a in articles)
    (folder / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    found = pools.judged("covidqa", tmp_path)
    kept = {key.partition("-")[0] for key in found.passages}
    assert kept == {one.relevant[0].partition("-")[0] for one in found.questions}
    assert 0 < len(kept) < len(articles)
    assert all(
        data.is_held_out("covidqa", TrainingList("x", ("",), (0,), query_id=f"q-{a}"))
        for a in set(articles) - kept
    )


def test_a_reranker_is_measured_from_its_own_and_a_random_order(on_path):
    from rerank_plugins import Reranker
    from rerank_plugins.evaluation import Collection
    from rerank_plugins.strategies import PairScore
    from rerank_plugins.testing import Oracle

    module = on_path("asked_measure")
    texts = {f"d{i}": f"text {i}" for i in range(12)}
    queries = {f"q{i}": f"flea {i}" for i in range(5)}
    qrels = {query: {"d9": 1} for query in queries}
    collection = Collection(documents=texts, queries=queries, qrels=qrels)
    task = module.Task("t", collection, {query: list(texts) for query in queries})
    best = Reranker(PairScore(), Oracle(key=lambda _, text: float(text.split()[1])))
    found = module.measured(best, task, SimpleNamespace(depth=10, shuffled=True))
    assert found["ndcg"] == found["shuffled"] == 1.0
    assert found["first"] == pytest.approx(1 / np.log2(11), abs=1e-4)
    assert found["better/worse"] == "5/0"
    assert sum(found["places"]) == 5
    assert found["places"][9] < 5
    assert found["queries"]["q0"] == [f"d{i}" for i in range(9, -1, -1)]
    short = module.measured(best, task, SimpleNamespace(depth=5, shuffled=False))
    assert short["ndcg"] == short["first"]
    assert "shuffled" not in short


@pytest.mark.parametrize(
    ("loading", "each", "steps"), [(1.0, 1.0, 60), (20.0, 0.1, 600), (20.0, 0.01, 6000)]
)
def test_the_steps_of_a_budget_are_timed_beyond_loading(
    loading, each, steps, on_path, tmp_path, monkeypatch
):
    """Where a step is short, loading twice would hide it, and the budget would mean nothing."""
    module, clock = on_path("first_train"), [0.0]

    def trial(folder, count):
        clock[0] += loading + count * each + (0.5 if count > 1 else 0.0) * (loading / 20)

    monkeypatch.setattr(module, "CLOCK", lambda: clock[0])
    found = module.timed_steps(tmp_path / "steps.json", 1.0, trial)
    assert steps * 0.8 <= found <= steps * 1.01
    assert module.timed_steps(tmp_path / "steps.json", 9.0, trial) == found


def test_words_of_the_examples_are_not_a_question(on_path):
    asked = on_path("asked")
    assert not asked.is_usable(
        "Old patients improved, while the dose of aspirin made no difference."
    )
    assert asked.is_usable("does the dose of aspirin matter")
    assert asked.is_usable("when did the senate vote on authorities")


def test_a_question_about_a_passage_that_is_not_there_is_refused(on_path, tmp_path):
    module, pools = on_path("asked_data"), on_path("pools")
    path = tmp_path / "asked.jsonl"
    rows = [{"text": "flea", "passage": one, "source": "s"} for one in ("a", "z")]
    path.write_text("\n".join(map(json.dumps, rows)))
    source = pools.Source("s", {"a": "a flea"}, {"a": "MIT (A)"})
    with pytest.raises(InputError, match=r"line 2 of .* is about 'z', which s lacks"):
        module.add_written([source], path)
    assert [one.relevant for one in source.questions] == [("a",)]


@pytest.mark.parametrize(("given", "right"), [("3", 3), ("0", None), ("-1", None), ("x", None)])
def test_a_count_is_a_whole_number_of_at_least_one(given, right, on_path):
    commands = on_path("commands")
    if right:
        assert commands.count(given) == right
    else:
        with pytest.raises(argparse.ArgumentTypeError, match="whole number of at least 1"):
            commands.count(given)


def test_an_error_of_a_command_is_one_sentence(on_path):
    def wrong():
        raise InputError("there are no lists")

    with pytest.raises(SystemExit, match=r"^InputError: there are no lists$"):
        on_path("commands").execute(wrong)


def test_two_sources_of_one_name_and_files_that_cannot_be_read_are_named(on_path, tmp_path):
    manuals, sea = on_path("manuals"), tmp_path / "sea"
    sea.mkdir()
    given = [manuals.source(f"{name}={sea}:MIT (A)") for name in ("C+", "C-")]
    with pytest.raises(InputError, match="two sources have the same name"):
        manuals.main(given, tmp_path / "out.jsonl.gz", most=10, seed=1)
    for name, said in (("a.json", "is not JSON"), ("b.txt.gz", "is not a gzip file")):
        (sea / name).write_text("{")
        with pytest.raises(InputError, match=f"{name} {said}"):
            manuals.main(given[:1], tmp_path / "out.jsonl.gz", most=10, seed=1)
        (sea / name).unlink()


def test_a_page_that_ends_within_an_entity_loses_nothing(on_path):
    assert on_path("html_text").Page("<p>Fleas of R&D").sections == {"": ["Fleas of R&D"]}
