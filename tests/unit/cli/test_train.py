"""``rerank-plugins train``: its options become a strategy, lists and settings.

Whole trainings through the command are in tests/training.
"""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from rerank_plugins import InputError, UnknownNameError
from rerank_plugins.cli._train import train, trainable_strategy, trained_numbers, trained_text
from rerank_plugins.strategies import PairScore, Permutation, SingleToken

training = pytest.importorskip("rerank_plugins.training")
pytest.importorskip("torch")


@pytest.fixture
def call(monkeypatch, tmp_path):
    """The command, and what it passed to `training.train` or `train_with_rewards`."""
    passed = {}

    def trained(*given, **named):
        passed.update(named, given=given)
        return training.Trained(folder=tmp_path, steps=1, loss=0.5, ndcg=None, history=())

    monkeypatch.setattr(training, "train", trained, raising=False)
    monkeypatch.setattr(training, "train_with_rewards", trained, raising=False)
    lists = tmp_path / "lists.jsonl"
    rows = [
        {
            "query_id": str(i),
            "query": f"q{i}",
            "candidates": [
                {"id": "a", "text": "x", "label": 1},
                {"id": "b", "text": "y", "label": 0},
            ],
        }
        for i in range(10)
    ]
    lists.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(*options):
        found = CliRunner().invoke(train, ["m", str(lists), "--output", "out", *options])
        return found, passed

    return run


def test_lists_are_held_out(call):
    found, passed = call("--hold-out", "0.2", "--loss", "ranknet", "--lora", "4", "--anew")
    assert found.exit_code == 0, found.output
    model, strategy, lists, output = passed["given"]
    assert (model, strategy, output) == ("m", SingleToken(), "out")
    assert len(lists) + len(passed["validation"]) == 10
    assert len(passed["validation"]) > 0
    options = passed["options"]
    assert (options.lora.rank, options.resume, options.epochs) == (4, False, 1)
    assert (options.objective.ranking, options.objective.weight) == ("ranknet", 1.0)
    assert options.objective.lm_weight == 0.0


def test_rewards_hold_nothing_out(call):
    found, passed = call("--reward", "grouprank", "--generations", "2", "--strategy", "groupwise")
    assert found.exit_code == 0, found.output
    assert len(passed["given"][2]) == 10
    assert passed["given"][3] == "grouprank"
    assert (passed["grpo"].generations, passed["grpo"].max_tokens) == (2, 1024)
    assert passed["options"].objective is None
    assert "validation" not in passed


def test_options_of_a_loss_need_a_loss(call):
    for option in (["--loss-weight", "2"], ["--lm-weight", "1"], ["--loss-options", "{}"]):
        found, passed = call(*option)
        assert "need --loss" in str(found.exception)
        assert not passed


def test_the_strategy():
    assert trainable_strategy("pair-score", None) == PairScore()
    assert trainable_strategy('{"name": "permutation"}', "rankvicuna.v1").prompt == "rankvicuna.v1"
    assert isinstance(trainable_strategy("permutation", None), Permutation)
    with pytest.raises(UnknownNameError, match=r"cannot read the prompt 'no-such\.toml'"):
        trainable_strategy("single-token", "no-such.toml")
    with pytest.raises(InputError, match="'pair-score' has no prompt"):
        trainable_strategy("pair-score", "first.v1")


def test_the_result():
    given = {"folder": Path("out"), "steps": 7, "loss": 0.25, "history": ()}
    plain = training.Trained(**given, ndcg=None)
    assert trained_text(plain).splitlines() == [
        "7 steps, loss 0.2500",
        "out: load_reranker('out'), or --reranker out",
    ]
    better = training.Trained(**given, ndcg=0.75, ndcg_before=0.5, skipped=2)
    assert "loss 0.2500, validation nDCG@10 0.5000 -> 0.7500\n" in trained_text(better)
    assert trained_numbers(better) == {
        "folder": "out",
        "steps": 7,
        "loss": 0.25,
        "ndcg": 0.75,
        "ndcg_before": 0.5,
        "skipped": 2,
    }
