"""GRPO through TRL, on a tiny model that babbles."""

import json
from dataclasses import replace

import pytest

from rerank_plugins import InputError, PromptTooLongError, load_reranker
from rerank_plugins.backends._prompts.renderer import Renderer
from rerank_plugins.strategies import Groupwise, Permutation, PointwiseGrade, SingleToken
from rerank_plugins.training import GrpoOptions, Lora, Objective, TrainingList, TrainingOptions
from rerank_plugins.training._encoding import PromptEncoder
from rerank_plugins.training._folder import newest_checkpoint
from rerank_plugins.training._grpo import prompts, train_with_rewards

ROW = TrainingList(
    "how long lives a flea?", ("a dog", "a flea", "the sea"), (0, 2, 1), query_id="q"
)
OPTIONS = TrainingOptions(
    batch_size=4, accumulate=1, max_steps=2, learning_rate=1e-3, device="cpu", lora=Lora(rank=4)
)


def encoder(strategy, tokenizer):
    return PromptEncoder(strategy, Renderer(tokenizer), 8192)


def test_columns_follow_the_order_of_the_prompt(tokenizer):
    strategy = Groupwise(size=3, interval=3, seed=1)
    [line] = prompts(encoder(strategy, tokenizer), ROW, 100)
    shown = strategy.groups(3)[0]
    assert line["labels"] == [ROW.labels[i] for i in shown]
    assert [line["labels"][i] for i in line["order"]] == [2, 1, 0]
    places = [line["prompt"].index(ROW.passages[i]) for i in shown]
    assert places == sorted(places)


def test_one_prompt_a_passage_where_passages_are_graded_alone(tokenizer):
    row = TrainingList(ROW.query, ROW.passages, ROW.labels, teacher=(1.0, 9.0, 5.0))
    lines = prompts(encoder(PointwiseGrade(), tokenizer), row, 100)
    assert [line["label"] for line in lines] == [0, 2, 1]
    assert [line["reference"] for line in lines] == [1.0, 9.0, 5.0]
    assert {line["query_id"] for line in lines} == {ROW.query}


def test_what_writes_nothing_cannot_be_rewarded(tokenizer):
    with pytest.raises(InputError, match="writes nothing"):
        prompts(encoder(SingleToken(), tokenizer), ROW, 100)


def test_passages_are_shortened_until_the_answer_fits(tokenizer):
    long = TrainingList(ROW.query, tuple(f"{p} {'x y z ' * 300}" for p in ROW.passages), ROW.labels)
    strategy = Permutation(prompt="reasonrank.v1")
    [whole] = prompts(encoder(strategy, tokenizer), long, 300)
    [line] = prompts(PromptEncoder(strategy, Renderer(tokenizer), 700), long, 300)
    tokens = [len(tokenizer(x["prompt"]).input_ids) for x in (line, whole)]
    assert tokens[0] <= 400 < tokens[1]
    assert all(passage in line["prompt"] for passage in ROW.passages)
    with pytest.raises(PromptTooLongError):
        prompts(PromptEncoder(strategy, Renderer(tokenizer), 700), long, 690)


def longer(completions, **_):
    """A reward for many characters."""
    return [float(len(text)) for text in completions]


def rewarded(folder, output, reward=longer, **changes):
    return train_with_rewards(
        folder,
        Permutation(prompt="reasonrank.v1", max_tokens=8),
        [ROW],
        reward,
        output,
        options=replace(OPTIONS, **changes),
        grpo=GrpoOptions(generations=4, max_tokens=8),
    )


@pytest.mark.filterwarnings("ignore::FutureWarning")  # between TRL and transformers
class TestRealTrainer:
    def test_two_steps(self, llama_folder, tmp_path):
        seen = []

        def noting(completions, *, labels, order, query_id, **_):
            seen.append((len(completions), list(labels[0]), list(order[0]), query_id[0]))
            return longer(completions)

        done = rewarded(llama_folder, tmp_path, noting)
        assert done.steps == 2
        assert seen[0] == (4, [0, 2, 1], [1, 2, 0], "q")
        reranker = load_reranker(tmp_path, base=llama_folder, device="cpu")
        assert reranker.strategy == Permutation(prompt="reasonrank.v1", max_tokens=8)
        assert sorted(reranker.rank(ROW.query, ROW.passages).order) == [0, 1, 2]
        about = json.loads((tmp_path / "reranker.json").read_text("utf-8"))["about"]
        assert about["reward"] == "noting"
        assert about["grpo"]["generations"] == 4

    def test_an_interrupted_run_goes_on(self, llama_folder, tmp_path):
        calls = []

        def dying(completions, **_):
            calls.append(len(completions))
            if len(calls) == 3:
                raise KeyboardInterrupt
            return longer(completions)

        dying.__name__ = "longer"
        with pytest.raises(KeyboardInterrupt):
            rewarded(llama_folder, tmp_path, dying, max_steps=4, evaluate_every=1)
        assert not (tmp_path / "reranker.json").exists()
        assert newest_checkpoint(tmp_path / "checkpoints").name == "checkpoint-2"
        with pytest.raises(InputError, match="seed"):
            rewarded(llama_folder, tmp_path, max_steps=4, evaluate_every=1, seed=1)
        done = rewarded(llama_folder, tmp_path, max_steps=4, evaluate_every=1)
        assert done.steps == 4
        assert [line["step"] for line in done.history if "loss" in line] == [1, 2, 3, 4]


def test_an_answer_as_long_as_the_context(tokenizer):
    with pytest.raises(InputError, match="leaves no room for a prompt in a context of 8192"):
        prompts(encoder(Permutation(), tokenizer), ROW, 8192)


def test_the_base_as_the_output(llama_folder):
    with pytest.raises(InputError, match="overwritten"):
        rewarded(llama_folder, llama_folder, resume=False)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objective": Objective()}, "objective"),
        ({"patience": 2}, "patience"),
        ({"neftune_alpha": 5.0}, "neftune_alpha"),
        ({"batch_size": 3}, "expected a multiple of the 4"),
    ],
    ids=str,
)
def test_what_means_nothing_is_refused(changes, said, llama_folder, tmp_path):
    with pytest.raises(InputError, match=said):
        rewarded(llama_folder, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes", [{"generations": 1}, {"max_tokens": 0}, {"temperature": 0.0}], ids=str
)
def test_numbers_out_of_range(changes):
    with pytest.raises(InputError):
        GrpoOptions(**changes)
