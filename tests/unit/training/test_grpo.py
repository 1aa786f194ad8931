"""Options of training with rewards, and what is refused before a model is loaded."""

import pytest

from rerank_plugins import InputError
from rerank_plugins.strategies import Permutation
from rerank_plugins.training import (
    GrpoOptions,
    Objective,
    TrainingList,
    TrainingOptions,
    train_with_rewards,
)

ROW = TrainingList("flea", ("a dog", "a flea"), (0, 1))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"generations": 1}, "generations is 1, expected at least 2"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"temperature": 0.0}, "temperature is 0.0, expected a positive number"),
    ],
)
def test_numbers_out_of_range(changes, said):
    with pytest.raises(InputError, match=said):
        GrpoOptions(**changes)


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        (
            {"reward": "none-such"},
            {},
            "reward is 'none-such'. Give one of reasonrank, erank, grouprank",
        ),
        ({"rows": []}, {}, "there are no lists"),
        ({}, {"patience": 2}, "patience has no effect where the model learns from rewards"),
        ({}, {"objective": Objective()}, "objective has no effect"),
        ({}, {"late_interaction": True}, "late_interaction has no effect"),
        ({}, {"batch_size": 3}, "a step has 24 answers"),
        ({"output": ""}, {}, "has no name"),
    ],
)
def test_slips_are_found_first(given, options, said, tmp_path):
    arguments = {"rows": [ROW], "reward": "reasonrank", "output": tmp_path / "out"} | given
    if options == {"batch_size": 3}:
        arguments["grpo"] = GrpoOptions(generations=5)
    with pytest.raises(InputError, match=said):
        train_with_rewards(
            "no-model", Permutation(), options=TrainingOptions(**options), **arguments
        )
    assert not (tmp_path / "out").exists()
