"""Text that a model writes: the end of an answer, and log-probabilities."""

import math

import pytest
import tiny_models

from rerank_plugins.backends._local.forward import Forward
from rerank_plugins.backends._local.generation import Text, generate
from rerank_plugins.backends._prompts.renderer import Encoded
from rerank_plugins.calls import Generate, Message, Prompt, WrittenOrder

PROMPT = Prompt((Message("user", ("?",)),))


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_models.characters()


def text(tokenizer, ids=(4, 5), ends=(2,), **options):
    return Text(
        Encoded("", list(ids)), Generate(PROMPT, **{"max_tokens": 4, **options}), tokenizer, ends
    )


def ids(tokenizer, written):
    return tokenizer(written, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize(
    ("written", "options", "answer", "reason", "generated"),
    [
        ("abcd", {}, "abcd", "length", 4),
        ("ab</s>c", {}, "ab", "stop", 3),  # what is decoded after the end is padding
        ("abcd", {"stop": ("c",)}, "ab", "stop", 3),  # and after a stop string too
        ("abcd", {"stop": ("d", "b")}, "a", "stop", 2),
        ("abcd", {"stop": ("bc", "abcd")}, "", "stop", 3),
        ("ab</s>", {"stop": ("b",)}, "a", "stop", 2),
        ("abc", {}, "abc", "stop", 3),
    ],
)
def test_an_answer_ends_at_its_end(tokenizer, written, options, answer, reason, generated):
    reply = text(tokenizer, **options).reply((ids(tokenizer, written), []))
    assert (reply.answer.text, reply.answer.finish_reason) == (answer, reason)
    assert (reply.prompt_tokens, reply.generated_tokens) == (2, generated)
    assert reply.answer.tokens == ()


def test_each_token_has_its_log_probability(tokenizer):
    import torch

    [a] = ids(tokenizer, "a")
    logits = torch.full((len(tokenizer),), -math.inf)
    logits[a], logits[a + 1] = math.log(3.0), 0.0
    reply = text(tokenizer, logprobs=True).reply(([a], [logits]))
    assert reply.answer.tokens == (("a", pytest.approx(math.log(0.75))),)


def test_padding_after_a_stop_string_has_no_log_probabilities(tokenizer):
    import torch

    a, b, pad = ids(tokenizer, "ab~")
    step = torch.zeros(len(tokenizer))
    asked = text(tokenizer, logprobs=True, stop=("b",), max_tokens=5)
    reply = asked.reply(([a, b, pad, pad, pad], [step] * 5))
    assert (reply.answer.text, reply.generated_tokens) == ("a", 2)
    assert [token for token, _ in reply.answer.tokens] == ["a", "b"]


def test_greedy_calls_run_together_whatever_their_seeds(tokenizer):
    greedy = text(tokenizer, seed=1)
    assert greedy.settings == text(tokenizer, seed=2, top_p=0.5).settings
    assert greedy.settings != text(tokenizer, stop=("a",)).settings
    assert greedy.settings != text(tokenizer, max_tokens=5).settings
    sampled = text(tokenizer, temperature=1.0, seed=1)
    assert sampled.settings != text(tokenizer, temperature=1.0, seed=2).settings


def test_greedy_decoding_takes_the_likeliest_token_each_time(tokenizer):
    import torch

    model = tiny_models.llama(len(tokenizer), initializer_range=0.6)
    forward = Forward(model, pad_id=tokenizer.pad_token_id)
    asked = [text(tokenizer, ids=row, ends=(), logprobs=True) for row in ([4, 5, 6], [7])]
    with torch.inference_mode():
        found = generate(forward, asked)
        for question, (written, logits) in zip(asked, found, strict=True):
            row = list(question.ids)
            for token, step in zip(written, logits, strict=True):
                expected = forward.logits([row], keep=1)[0, -1]
                assert torch.allclose(step, expected, atol=1e-4)
                assert token == int(expected.argmax())
                row.append(token)
            assert len(written) == 4


def test_each_row_of_a_batch_ends_when_its_order_is_complete(tokenizer):
    import torch

    script = [ids(tokenizer, written) for written in ("[2]>[1]>[3]", "[3]>[4]>[1]", "no [1]>[2] ")]
    model = tiny_models.llama(len(tokenizer))
    forward, steps = Forward(model, pad_id=tokenizer.pad_token_id), iter(range(99))

    def written(_module, _inputs, output):
        step = next(steps)
        for row, tokens in enumerate(script):
            output.logits[row, -1, tokens[step]] = 99.0

    model.register_forward_hook(written)
    orders = [WrittenOrder(("1", "2"), 2), WrittenOrder(("1", "4"), 1), WrittenOrder(("1",), 1)]
    asked = [text(tokenizer, ids=[4], ends=(), until=order, max_tokens=11) for order in orders]
    with torch.inference_mode():
        found = generate(forward, asked)
    replies = [question.reply(output) for question, output in zip(asked, found, strict=True)]
    assert [reply.answer.text for reply in replies] == ["[2]>[1]", "[3]>[4]", "no [1]>[2] "]
    assert [reply.answer.finish_reason for reply in replies] == ["stop", "stop", "length"]
    assert [reply.generated_tokens for reply in replies] == [7, 7, 11]
