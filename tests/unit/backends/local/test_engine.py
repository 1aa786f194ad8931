"""Batches of calls to a loaded model."""

import pytest
import tiny_models

from rerank_plugins import InputError, ModelOutputError, PromptTooLongError
from rerank_plugins.backends._local.engine import Engine
from rerank_plugins.backends._prompts.renderer import Renderer
from rerank_plugins.calls import (
    Attend,
    Generate,
    Likelihood,
    Message,
    NextToken,
    Prompt,
    Reply,
    Untrusted,
)


@pytest.fixture(scope="module")
def renderer():
    return Renderer(tiny_models.characters())


@pytest.fixture
def model(renderer):
    size = len(renderer.tokenizer)
    return tiny_models.llama(
        size, tokenizer=renderer.tokenizer, max_position_embeddings=200, initializer_range=0.6
    )


def prompt(text):
    return Prompt((Message("user", (Untrusted(text),)),), chat=False)


def asked(*texts):
    return [NextToken(prompt(text), ("A", "B")) for text in texts]


def counted(model, monkeypatch):
    """The shape of what each forward pass reads."""
    shapes, forward = [], model.forward

    def noted(*args, **kwargs):
        shapes.append(tuple(kwargs["input_ids"].shape))
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", noted)
    return shapes


def test_the_context_is_the_smallest_of_the_limits(model, renderer):
    assert Engine(model, renderer, None, None).context == 200
    assert Engine(model, renderer, 50, None).context == 50
    with pytest.raises(InputError, match="context_tokens is 201, and the model reads 200 tokens"):
        Engine(model, renderer, 201, None)


def test_a_prompt_that_does_not_fit_is_an_error_in_its_place(model, renderer):
    engine = Engine(model, renderer, 10, None)
    fits, too_long = engine.ask(asked("a" * 9, "a" * 12))  # and one token for the answer
    assert isinstance(fits, Reply)
    assert isinstance(too_long, PromptTooLongError)
    assert too_long.excess_tokens == 3
    whole, over = engine.ask([Likelihood(prompt("a" * 5), Untrusted("b" * n)) for n in (5, 6)])
    assert isinstance(whole, Reply)
    assert over.excess_tokens == 1
    room, none = engine.write([Generate(prompt("a" * 6), n) for n in (4, 6)])
    assert isinstance(room, Reply)
    assert none.excess_tokens == 2


def test_no_calls_cost_no_pass(model, renderer, monkeypatch):
    shapes = counted(model, monkeypatch)
    engine = Engine(model, renderer, None, None)
    assert engine.ask([]) == engine.write([]) == []
    assert shapes == []


def test_on_a_cpu_prompts_that_share_nothing_run_alone(model, renderer, monkeypatch):
    shapes = counted(model, monkeypatch)
    Engine(model, renderer, None, None).ask(asked("abc", "defgh"))
    assert shapes == [(1, 5), (1, 3)]


def test_prompts_run_together_within_the_budget(model, renderer, monkeypatch):
    shapes = counted(model, monkeypatch)
    Engine(model, renderer, None, 12).ask(asked("abcd", "efgh", "ijkl", "mnop"))
    assert shapes == [(3, 4), (1, 4)]


def test_a_shared_beginning_is_computed_once(model, renderer, monkeypatch):
    engine = Engine(model, renderer, None, None)
    texts = [f"{'x' * 40}{end}" for end in ("abc", "de")]
    expected = Engine(model, renderer, None, None, share_prefix=False).ask(asked(*texts))
    engine.ask(asked(*texts))  # with the trial
    shapes = counted(model, monkeypatch)
    replies = engine.ask(asked(*texts))
    assert shapes == [(1, 40), (2, 3)]
    for ours, theirs in zip(replies, expected, strict=True):
        assert ours.answer.seen == pytest.approx(theirs.answer.seen, abs=1e-4)
        assert ours.prompt_tokens == theirs.prompt_tokens


def test_logits_are_freed_before_the_next_pass(model, renderer, monkeypatch):
    from torch.multiprocessing.reductions import StorageWeakRef

    engine = Engine(model, renderer, None, 6)
    plain, returned, alive = engine.forward.logits, [], []

    def logits(*arguments):
        alive.append(sum(not reference.expired() for reference in returned))
        found = plain(*arguments)
        returned.append(StorageWeakRef(found.untyped_storage()))
        return found

    monkeypatch.setattr(engine.forward, "logits", logits)
    engine.ask(asked("abc", "def", "ghi", "jkl", "mno"))
    assert alive == [0, 0, 0]


def test_texts_with_other_settings_run_in_turn(model, renderer, monkeypatch):
    engine = Engine(model, renderer, None, 100)
    calls = [Generate(prompt("ab"), 1), Generate(prompt("cd"), 1, stop=("x",))]
    alone = [engine.write([call])[0] for call in calls]
    shapes = counted(model, monkeypatch)
    assert engine.write(calls) == alone
    assert shapes == [(1, 2), (1, 2)]
    shapes.clear()
    engine.write([Generate(prompt("ab"), 1), Generate(prompt("cd"), 1)])
    assert shapes == [(2, 2)]


def test_one_bad_number_costs_one_call(model, renderer):
    import torch

    with torch.no_grad():
        model.model.embed_tokens.weight[renderer.tokenizer("z")["input_ids"][0]] = torch.nan
    good, bad = Engine(model, renderer, None, 100).ask(asked("ab", "az"))
    assert isinstance(good, Reply)
    assert isinstance(bad, ModelOutputError)


def test_each_kind_of_call_has_its_function(model, renderer):
    engine = Engine(model, renderer, None, None)
    assert set(engine.table) == {NextToken, Likelihood, Generate, Attend}


@pytest.mark.parametrize("shared", [True, False])
def test_prompts_of_one_length_run_together_where_a_model_reads_padding(
    model, renderer, monkeypatch, shared
):
    """Recurrent models, played by a Llama that is given no mask."""
    forward = model.forward

    def unmasked(*args, attention_mask=None, position_ids=None, **kwargs):
        return forward(*args, **kwargs)

    calls = asked("a", "bc", "d", "ef", "ghi")
    alone = [Engine(model, renderer, None, None).ask([call])[0] for call in calls]
    monkeypatch.setattr(model, "forward", unmasked)
    engine = Engine(model, renderer, None, 4096, shared)
    assert not engine._pads
    shapes = counted(model, monkeypatch)
    for reply, right in zip(engine.ask(calls), alone, strict=True):
        assert reply.answer.seen == pytest.approx(right.answer.seen, abs=1e-4)
    assert sorted(shapes) == [(1, 3), (2, 1), (2, 2)]


def test_prompts_of_all_lengths_run_together_where_padding_changes_nothing(
    model, renderer, monkeypatch
):
    engine = Engine(model, renderer, None, 4096)
    assert engine._pads
    shapes = counted(model, monkeypatch)
    engine.ask(asked("a", "bc", "ghi"))
    assert shapes == [(3, 3)]
