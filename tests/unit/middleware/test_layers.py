"""Wrappers of backends: cache, retry, tracing, and how they nest."""

import asyncio

import pytest

from rerank_plugins import BackendError, InputError
from rerank_plugins.backends import Balanced
from rerank_plugins.calls import Generate, Message, Prompt, Reply, ScorePair
from rerank_plugins.middleware import cached, retried, traced
from rerank_plugins.testing import Failing, Oracle, Scripted

A, B = ScorePair("q", "a"), ScorePair("q", "b")


TEXTS = [f"passage {i}" for i in range(25)]


def both_colours(backend, calls):
    """The replies of run and of arun, which must be equal for equal backends."""
    return backend().run(calls), asyncio.run(backend().arun(calls))


def test_the_cache_asks_each_question_once_and_charges_once():
    oracle = Oracle()
    backend = cached(oracle)
    first = backend.run([A, B, A])
    assert oracle.asked == [A, B]
    assert [r.prompt_tokens for r in first] == [2, 2, 0]
    again = asyncio.run(backend.arun([B, A]))
    assert oracle.asked == [A, B]
    assert [r.answer for r in again] == [first[1].answer, first[0].answer]
    assert [r.prompt_tokens for r in again] == [0, 0]


def test_the_cache_forgets_the_oldest_and_keeps_no_failures():
    oracle = Oracle()
    backend = cached(oracle, max_entries=1)
    backend.run([A, B])
    backend.run([B])
    backend.run([A])
    assert oracle.asked == [A, B, A]
    script = Scripted([BackendError("once"), Reply(2.0)])
    failing = cached(script)
    assert isinstance(failing.run([A])[0], BackendError)
    assert failing.run([A]) == [Reply(2.0)]


def test_the_cache_does_not_repeat_a_sample():
    prompt = Prompt((Message("user", ("hi",)),))
    sampled = Generate(prompt, 5, temperature=1.0)
    seeded = Generate(prompt, 5, temperature=1.0, seed=3)
    script = Scripted(["one", "two", "three"])
    backend = cached(script)
    texts = [r.answer.text for r in backend.run([sampled, sampled, seeded, seeded])]
    assert texts == ["one", "two", "three", "three"]


def test_the_cache_takes_any_mapping():
    store = {}
    cached(Oracle(), store).run([A])
    assert list(store) == [A]
    with pytest.raises(InputError):
        cached(Oracle(), max_entries=0)


def test_only_calls_that_may_succeed_are_asked_again():
    def script():
        return retried(
            Scripted(
                [
                    BackendError("busy", retryable=True),
                    BackendError("never"),
                    Reply(1.0),
                ]
            ),
            base_delay_s=0.0,
        )

    for first, second in both_colours(script, [A, B]):
        assert first == Reply(1.0)
        assert isinstance(second, BackendError)


def test_retrying_ends():
    script = Scripted([BackendError(str(i), retryable=True) for i in range(5)])
    [reply] = retried(script, attempts=3, base_delay_s=0.0).run([A])
    assert str(reply) == "2"
    assert len(script.asked) == 3


def test_a_servers_own_pause_is_obeyed(monkeypatch):
    slept = []
    monkeypatch.setattr("rerank_plugins.middleware._layers.time.sleep", slept.append)
    script = Scripted(
        [
            BackendError("429", retryable=True, retry_after_s=7.0),
            BackendError("503", retryable=True),
            Reply(1.0),
        ]
    )
    assert retried(script, base_delay_s=1.0).run([A]) == [Reply(1.0)]
    assert slept[0] == 7.0
    assert 1.0 <= slept[1] <= 2.0  # the second pause: 1 s doubled, times 0.5 to 1


@pytest.mark.parametrize("bad", [{"attempts": 0}, {"base_delay_s": -1}, {"max_delay_s": -1}])
def test_bad_retry_settings_are_refused(bad):
    with pytest.raises(InputError):
        retried(Oracle(), **bad)


def test_tracing_with_opentelemetry_counts_tokens_and_holds_no_texts():
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    backend = traced(Failing(when=lambda call: call == B), provider.get_tracer("test"))
    backend.run([A, B])
    asyncio.run(backend.arun([A]))
    first, second = exporter.get_finished_spans()
    assert first.name == "rerank.batch"
    assert dict(first.attributes) == {
        "rerank.calls": 2,
        "rerank.kinds": ("ScorePair",),
        "gen_ai.usage.input_tokens": 2,
        "gen_ai.usage.output_tokens": 0,
        "rerank.failed_calls": 1,
    }
    assert second.attributes["rerank.calls"] == 1


def test_layers_nest_and_pass_on_the_lifecycle():
    events = []

    class Model(Oracle):
        def warm_up(self):
            events.append("warm")

        def close(self):
            events.append("close")

    layered = cached(retried(Model()))
    assert layered.kinds == Oracle.kinds
    layered.warm_up()
    layered.close()
    assert events == ["warm", "close"]
    assert repr(layered).startswith("Layer(Layer(")
    cached(Scripted([])).warm_up()
    cached(Scripted([])).close()
    assert cached(Scripted([])).run([]) == []


@pytest.mark.parametrize(("asked", "slept"), [(60.0, [60.0]), (60.1, []), (86_400.0, [])])
def test_a_pause_of_more_than_a_minute_is_not_waited_for(monkeypatch, asked, slept):
    pauses = []
    monkeypatch.setattr("rerank_plugins.middleware._layers.time.sleep", pauses.append)
    busy = BackendError("429", retryable=True, retry_after_s=asked)
    [reply] = retried(Scripted([busy, Reply(1.0)])).run([A])
    assert reply == (Reply(1.0) if slept else busy)
    assert pauses == slept


def test_tokens_of_failed_attempts_are_counted():
    """By a retry and by another backend, and once for equal calls behind a cache."""

    def unreadable():
        return BackendError("no text", retryable=True, prompt_tokens=7, generated_tokens=2)

    class Once:
        def __init__(self):
            self.replies = [unreadable(), Reply(0.5, 3, 1)]

        def run(self, calls):
            return [self.replies.pop(0) for _ in calls]

    class Working:
        def run(self, calls):
            return [Reply(0.5, 3, 1) for _ in calls]

    [reply] = retried(Once(), base_delay_s=0).run([A])
    assert reply == Reply(0.5, 10, 3)
    [reply] = Balanced([Failing(unreadable), Working()]).run([A])
    assert reply == Reply(0.5, 10, 3)
    first, second = cached(Failing(unreadable)).run([A, A])
    assert (first.prompt_tokens, first.generated_tokens) == (7, 2)
    assert (second.prompt_tokens, second.generated_tokens) == (0, 0)
