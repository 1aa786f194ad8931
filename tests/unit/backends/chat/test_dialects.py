"""Dialects of chat APIs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins.backends.chat._dialects import (
    COMPLETIONS,
    MUTE,
    OLLAMA,
    RESPONSES,
    TRANSFORMERS,
    Dialect,
)
from rerank_plugins.calls import Generate, Message, Prompt


def generate(**options):
    prompt = Prompt((Message("user", ("rank",)),))
    return Generate(prompt, **{"max_tokens": 50, "stop": ("END",), **options})


@pytest.mark.parametrize(
    ("dialect", "greedy", "sampled", "first"),
    [
        (
            Dialect(),
            {"max_tokens": 50, "temperature": 0.0, "stop": ["END"]},
            {"max_tokens": 50, "temperature": 0.7, "top_p": 0.8, "seed": 1, "stop": ["END"]},
            {
                "max_tokens": 3,
                "temperature": 0.0,
                "stop": ["]"],
                "logprobs": True,
                "top_logprobs": 20,
            },
        ),
        (
            COMPLETIONS,
            {"max_tokens": 50, "temperature": 0.0, "stop": ["END"]},
            {"max_tokens": 50, "temperature": 0.7, "top_p": 0.8, "seed": 1, "stop": ["END"]},
            {"max_tokens": 3, "temperature": 0.0, "stop": ["]"], "logprobs": 20},
        ),
        (
            RESPONSES,
            {"max_output_tokens": 50, "temperature": 0.0},
            {"max_output_tokens": 50, "temperature": 0.7, "top_p": 0.8},
            {
                "max_output_tokens": 16,
                "temperature": 0.0,
                "include": ["message.output_text.logprobs"],
                "top_logprobs": 20,
            },
        ),
        (
            OLLAMA,
            {"num_predict": 50, "temperature": 0.0, "stop": ["END"]},
            {
                "num_predict": 50,
                "temperature": 0.7,
                "top_p": 0.8,
                "top_k": 9,
                "seed": 1,
                "stop": ["END"],
            },
            {"num_predict": 3, "temperature": 0.0, "stop": ["]"]},
        ),
        (
            TRANSFORMERS,
            {"max_new_tokens": 50, "do_sample": False},
            {"max_new_tokens": 50, "temperature": 0.7, "top_p": 0.8, "top_k": 9, "do_sample": True},
            {"max_new_tokens": 3, "do_sample": False},
        ),
        (MUTE, {}, {}, {}),
    ],
)
def test_every_dialect(dialect, greedy, sampled, first):
    assert dialect.generate(generate()) == greedy
    warm = generate(temperature=0.7, top_p=0.8, top_k=9, seed=1)
    assert dialect.generate(warm) == sampled
    assert dialect.first_tokens("[") == first


@given(st.sets(st.sampled_from(["max_tokens", "temperature", "stop", "logprobs", "top_logprobs"])))
def test_what_is_refused_is_never_said_again(names):
    dialect = Dialect()
    while (simpler := dialect.without(names, "no")) != dialect:
        dialect = simpler
    said = {**dialect.generate(generate()), **dialect.first_tokens("[")}
    assert not names & set(said)
