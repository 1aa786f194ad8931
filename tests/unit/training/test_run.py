"""What `train` refuses before it loads a model."""

import pytest

from rerank_plugins import InputError
from rerank_plugins.strategies import PairScore, Permutation
from rerank_plugins.training import Objective, TrainingList, TrainingOptions, train

ROW = TrainingList("flea", ("a dog", "a flea"), (0, 1))
FLAT = TrainingList("flat", ("a dog", "a flea"), (1, 1))


@pytest.mark.parametrize(
    ("rows", "strategy", "options", "said"),
    [
        ([], PairScore(), {}, "there are no lists to train on"),
        ([ROW, FLAT, FLAT], PairScore(), {}, "2 lists have one relevance level.*'flat'"),
        ([ROW], PairScore(), {"patience": 1}, "no lists to validate on"),
        ([ROW.cut(1)], Permutation(), {}, "one relevance level"),
        ([ROW], Permutation(), {"objective": Objective()}, "has no scores"),
        ([ROW], PairScore(), {"objective": Objective(lm_weight=0.5)}, "writes nothing"),
    ],
)
def test_slips_are_found_first(rows, strategy, options, said, tmp_path):
    with pytest.raises(InputError, match=said):
        train("no-model", strategy, rows, tmp_path / "out", options=TrainingOptions(**options))
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_of_uninformative_lists(tmp_path):
    with pytest.raises(InputError, match="there are no lists to train on"):
        train("no-model", PairScore(), [FLAT], tmp_path / "out", skip_uninformative=True)
