"""Settings of decoding, as calls carry them."""

import pytest

from rerank_plugins import InputError
from rerank_plugins.calls import Generate, Message, Prompt
from rerank_plugins.strategies import Sampling

PROMPT = Prompt((Message("user", ("hello",)),))


def test_greedy_calls_carry_no_settings_of_sampling():
    greedy = Sampling(top_p=0.5, top_k=3, seed=7)
    assert greedy.generate(PROMPT, 9) == Generate(PROMPT, 9)
    assert greedy.generate(PROMPT, 9, logprobs=True) == Generate(PROMPT, 9, logprobs=True)


def test_sampled_calls_carry_all_of_them():
    sampled = Sampling(temperature=0.7, top_p=0.5, top_k=3, seed=7)
    assert sampled.generate(PROMPT, 9) == Generate(
        PROMPT, 9, temperature=0.7, seed=7, top_p=0.5, top_k=3
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0}, "top_p is 0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_k": 1.5}, "top_k is 1.5"),
    ],
)
def test_refused_settings(wrong, message):
    with pytest.raises(InputError, match=message):
        Sampling(**wrong)
