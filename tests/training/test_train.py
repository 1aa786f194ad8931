"""Training end to end: what is learned is what is served."""

import json
import shutil

import pytest
import tiny_models
import torch

from rerank_plugins import ConfigurationError, InputError, ModelLoadError, load_reranker
from rerank_plugins.errors import LabelError
from rerank_plugins.prompts import ListwisePrompt
from rerank_plugins.strategies import (
    Groupwise,
    PairScore,
    Permutation,
    Pointwise,
    QueryLikelihood,
    SingleToken,
    SlidingWindow,
)
from rerank_plugins.training import (
    Lora,
    Objective,
    TrainingList,
    TrainingOptions,
    _model,
    _run,
    _trainer,
    train,
)
from rerank_plugins.training._objectives import batch_loss
from rerank_plugins.training.losses import RANKING_LOSSES

PASSAGES = ("a dog sleeps", "the flea lives two months", "a wolf hunts", "the sea")
ROW = TrainingList("how long lives a flea ?", PASSAGES, (0, 3, 1, 2), query_id="q")
ORDER = (1, 3, 2, 0)
SHORT = ListwisePrompt(
    alphabet="letters",
    user="{query}\n{passages}Best first:",
    prefill="[",
    system="Rank.",
    repair_encoding=False,
)
NUMBERS = ListwisePrompt(
    alphabet="numbers", user="{query}\n{passages}Best first:", system="Rank.", repair_encoding=False
)


def options(**changes) -> TrainingOptions:
    return TrainingOptions(
        **{
            "epochs": 60,
            "accumulate": 1,
            "learning_rate": 3e-3,
            "warmup": 2,
            "evaluate_every": 1000,
            "device": "cpu",
            **changes,
        }
    )


def served(folder, row=ROW) -> tuple[int, ...]:
    """The order in which the trained folder ranks a list, as an application loads it."""
    return load_reranker(folder, device="cpu").rank(row.query, row.passages).order


@pytest.mark.parametrize("loss", sorted(RANKING_LOSSES))
def test_every_ranking_loss_learns_a_list_by_heart(loss, encoder_folder, tmp_path):
    row = TrainingList(ROW.query, PASSAGES, (0, 3, 1, 2), teacher=(0.0, 1.5, 0.5, 1.0))
    objective = Objective(ranking=loss, weight=1.0, lm_weight=0.0)
    train(
        encoder_folder,
        PairScore(),
        [row],
        tmp_path,
        options=options(objective=objective, epochs=150, learning_rate=5e-3),
    )
    found = served(tmp_path)
    if loss == "bce":  # tells only the relevant from the others
        assert found[-1] == 0
    elif loss in ("lipo-lambda", "pld"):  # hardly weigh the lowest grades
        assert found[:2] == ORDER[:2]
    elif loss in ("cross-entropy", "dear", "z-loss"):  # only the best from the others
        assert found[0] == 1
    else:
        assert found == ORDER


@pytest.mark.parametrize(
    ("name", "strategy", "changes"),
    [
        (
            "first",
            SlidingWindow(inner=SingleToken(prompt=SHORT), size=4, stride=2),
            {"shuffle": False},
        ),
        (
            "first without text",
            SingleToken(prompt=SHORT),
            {"objective": Objective(weight=10.0, lm_weight=0.0), "shuffle": False},
        ),
        (
            "adapter",
            SingleToken(prompt=SHORT),
            {"lora": Lora(rank=8), "learning_rate": 2e-2, "shuffle": False, "epochs": 120},
        ),
        ("written", Permutation(prompt=NUMBERS), {"shuffle": False, "epochs": 120}),
        (
            "yes or no",
            Pointwise(prompt="yes-no.v1"),
            {"objective": Objective(weight=1.0, lm_weight=0.0)},
        ),
        ("likelihood", QueryLikelihood(), {"objective": Objective(weight=5.0, lm_weight=0.1)}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_way_of_ranking_is_learned_and_served(
    name, strategy, changes, llama_folder, tmp_path
):
    done = train(llama_folder, strategy, [ROW], tmp_path, options=options(**changes))
    assert done.steps == options(**changes).epochs
    base = {"base": llama_folder} if "lora" in changes else {}
    reranker = load_reranker(tmp_path, device="cpu", **base)
    assert reranker.strategy == strategy
    ranking = reranker.rank(ROW.query, ROW.passages)
    assert ranking.order == ORDER, name
    assert not ranking.report.malformed


def test_grades_are_learned_and_served(llama_folder, tmp_path):
    prompt = ListwisePrompt(
        alphabet="numbers", user="{query}\n{passages}Grades:", system="Grade.", reasoning=True
    )
    strategy = Groupwise(prompt=prompt, size=4, interval=4, weight=1.0, max_tokens=60)
    train(llama_folder, strategy, [ROW], tmp_path, options=options(epochs=150, shuffle=False))
    ranking = load_reranker(tmp_path, device="cpu").rank(ROW.query, ROW.passages)
    assert ranking.order == ORDER
    assert ranking.scores == (0.3, 0.2, 0.1, 0.0)


@pytest.mark.parametrize(("dropout", "same"), [(0.0, True), (None, False)])
def test_nothing_of_attention_is_dropped_where_dropout_is_zero(
    dropout, same, llama_folder, tmp_path
):
    base = tmp_path / "base"
    shutil.copytree(llama_folder, base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.5}))
    given = {"epochs": 1, "shuffle": False, "dropout": dropout}
    losses = [
        train(
            str(base),
            Pointwise(),
            [ROW],
            tmp_path / str(seed),
            options=options(**given, seed=seed),
        ).loss
        for seed in (1, 2)
    ]
    assert (losses[0] == pytest.approx(losses[1], abs=1e-6)) is same


def test_the_same_seed_gives_the_same_weights_and_another_one_does_not(encoder_folder, tmp_path):
    rows = [ROW, TrainingList("the sea ?", PASSAGES[::-1], (1, 0, 0, 0), query_id="r")]
    losses = {
        name: train(
            encoder_folder,
            "pair-score",
            rows,
            tmp_path / name,
            options=options(epochs=3, seed=seed),
        ).loss
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    }
    assert losses["a"] == losses["b"] != losses["c"]


def test_processes_that_make_tokens_change_nothing(encoder_folder, tmp_path, monkeypatch):
    """As on a GPU, which would wait for one."""
    rows = [ROW, TrainingList("the sea ?", PASSAGES[::-1], (1, 0, 0, 0), query_id="r")]
    histories = []
    for count in (0, 2):
        monkeypatch.setattr(_trainer, "workers", lambda _, count=count: count)
        done = train(
            encoder_folder, "pair-score", rows, tmp_path / str(count), options=options(epochs=3)
        )
        histories.append([line["loss"] for line in done.history if "loss" in line])
    assert len(histories[0]) == 6
    assert histories[0] == histories[1]


def test_lists_become_tokens_in_processes_where_a_gpu_waits(monkeypatch):
    monkeypatch.setattr(_trainer.os, "cpu_count", lambda: 4)
    assert [_trainer.workers(device) for device in ("cpu", "cuda", "cuda:1")] == [0, 3, 3]
    monkeypatch.setattr(_trainer.multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    assert _trainer.workers("cuda") == 0


def test_a_list_that_does_not_fit_is_found_in_a_process_too(llama_folder, tmp_path, monkeypatch):
    """As where a GPU waits: the same error, with the number of the list."""
    monkeypatch.setattr(_run, "workers", lambda _: 2)
    loader, asked = _run.DataLoader, []
    monkeypatch.setattr(
        _run, "DataLoader", lambda *a, **given: asked.append(given) or loader(*a, **given)
    )
    rows = [*[ROW] * 70, TrainingList("many", (*"abcdefghijklmnopqrstuvwxyzA",), (1, *[0] * 26))]
    with pytest.raises(InputError) as caught:
        train(llama_folder, SingleToken(prompt=SHORT), rows, tmp_path, options=options())
    assert caught.value.__notes__ == ["in list 71 of 71, query 'many'"]
    assert [given["num_workers"] for given in asked] == [2]


def test_a_loss_that_is_not_a_number_ends_it_and_says_when(encoder_folder, tmp_path, monkeypatch):
    calls = []

    def broken(*given):
        calls.append(1)
        return batch_loss(*given) * (float("nan") if len(calls) > 2 else 1.0)

    monkeypatch.setattr(_trainer, "batch_loss", broken)
    with pytest.raises(ConfigurationError, match=r"the loss became nan at step 3 of 60\. Lower"):
        train(encoder_folder, "pair-score", [ROW], tmp_path, options=options())


def test_a_run_does_without_the_attention_whose_gradients_fail(
    encoder_folder, tmp_path, monkeypatch
):
    """cuDNN's, for rows that are padded on the left; afterwards the caller's settings are back."""
    seen = []

    def loss(*given):
        seen.append(torch.backends.cuda.cudnn_sdp_enabled())
        return batch_loss(*given)

    monkeypatch.setattr(_trainer, "batch_loss", loss)
    before = torch.backends.cuda.cudnn_sdp_enabled()
    train(encoder_folder, "pair-score", [ROW], tmp_path, options=options())
    assert seen
    assert not any(seen)
    assert torch.backends.cuda.cudnn_sdp_enabled() == before


@pytest.mark.parametrize(("lora", "asked"), [(None, "float32"), (Lora(rank=2), "auto")])
def test_weights_that_are_trained_have_32_bits(lora, asked, encoder_folder, tmp_path, monkeypatch):
    """A checkpoint of 16 bits would round most steps away; one under an adapter stays as it is."""
    seen = []
    chosen = _model.chosen_dtype
    monkeypatch.setattr(_model, "chosen_dtype", lambda *given: seen.append(given) or chosen(*given))
    changes = {"epochs": 1, "lora": lora}
    train(encoder_folder, "pair-score", [ROW], tmp_path, options=options(**changes))
    assert seen == [(asked, "cpu")]


def test_validation_keeps_the_best_and_patience_ends_it(encoder_folder, tmp_path):
    done = train(
        encoder_folder,
        "pair-score",
        [ROW],
        tmp_path,
        validation=[ROW],
        options=options(
            epochs=200,
            evaluate_every=5,
            patience=3,
            objective=Objective(ranking="ranknet", lm_weight=0.0),
        ),
    )
    assert done.ndcg == 1.0
    assert done.steps < 200
    assert served(tmp_path) == ORDER
    assert (tmp_path / "curve.svg").read_text("utf-8").startswith("<?xml")
    about = json.loads((tmp_path / "reranker.json").read_text("utf-8"))["about"]
    assert about["ndcg"] == 1.0
    assert about["lists"] == 1


def test_our_own_model_can_be_the_base(tmp_path):
    """By the name that `load_reranker` takes, and as the folder of an earlier training."""
    changes = {"epochs": 1, "learning_rate": 1e-5, "warmup": 0}
    first, second = tmp_path / "first", tmp_path / "second"
    train(
        "rerank-plugins/minilm-cross-encoder",
        "pair-score",
        [ROW],
        first,
        options=options(**changes),
    )
    own, once = (
        load_reranker(m, device="cpu") for m in ("rerank-plugins/minilm-cross-encoder", first)
    )
    there, here = (r.rank(ROW.query, PASSAGES).scores for r in (own, once))
    assert there != here
    assert there == pytest.approx(here, abs=1.5)  # a step of 1e-5 away: the logits span 20
    train(first, "pair-score", [ROW], second, options=options(**changes))


def test_an_adapter_is_no_base(tmp_path):
    with pytest.raises(InputError, match="is an adapter"):
        train("rerank-plugins/smollm2-first", "single-token", [ROW], tmp_path, options=options())


class TestBadInput:
    def refused(self, error, match, model, strategy, rows, output, **changes):
        with pytest.raises(error, match=match):
            train(model, strategy, rows, output, options=options(**changes))

    def test_nothing_to_learn_from(self, encoder_folder, tmp_path):
        self.refused(InputError, "no lists", encoder_folder, "pair-score", [], tmp_path)

    def test_one_relevance_level_is_refused_or_skipped(self, encoder_folder, tmp_path):
        flat = TrainingList("flat", PASSAGES, (1, 1, 1, 1))
        self.refused(
            InputError, "one relevance level", encoder_folder, "pair-score", [ROW, flat], tmp_path
        )
        done = train(
            encoder_folder,
            "pair-score",
            [ROW, flat],
            tmp_path,
            options=options(epochs=1),
            skip_uninformative=True,
        )
        assert done.skipped == 1

    def test_a_list_longer_than_a_window(self, llama_folder, tmp_path):
        strategy = SlidingWindow(inner=SingleToken(prompt=SHORT), size=3, stride=1)
        self.refused(InputError, "each of 4 passages once", llama_folder, strategy, [ROW], tmp_path)

    def test_grades_off_the_scale(self, llama_folder, tmp_path):
        row = TrainingList(ROW.query, PASSAGES, (0, 11, 1, 2))
        self.refused(InputError, "not a grade", llama_folder, Groupwise(), [row], tmp_path)

    def test_identifiers_that_are_not_single_tokens(self, tmp_path, tmp_path_factory):
        """A vocabulary of whole words that knows no letters."""
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        folder = tmp_path_factory.mktemp("words")
        words = ["<unk>", "</s>", "a", "flea", "dog"]
        raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
        raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        PreTrainedTokenizerFast(
            tokenizer_object=raw,
            unk_token="<unk>",
            eos_token="</s>",
            chat_template="{% for m in messages %}{{ m['content'] }}{% endfor %}",
        ).save_pretrained(folder)
        tiny_models.llama(5).save_pretrained(folder)
        self.refused(LabelError, "single token", folder, SingleToken(prompt=SHORT), [ROW], tmp_path)

    def test_an_adapter_on_another_base(self, llama_folder, tmp_path, tmp_path_factory, tokenizer):
        train(
            llama_folder,
            SingleToken(prompt=SHORT),
            [ROW],
            tmp_path,
            options=options(epochs=1, lora=Lora(rank=2)),
        )
        other = tmp_path_factory.mktemp("other")
        tiny_models.llama(len(tokenizer), num_hidden_layers=1).save_pretrained(other)
        tokenizer.save_pretrained(other)
        reranker = load_reranker(tmp_path, base=other, device="cpu")
        with pytest.raises(ModelLoadError, match="the model that it was trained on"):
            reranker.rank(ROW.query, ROW.passages)

    def test_a_base_for_a_model_without_an_adapter(self, encoder_folder, tmp_path):
        train(encoder_folder, "pair-score", [ROW], tmp_path, options=options(epochs=1))
        with pytest.raises(InputError, match="adapter"):
            load_reranker(tmp_path, base=encoder_folder)

    def test_too_little_space(self, encoder_folder, tmp_path, monkeypatch):
        import shutil
        from types import SimpleNamespace

        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        self.refused(ConfigurationError, "GB", encoder_folder, "pair-score", [ROW], tmp_path)

    def test_a_prompt_that_never_fits(self, llama_folder, tmp_path):
        from rerank_plugins import PromptTooLongError

        self.refused(
            PromptTooLongError,
            "fit",
            llama_folder,
            SingleToken(prompt=SHORT),
            [ROW],
            tmp_path,
            context_tokens=20,
        )

    def test_another_run_in_the_folder(self, encoder_folder, tmp_path):
        train(encoder_folder, "pair-score", [ROW], tmp_path, options=options(epochs=1))
        self.refused(
            InputError, "seed", encoder_folder, "pair-score", [ROW], tmp_path, epochs=1, seed=7
        )

    def test_a_folder_of_a_run_that_never_began_is_free(self, encoder_folder, tmp_path):
        (tmp_path / "training.json").write_text('{"format": "rerank-plugins training", "seed": 1}')
        train(encoder_folder, "pair-score", [ROW], tmp_path, options=options(epochs=1))

    def test_a_damaged_run_file(self, encoder_folder, tmp_path):
        train(encoder_folder, "pair-score", [ROW], tmp_path, options=options(epochs=1))
        (tmp_path / "training.json").write_text("{")
        self.refused(
            InputError, "damaged.*--anew", encoder_folder, "pair-score", [ROW], tmp_path, epochs=1
        )

    def test_another_run_s_validation_lists(self, encoder_folder, tmp_path):
        arguments = (encoder_folder, "pair-score", [ROW], tmp_path)
        train(*arguments, options=options(epochs=1), validation=[ROW])
        with pytest.raises(InputError, match="validation"):
            train(*arguments, options=options(epochs=1))

    def test_anew_removes_the_earlier_run(self, encoder_folder, llama_folder, tmp_path):
        lora = {"lora": Lora(rank=2), "epochs": 1}
        train(llama_folder, SingleToken(prompt=SHORT), [ROW], tmp_path, options=options(**lora))
        assert (tmp_path / "adapter_model.safetensors").is_file()
        mine = tmp_path / "notes.txt"
        mine.write_text("kept")
        (tmp_path / "tokenizer_notes").mkdir()
        anew = options(epochs=1, resume=False)
        train(encoder_folder, "pair-score", [ROW], tmp_path, options=anew)
        assert not (tmp_path / "adapter_model.safetensors").exists()
        assert mine.read_text() == "kept"
        assert load_reranker(tmp_path, device="cpu").strategy == PairScore()

    @pytest.mark.parametrize("resume", [True, False])
    @pytest.mark.parametrize(
        "files",
        [
            {"model.safetensors": "precious"},
            {"model.safetensors": "precious", "training.json": '{"note": "my own"}'},
            {"model.safetensors": "precious", "training.json": "{"},
            {"checkpoints/checkpoint-3/trainer_state.json": "{}\n"},
            {"training.json": '{"note": "my own"}'},
        ],
        ids=str,
    )
    def test_a_folder_with_somebody_else_s_files(self, files, resume, encoder_folder, tmp_path):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        self.refused(
            InputError,
            "not made by a training run",
            *(encoder_folder, "pair-score", [ROW], tmp_path),
            resume=resume,
        )
        assert {name: (tmp_path / name).read_text() for name in files} == files

    def test_the_base_as_the_output(self, encoder_folder):
        self.refused(InputError, "overwritten", encoder_folder, "pair-score", [ROW], encoder_folder)

    def test_patience_without_validation(self, encoder_folder, tmp_path):
        self.refused(
            InputError, "patience", encoder_folder, "pair-score", [ROW], tmp_path, patience=2
        )

    @pytest.mark.parametrize(
        ("strategy", "objective", "said"),
        [
            (Permutation(prompt=NUMBERS), Objective(), "no scores for the ranking loss 'ranknet'"),
            (PairScore(), Objective(ranking=None), "writes nothing"),
            (PairScore(), Objective(lm_weight=0.5), "writes nothing"),
            (Pointwise(prompt="yes-no.v1"), Objective(ranking=None), "writes nothing"),
            (QueryLikelihood(), Objective(importance=True), "importance"),
        ],
        ids=str,
    )
    def test_a_loss_that_the_strategy_has_nothing_for(
        self, strategy, objective, said, encoder_folder, tmp_path
    ):
        """Before a model is loaded, so any folder does."""
        self.refused(
            InputError, said, encoder_folder, strategy, [ROW], tmp_path, objective=objective
        )

    @pytest.mark.parametrize(
        "changes",
        [
            *({"epochs": 0}, {"learning_rate": 0.0}, {"accumulate": -1}, {"context_tokens": 0}),
            *(
                {"schedule": "foo"},
                {"warmup": -1},
                {"neftune_alpha": -1.0},
                {"max_grad_norm": -1.0},
            ),
        ],
    )
    def test_numbers_out_of_range(self, changes):
        with pytest.raises(InputError):
            options(**changes)

    @pytest.mark.parametrize(
        "damage", ["{", '{"format": "x"}', "[]", "[" * 100_000], ids=["cut", "x", "list", "deep"]
    )
    def test_a_damaged_reranker_file(self, damage, encoder_folder, tmp_path):
        train(encoder_folder, "pair-score", [ROW], tmp_path, options=options(epochs=1))
        (tmp_path / "reranker.json").write_text(damage)
        with pytest.raises(ModelLoadError):
            load_reranker(tmp_path)

    def test_a_reranker_file_that_names_a_server(self, encoder_folder, tmp_path):
        train(encoder_folder, "pair-score", [ROW], tmp_path, options=options(epochs=1))
        spec = json.loads((tmp_path / "reranker.json").read_text("utf-8"))
        spec["backend"] = {"name": "openai", "model": "m", "base_url": "http://example.org"}
        (tmp_path / "reranker.json").write_text(json.dumps(spec))
        with pytest.raises(ModelLoadError, match="server"):
            load_reranker(tmp_path)

    @pytest.mark.parametrize(
        ("part", "changes", "said"),
        [
            ("strategy", {"name": "a-plugin"}, "plugin"),
            ("strategy", {"name": "sliding-window", "inner": "a-plugin"}, "plugin"),
            ("strategy", {"name": "cascade", "first": {"name": "blend", "inner": "x"}}, "plugin"),
            ("strategy", "pair-score", "plugin"),
            ("backend", {"trust_remote_code": True}, "sets trust_remote_code"),
            ("backend", {"model": 3}, "a model that is not a string"),
            ("strategy", {"name": "single-token", "prompt": "/any/file.toml"}, "a file of prompts"),
        ],
        ids=str,
    )
    def test_a_reranker_file_is_data(self, part, changes, said, encoder_folder, tmp_path):
        train(encoder_folder, "pair-score", [ROW], tmp_path, options=options(epochs=1))
        spec = json.loads((tmp_path / "reranker.json").read_text("utf-8"))
        spec[part] = spec[part] | changes if part == "backend" else changes
        (tmp_path / "reranker.json").write_text(json.dumps(spec))
        with pytest.raises(ModelLoadError, match=said):
            load_reranker(tmp_path)


@pytest.mark.parametrize("bf16", [True, False])
def test_validation_computes_as_the_training_does(bf16, encoder_folder, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    from rerank_plugins.training import _trainer

    seen, original = [], _trainer.ndcg

    def watched(*given):
        seen.append(torch.is_autocast_enabled("cpu"))
        return original(*given)

    monkeypatch.setattr(_trainer, "ndcg", watched)
    given = options(epochs=1, bf16=bf16, objective=Objective(weight=1.0, lm_weight=0.0))
    train(encoder_folder, PairScore(), [ROW], tmp_path, validation=[ROW], options=given)
    assert seen == [bf16] * len(seen)
    assert len(seen) >= 2
