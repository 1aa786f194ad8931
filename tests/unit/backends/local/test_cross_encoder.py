"""Arguments and replies of the cross-encoder backend. Its scores are tested by the contract."""

import math

import pytest

from rerank_plugins import InputError, ModelOutputError
from rerank_plugins.backends import CrossEncoderBackend
from rerank_plugins.backends._local.cross_encoder import _Pair
from rerank_plugins.calls import Reply


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "tensorrt"}, "engine is 'tensorrt'"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"query_template": "q"}, r"\{query\} and \{passage\}"),
        ({"passage_template": "{query}"}, r"\{query\} and \{passage\}"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        CrossEncoderBackend("model", **options)


def test_a_model_must_be_given():
    with pytest.raises(InputError, match="model is None"):
        CrossEncoderBackend(None)


def test_a_pair_that_was_cut_says_so():
    assert _Pair("q", "p", 7).reply(0.5) == Reply(0.5, 7)
    assert _Pair("q", "p", 7, cut=True).reply(0.5) == Reply(0.5, 7, 0, (0,))


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_a_number_is_the_models_error(score):
    assert isinstance(_Pair("q", "p", 7).reply(score), ModelOutputError)
