"""Calls as a vLLM engine sees them, with an engine that is not there."""

import math
from types import SimpleNamespace

import pytest
import tiny_models
from fake_vllm import fake_vllm

from rerank_plugins import BackendError, ModelOutputError, PromptTooLongError
from rerank_plugins.backends._prompts.renderer import Renderer
from rerank_plugins.backends._vllm.inference import PairFormat, VLLMEngine
from rerank_plugins.calls import (
    Generate,
    Likelihood,
    Message,
    NextToken,
    Prompt,
    ScorePair,
    Untrusted,
    WrittenOrder,
)


@pytest.fixture(autouse=True)
def vllm(monkeypatch):
    fake_vllm(monkeypatch)


class Sent:
    """Takes requests and gives what ``output`` makes of each."""

    def __init__(self, output):
        self.output, self.asked, self.lost = output, [], False

    def written(self, requests):
        self.asked += requests
        return [self.output(request.ids, request.settings) for request in requests]

    classified = written


def engine(output, *, context=100, pairs=None):
    sent = Sent(output)
    return sent, VLLMEngine(sent, Renderer(tiny_models.characters()), context, pairs)


def logprob(value):
    return SimpleNamespace(logprob=value)


def asked(text, **options):
    return Prompt((Message("user", (text,)),), chat=False, **options)


def written(**values):
    return SimpleNamespace(outputs=[SimpleNamespace(**values)])


def test_labels_are_asked_for_by_id_and_read_by_id():
    def output(ids, settings):
        values = {i: logprob(-float(k)) for k, i in enumerate(settings.logprob_token_ids)}
        return written(logprobs=[{**values, 9999: logprob(-0.1)}], finish_reason="length")

    sent, model = engine(output)
    [reply] = model.table[NextToken]([NextToken(asked("Which? "), ("a", "b"))])
    [(ids, settings, _)] = sent.asked
    assert settings.max_tokens == 1
    assert len(settings.logprob_token_ids) == 2
    assert reply.answer.seen == {"a": 0.0, "b": -1.0}
    assert (reply.prompt_tokens, reply.generated_tokens) == (len(ids), 0)


def test_a_text_keeps_its_settings_and_its_end():
    def output(ids, settings):
        return written(text="ab", finish_reason="length", token_ids=[5, 6], logprobs=None)

    sent, model = engine(output)
    call = Generate(asked("Say "), 2, temperature=0.5, stop=("x",), top_p=0.9, seed=3)
    [reply] = model.table[Generate]([call])
    settings = sent.asked[0][1]
    assert (settings.max_tokens, settings.temperature, settings.seed) == (2, 0.5, 3)
    assert (settings.stop, settings.top_p, settings.logprobs) == (["x"], 0.9, None)
    assert (reply.answer.text, reply.answer.finish_reason) == ("ab", "length")
    assert reply.generated_tokens == 2


def test_an_answer_that_was_ended_is_whole():
    def output(ids, settings):
        return written(text="[1] > [2]", finish_reason=None, token_ids=[5] * 9, logprobs=None)

    sent, model = engine(output)
    call = Generate(asked("Say "), 20, until=WrittenOrder(("1", "2"), 2))
    [reply] = model.table[Generate]([call])
    assert (reply.answer.text, reply.answer.finish_reason) == ("[1] > [2]", "stop")
    assert reply.generated_tokens == 9
    complete = sent.asked[0].complete
    assert not complete(written(text="[1] > [", token_ids=[5] * 7))
    assert complete(output([], None))


def test_an_answer_after_opened_reasoning_ends_by_itself():
    sent, model = engine(lambda ids, settings: BackendError("no answer"))
    order = WrittenOrder(("1", "2"), 2)
    model.table[Generate]([Generate(asked("Say <think>\n"), 20, until=order)])
    assert sent.asked[0].complete is None


def test_a_continuation_is_the_sum_of_its_tokens():
    def output(ids, settings):
        return SimpleNamespace(prompt_logprobs=[None, *({i: logprob(-0.5)} for i in ids[1:])])

    sent, model = engine(output)
    [reply] = model.table[Likelihood]([Likelihood(asked("flea "), Untrusted("abc", "query"))])
    assert sent.asked[0][1].prompt_logprobs == 0
    assert (reply.answer.logprob, reply.answer.tokens) == (-1.5, 3)


def test_a_pair_is_cut_to_the_context_and_its_score_is_raw():
    def output(ids, settings):
        data = SimpleNamespace(flatten=lambda: SimpleNamespace(tolist=lambda: [-3.5]))
        return SimpleNamespace(outputs=SimpleNamespace(data=data))

    sent, model = engine(output, context=20, pairs=PairFormat("q: {query}", "{passage}"))
    short, long = model.table[ScorePair]([ScorePair("a", "b"), ScorePair("a", "b" * 90)])
    assert (short.answer, short.truncated) == (-3.5, ())
    assert (long.answer, long.truncated, long.prompt_tokens) == (-3.5, (0,), 20)
    assert sent.asked[0][1].use_activation is False


def test_each_engine_answers_its_own_kinds():
    assert set(engine(None)[1].table) == {NextToken, Generate, Likelihood}
    assert set(engine(None, pairs=PairFormat())[1].table) == {ScorePair}


def test_a_prompt_that_is_too_long_and_one_that_fails_cost_only_themselves():
    def output(ids, settings):
        if len(ids) == 4:
            return BackendError("refused")
        return written(text="ok", finish_reason="stop", token_ids=[5], logprobs=None)

    sent, model = engine(output, context=30)
    calls = [Generate(asked("a" * n), 5) for n in (3, 4, 26)]
    answered, refused, long = model.table[Generate](calls)
    assert answered.answer.text == "ok"
    assert str(refused) == "refused"
    assert isinstance(long, PromptTooLongError)
    assert (long.excess_tokens, long.limit) == (len(sent.asked[0][0]) + 23 + 5 - 30, 30)
    assert len(sent.asked) == 2


@pytest.mark.parametrize(
    ("output", "error"),
    [
        (written(text="", finish_reason="abort", token_ids=[], logprobs=None), "broke off"),
        (
            written(
                text="a", finish_reason="stop", token_ids=[5], logprobs=[{5: logprob(math.nan)}]
            ),
            "not numbers",
        ),
    ],
)
def test_an_output_that_is_no_answer(output, error):
    _, model = engine(lambda ids, settings: output)
    [reply] = model.table[Generate]([Generate(asked("a"), 5, logprobs=True)])
    assert isinstance(reply, BackendError | ModelOutputError)
    assert error in str(reply)
