"""Calls as the model sees them, and the reading of logits."""

import math

import pytest
import tiny_models

from rerank_plugins import ModelOutputError
from rerank_plugins.backends._local.questions import Continuation, Labels
from rerank_plugins.backends._prompts.renderer import Encoded, Renderer
from rerank_plugins.calls import Likelihood, Message, NextToken, Prompt, Untrusted

ENCODED = Encoded("abc", [0, 1, 2], truncated=(1,))


def probabilities(*rows):
    """Logits whose softmax is ``rows``, up to a constant for each row."""
    import torch

    return torch.tensor(rows).log() + 5.0


def test_labels_get_the_log_probabilities_at_the_last_position():
    rows = probabilities([0.7, 0.2, 0.1], [0.5, 0.25, 0.25])
    reply = Labels(ENCODED, {"yes": 2, "no": 0}).reply(rows)
    assert reply.answer.seen == pytest.approx({"yes": math.log(0.25), "no": math.log(0.5)})
    assert list(reply.answer.seen) == ["yes", "no"]
    assert (reply.prompt_tokens, reply.generated_tokens, reply.truncated) == (3, 0, (1,))


def test_a_continuation_is_as_likely_as_its_tokens_together():
    # Tokens 1 and 2 continue token 0: each is predicted one position earlier.
    rows = probabilities([0.1, 0.6, 0.3], [0.2, 0.3, 0.5], [0.4, 0.3, 0.3])
    reply = Continuation(ENCODED, 2).reply(rows)
    assert reply.answer.logprob == pytest.approx(math.log(0.6) + math.log(0.5))
    assert reply.answer.tokens == 2


@pytest.mark.parametrize("question", [Labels(ENCODED, {"yes": 1}), Continuation(ENCODED, 1)])
def test_a_log_probability_that_is_not_a_number_is_the_models_error(question):
    rows = probabilities(*[[math.nan, 0.5, 0.5]] * 2)
    assert isinstance(question.reply(rows), ModelOutputError)


def test_calls_are_prepared_with_the_renderer():
    renderer = Renderer(tiny_models.characters())
    prompt = Prompt((Message("user", ("ab",)),), chat=False)
    labels = Labels.prepare(NextToken(prompt, ("A", "B")), renderer)
    assert labels.ids == renderer.encode(prompt).ids
    assert list(labels.labels) == ["A", "B"]
    assert (labels.room, labels.keep) == (1, 1)
    continuation = Continuation.prepare(Likelihood(prompt, Untrusted("cde")), renderer)
    assert len(continuation.ids) == 5
    assert (continuation.new, continuation.room, continuation.keep) == (3, 0, 4)
