"""Labels in the reports of servers and of clients."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import LogprobsError
from rerank_plugins.backends._answers.logprobs import Position, read_labels, read_positions

TOP = [("B", -0.2), ("A", -1.5)]


def entries(pairs=TOP):
    return [{"token": token, "logprob": value, "bytes": None} for token, value in pairs]


def position(token="B", pairs=TOP):
    return {"token": token, "logprob": -0.2, "bytes": None, "top_logprobs": entries(pairs)}


def dumped(value):
    return SimpleNamespace(model_dump=lambda: value)


EXPECTED = (Position("[", (("[", -0.2),)), Position("B", tuple(TOP)))


BRACKET = {"token": "[", "logprob": -0.2, "top_logprobs": []}


@pytest.mark.parametrize(
    "report",
    [
        {"content": [BRACKET, position()], "refusal": None},
        dumped({"content": [BRACKET, position()]}),
        {"content": [dumped(BRACKET), dumped(position())]},
        [BRACKET, position()],
        [{"content": [BRACKET]}, {"content": [position()]}],  # as a stream
        [[BRACKET, position()]],  # the Responses API
        [[{"token": "[", "logprob": -0.2}], entries()],  # LlamaIndex
        [[dumped({"token": "[", "logprob": -0.2})], [dumped(e) for e in entries()]],
        {
            "tokens": ["[", "B"],
            "token_logprobs": [-0.2, -0.2],
            "top_logprobs": [{"[": -0.2}, dict(TOP)],
        },
    ],
)
def test_every_shape_of_a_report(report):
    assert read_positions(report) == EXPECTED
    assert read_labels(read_positions(report), ["A", "B"], before="[").seen == dict(TOP)


@pytest.mark.parametrize(
    "report",
    [
        None,
        {},
        [],
        "B",
        3,
        {"content": None},
        {"content": "B"},
        [None],
        [[]],
        [["B"]],
        [{"token": 3}],
    ],
)
def test_what_has_no_known_shape_reports_nothing(report):
    assert read_positions(report) == ()


def test_tokens_without_alternatives_are_not_alternatives_to_one_another():
    report = {"content": [{"token": t, "logprob": -0.1} for t in ("[", "A", "] > [", "B")]}
    assert read_labels(read_positions(report), ["A", "B"], before="[").seen == {"A": -0.1}


@pytest.mark.parametrize(
    ("tokens", "before"),
    [
        (["B"], "["),  # the answer begins with the label
        (["[B"], "["),
        (["\n", "[", "B"], "["),
        (["\n\n", " B"], ""),
        (["<think>", "\n\n", "</think>", "\n\n", "B"], "<think>\n\n</think>\n\n"),
    ],
)
def test_where_the_first_label_stands(tokens, before):
    *others, last = tokens
    top = tuple((last.replace("B", name), value) for name, value in TOP)
    positions = [*(Position(t, ((t, -0.1),)) for t in others), Position(last, top)]
    assert read_labels(positions, ["A", "B"], before).seen == dict(TOP)


@pytest.mark.parametrize(
    ("tokens", "before"),
    [
        (["Sure", "B"], "["),
        (["[B] > ", "B"], "[C] > ["),
        (["<think>", "B"], "<think></think>"),  # inside what was to come before it
    ],
)
def test_a_label_that_stands_elsewhere_is_not_the_first(tokens, before):
    with pytest.raises(LogprobsError, match="no first label"):
        read_labels([Position(t, tuple(TOP)) for t in tokens], ["A", "B"], before)


LOGPROBS = st.floats(-30, -1e-3).map(lambda x: round(x, 3))
TOKENS = [*"ABCDEFGH", *[" A", " B", " C", "▁A", "▁D", "ĠE", "AA", "[", "The", ","]]


@given(
    st.lists(LOGPROBS, min_size=len(TOKENS), max_size=len(TOKENS)),
    st.integers(2, 8),
    st.sampled_from((1, 5, 20)),
)
def test_what_is_read_of_a_capped_report_is_the_full_distributions(values, n, k):
    """Several tokens may spell a label: the likeliest counts, with and without a cap."""
    vocabulary = dict(zip(TOKENS, values, strict=True))
    labels = TOKENS[:n]
    full = {
        label: max(x for token, x in vocabulary.items() if token.lstrip(" ▁Ġ") == label)
        for label in labels
    }
    top = sorted(vocabulary.items(), key=lambda pair: -pair[1])[:k]
    found = read_labels([Position(top[0][0], tuple(top))], labels)
    assert found.seen == {x: full[x] for x in found.seen}
    assert found.floor == top[-1][1]
    assert all(full[label] <= found.floor for label in set(labels) - set(found.seen))
    assert all(value >= found.floor for value in found.seen.values())
    if k >= len(TOKENS):
        assert found.seen == full
