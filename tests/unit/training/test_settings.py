"""Options of training: what is out of range."""

import math

import pytest

from rerank_plugins import InputError
from rerank_plugins.training import Lora, Objective, TrainingOptions


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 0}, "epochs is 0, expected at least 1"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"accumulate": -1}, "accumulate is -1"),
        ({"context_tokens": 0}, "context_tokens is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"warmup": -1}, "warmup is -1, expected at least 0"),
        ({"neftune_alpha": -1.0}, r"neftune_alpha is -1.0"),
        ({"dropout": 1.0}, "dropout is 1.0, expected a number from 0 to below 1"),
        ({"max_grad_norm": math.inf}, "max_grad_norm is inf"),
        ({"weight_decay": math.nan}, "weight_decay is nan"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": 1.0}, "learning_rate is 1.0"),
        ({"schedule": "foo"}, "schedule is 'foo'. Give one of "),
    ],
)
def test_numbers_out_of_range(changes, said):
    with pytest.raises(InputError, match=said):
        TrainingOptions(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"rank": 0}, "rank is 0"), ({"dropout": 1.0}, "dropout is 1.0"), ({"dropout": -0.1}, "-0.1")],
)
def test_adapters_out_of_range(changes, said):
    with pytest.raises(InputError, match=said):
        Lora(**changes)


def test_options_are_plain_values_for_the_manifest():
    options = TrainingOptions(lora=Lora(rank=2), objective=Objective(ranking=None))
    plain = options.plain()
    assert plain["lora"] == {"rank": 2, "alpha": None, "dropout": 0.0, "modules": None}
    assert plain["objective"]["ranking"] is None
    assert plain["max_steps"] is None
    assert plain["warmup"] == 10
