"""Late interaction, trained end to end: what is learned is what is served."""

import json
import shutil

import numpy as np
import pytest

from rerank_plugins import InputError, load_reranker
from rerank_plugins.strategies import PairScore, Pointwise
from rerank_plugins.training import Lora, Objective, TrainingList, TrainingOptions, _trainer, train

PASSAGES = ("a dog sleeps", "the flea lives two months", "a wolf hunts", "the sea")
ROW = TrainingList("how long lives a flea ?", PASSAGES, (0, 3, 1, 2), query_id="q")


def options(**changes) -> TrainingOptions:
    return TrainingOptions(
        **{
            "late_interaction": True,
            "epochs": 80,
            "accumulate": 1,
            "learning_rate": 5e-3,
            "warmup": 2,
            "evaluate_every": 1000,
            "device": "cpu",
            **changes,
        }
    )


@pytest.mark.parametrize("loss", ["listnet", "kl", "margin-mse"])
def test_an_order_is_learned_and_served(loss, encoder_folder, tmp_path):
    row = TrainingList(ROW.query, PASSAGES, ROW.labels, teacher=(0.0, 6.0, 2.0, 4.0))
    objective = Objective(ranking=loss, weight=1.0, lm_weight=0.0)
    done = train(encoder_folder, PairScore(), [row], tmp_path, options=options(objective=objective))
    reranker = load_reranker(tmp_path, device="cpu")
    ranking = reranker.rank(row.query, row.passages)
    assert ranking.order == (1, 3, 2, 0)
    assert ranking.score_kind == "similarity"
    assert done.loss < done.history[0]["loss"]


def test_an_adapter_is_merged_into_the_weights(encoder_folder, tmp_path):
    changes = {"lora": Lora(rank=8), "learning_rate": 3e-2}
    train(encoder_folder, PairScore(), [ROW], tmp_path, options=options(**changes))
    assert (tmp_path / "model.safetensors").is_file()
    assert load_reranker(tmp_path, device="cpu").rank(ROW.query, PASSAGES).order[0] == 1


@pytest.mark.parametrize(("dropout", "same"), [(0.0, True), (None, False)])
def test_nothing_is_dropped_where_dropout_is_zero(dropout, same, encoder_folder, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(encoder_folder, base)
    config = json.loads((base / "config.json").read_text())
    dropping = {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5}
    (base / "config.json").write_text(json.dumps(config | dropping))
    losses = [
        train(
            str(base),
            PairScore(),
            [ROW],
            tmp_path / str(seed),
            options=options(max_steps=1, shuffle=False, dropout=dropout, seed=seed),
        ).loss
        for seed in (1, 2)
    ]
    assert (losses[0] == pytest.approx(losses[1], abs=1e-6)) is same


def test_the_validation_scores_are_those_that_are_served(encoder_folder, tmp_path):
    """The weights of the last step, before and after they are saved."""
    given = {"validation": [ROW], "options": options(epochs=5)}
    done = train(encoder_folder, PairScore(), [ROW], tmp_path, **given)
    served = load_reranker(tmp_path, device="cpu").rank(ROW.query, PASSAGES)
    gains = [ROW.labels[i] for i in served.order]
    ideal = sorted(ROW.labels, reverse=True)
    places = np.log2(np.arange(2, 6))
    assert done.ndcg == pytest.approx(sum(gains / places) / sum(ideal / places))


def test_a_killed_run_ends_as_one_that_was_not(encoder_folder, tmp_path, monkeypatch):
    rows = [ROW, TrainingList("the sea ?", PASSAGES[::-1], (1, 0, 0, 0), query_id="r")]
    given = options(epochs=6, evaluate_every=4)
    whole = train(encoder_folder, PairScore(), rows, tmp_path / "whole", options=given)
    seen = []

    def killed(*_):
        seen.append(1)
        if len(seen) > 6:
            raise KeyboardInterrupt
        return original(*_)

    original = _trainer.batch_loss
    monkeypatch.setattr(_trainer, "batch_loss", killed)
    with pytest.raises(KeyboardInterrupt):
        train(encoder_folder, PairScore(), rows, tmp_path / "cut", options=given)
    monkeypatch.setattr(_trainer, "batch_loss", original)
    resumed = train(encoder_folder, PairScore(), rows, tmp_path / "cut", options=given)
    assert resumed.loss == pytest.approx(whole.loss, abs=1e-6)


def test_prefixes_and_the_length_of_a_part_stay_those_of_the_base(encoder_folder, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(encoder_folder, base)
    stated = {"prompts": {"query": "how ", "document": "the "}}
    (base / "config_sentence_transformers.json").write_text(json.dumps(stated))
    (base / "sentence_bert_config.json").write_text('{"max_seq_length": 16}')
    folder = tmp_path / "tuned"
    train(base, PairScore(), [ROW], folder, options=options(epochs=1))
    for name in ("config_sentence_transformers.json", "sentence_bert_config.json"):
        assert json.loads((folder / name).read_text()) == json.loads((base / name).read_text())
    with pytest.raises(InputError, match="context_tokens is 32, and the encoder reads 16 at most"):
        train(base, PairScore(), [ROW], tmp_path / "no", options=options(context_tokens=32))


def test_only_pairs_have_late_interaction(encoder_folder, tmp_path):
    with pytest.raises(InputError, match="late interaction scores pairs"):
        train(encoder_folder, Pointwise(), [ROW], tmp_path, options=options())


def test_a_tuned_encoder_is_exported_as_the_default_is(encoder_folder, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from rerank_plugins.backends._onnx.export import export_weights

    train(encoder_folder, PairScore(), [ROW], tmp_path / "tuned", options=options())
    exported = tmp_path / "exported"
    exported.mkdir()
    kind, _ = export_weights(str(tmp_path / "tuned"), exported, "fp32")
    assert kind == "encoder"
    given = {"name": "late-interaction", "model": str(exported), "engine": "onnx"}
    scores = [
        load_reranker(one).rank(ROW.query, PASSAGES).scores
        for one in (tmp_path / "tuned", {"strategy": "pair-score", "backend": given})
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-2)
