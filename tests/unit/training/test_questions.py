"""Training's questions: those that the strategy asks when it ranks."""

import pytest

from rerank_plugins import InputError, PromptTooLongError
from rerank_plugins.calls import Generate, NextToken, ScorePair
from rerank_plugins.strategies import (
    Groupwise,
    PairScore,
    Pointwise,
    SingleToken,
    SlidingWindow,
)
from rerank_plugins.training import TrainingList
from rerank_plugins.training._questions import innermost, questions, strategy_of

ROW = TrainingList("flea", ("a dog", "a flea", "the sea"), (0, 2, 1))


def test_a_listwise_strategy_asks_once_and_a_pointwise_one_for_each_passage():
    [call] = questions(SingleToken(), ROW)
    assert isinstance(call, NextToken)
    assert call.labels == ("A", "B", "C")
    pairs = questions(PairScore(), ROW)
    assert [call.passage for call in pairs] == list(ROW.passages)
    assert {type(call) for call in pairs} == {ScorePair}
    assert len(questions(Pointwise(), ROW)) == 3


def test_groups_do_not_overlap_within_a_list():
    """As it serves, two repeats of groups of three that start every two passages: four calls."""
    [call] = questions(Groupwise(size=3, interval=2, repeats=2), ROW)
    assert isinstance(call, Generate)


def test_passages_are_shortened_until_the_call_fits():
    lengths = []

    def fits(call):
        lengths.append(max(len(part.text) for part in call.prompt.untrusted))
        return PromptTooLongError(50) if lengths[-1] > 200 else None

    long = TrainingList("flea", ("a dog " * 100, "a flea"), (0, 1))
    questions(SingleToken(), long, fits)
    assert lengths == sorted(lengths, reverse=True)
    assert len(lengths) > 1
    assert lengths[-1] <= 200


def test_several_rounds_and_no_question_are_refused():
    with pytest.raises(InputError, match="does not ask about each of 3 passages once"):
        questions(SlidingWindow(SingleToken(), size=2, stride=1), ROW)
    with pytest.raises(InputError, match="asks nothing about a list of 1"):
        questions(SingleToken(), ROW.cut(1))


def test_the_strategy_of_a_spec_holds_its_prompt(tmp_path):
    file = tmp_path / "mine.toml"
    user = 'user = "{query}\\n{passages}Best: ["'
    file.write_text(f'kind = "listwise"\nalphabet = "letters"\n{user}\n')
    inner = {"name": "single-token", "prompt": str(file)}
    made = strategy_of({"name": "sliding-window", "size": 4, "stride": 2, "inner": inner})
    file.unlink()
    assert innermost(made).prompt.user == "{query}\n{passages}Best: ["
    assert strategy_of("pair-score") == PairScore()
    assert innermost(made) == made.inner
