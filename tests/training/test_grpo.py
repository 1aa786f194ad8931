"""GRPO through TRL, on a tiny model that babbles."""

import json

import pytest

from rerank_plugins import InputError, load_reranker
from rerank_plugins.backends.rendering import Renderer
from rerank_plugins.strategies import Groupwise, Permutation, PointwiseGrade, SingleToken
from rerank_plugins.training import GrpoOptions, Lora, TrainingList, TrainingOptions
from rerank_plugins.training.encoding import PromptEncoder
from rerank_plugins.training.grpo import prompts, train_with_rewards

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
    [line] = prompts(encoder(strategy, tokenizer), ROW)
    shown = strategy.groups(3)[0]
    assert line["labels"] == [ROW.labels[i] for i in shown]
    assert [line["labels"][i] for i in line["order"]] == [2, 1, 0]
    places = [line["prompt"].index(ROW.passages[i]) for i in shown]
    assert places == sorted(places)


def test_one_prompt_a_passage_where_passages_are_graded_alone(tokenizer):
    row = TrainingList(ROW.query, ROW.passages, ROW.labels, teacher=(1.0, 9.0, 5.0))
    lines = prompts(encoder(PointwiseGrade(), tokenizer), row)
    assert [line["label"] for line in lines] == [0, 2, 1]
    assert [line["reference"] for line in lines] == [1.0, 9.0, 5.0]
    assert {line["query_id"] for line in lines} == {ROW.query}


def test_what_writes_nothing_cannot_be_rewarded(tokenizer):
    with pytest.raises(InputError, match="writes nothing"):
        prompts(encoder(SingleToken(), tokenizer), ROW)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # between TRL and transformers
def test_two_steps_of_the_real_trainer(llama_folder, tmp_path):
    pytest.importorskip("trl", reason="no TRL: pip install 'rerank-plugins[grpo]'")
    seen = []

    def longer(completions, *, labels, order, query_id, **_):
        seen.append((len(completions), list(labels[0]), list(order[0]), query_id[0]))
        return [float(len(text)) for text in completions]

    strategy = Permutation(prompt="reasonrank.v1", max_tokens=8)
    done = train_with_rewards(
        llama_folder,
        strategy,
        [ROW],
        longer,
        tmp_path,
        options=OPTIONS,
        grpo=GrpoOptions(generations=4, max_tokens=8),
    )
    assert done.steps == 2
    assert seen[0] == (4, [0, 2, 1], [1, 2, 0], "q")
    reranker = load_reranker(tmp_path, base=llama_folder, device="cpu")
    assert reranker.strategy == strategy
    assert sorted(reranker.rank(ROW.query, ROW.passages).order) == [0, 1, 2]
    about = json.loads((tmp_path / "reranker.json").read_text("utf-8"))["about"]
    assert about["reward"] == "longer"


@pytest.mark.parametrize(
    "changes", [{"generations": 1}, {"max_tokens": 0}, {"temperature": 0.0}], ids=str
)
def test_numbers_out_of_range(changes):
    with pytest.raises(InputError):
        GrpoOptions(**changes)
