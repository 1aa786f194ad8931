"""Orders that end an answer, read while they are written."""

import pytest

from rerank_plugins.backends._answers.orders import OrderReader
from rerank_plugins.calls import Generate, Message, Prompt, WrittenOrder

ORDER = WrittenOrder(("1", "2", "3"), 3)


def ended(tokens, reader):
    """After how many tokens the reader ends the answer, and how often it looked at the text."""
    looks = 0

    def text():
        nonlocal looks
        looks += 1
        return "".join(tokens[:count])

    for count in range(1, len(tokens) + 1):
        if reader.complete(count, text):
            return count, looks
    return None, looks


def test_an_answer_ends_with_the_last_name():
    tokens = ["[", "2", "]", " > ", "[", "1", "]", " > ", "[", "3", "]", "\n", "Because", " ..."]
    assert ended(tokens, OrderReader(ORDER))[0] == 11
    assert ended(tokens[1:], OrderReader(ORDER, "["))[0] == 10


@pytest.mark.parametrize(
    "text",
    [
        "<think>[1] > [2] > [3]</think> [3] > [2] > [1]",
        "The passages [1] > [2] > [3] are",
        "[1] > [2], then [3] > [1]",
        "[1] > [2] > [2] > [4]",
        "",
    ],
)
def test_anything_else_is_written_to_its_end(text):
    assert ended(list(text), OrderReader(ORDER))[0] is None


def test_a_long_order_is_looked_at_seldom_and_prose_once():
    names = tuple(map(str, range(1, 101)))
    tokens = [t for name in names for t in ("[", name, "]", " > ")]
    count, looks = ended(tokens, OrderReader(WrittenOrder(names, 100)))
    assert count == 399
    assert looks < 30
    assert ended(["word "] * 400, OrderReader(WrittenOrder(names, 100))) == (None, 1)


def test_a_prompt_that_opens_reasoning_is_not_waited_for():
    call = Generate(Prompt((Message("user", ("?",)),), prefill="["), 9, until=ORDER)
    assert OrderReader.of(call, "<user>?<assistant><think>\n") is None
    assert OrderReader.of(call, "<user><think><assistant>[").complete(3, lambda: "1] > [2] > [3]")
    assert OrderReader.of(Generate(call.prompt, 9), "<user>?") is None
