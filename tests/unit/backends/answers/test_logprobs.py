"""Labels in the reports of servers and of clients."""

import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import CallError, LogprobsError, ModelOutputError
from rerank_plugins.backends._answers.logprobs import (
    Position,
    read_label_ids,
    read_labels,
    read_positions,
)

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
    total = math.log(math.fsum(map(math.exp, values)) + 0.01)  # 0.01 for tokens beside these
    vocabulary = {token: x - total for token, x in zip(TOKENS, values, strict=True)}
    labels = TOKENS[:n]
    full = {
        label: max(x for token, x in vocabulary.items() if token.lstrip(" ▁Ġ") == label)
        for label in labels
    }
    top = sorted(vocabulary.items(), key=lambda pair: -pair[1])[:k]
    found = read_labels([Position(top[0][0], tuple(top))], labels)
    assert found.seen == {x: full[x] for x in found.seen}
    left = 1 - math.fsum(math.exp(x) for _, x in top)
    assert found.floor == pytest.approx(min(top[-1][1], math.log(left)))
    assert all(full[label] <= found.floor + 1e-9 for label in set(labels) - set(found.seen))
    assert all(value >= found.floor - 1e-9 for value in found.seen.values())
    if k >= len(TOKENS):
        assert found.seen == full


@pytest.mark.parametrize(
    ("values", "floor"),
    [
        ([-0.01], math.log1p(-math.exp(-0.01))),
        ([-2.0], -2.0),  # the lowest value is the better bound
        ([math.log(0.5), math.log(0.3)], math.log(0.2)),
        ([0.0], math.log(2**-24)),  # nothing is left that float32 resolves
        ([math.log(0.6), math.log(0.7)], math.log(0.6)),  # no probabilities of one position
    ],
)
def test_an_unreported_label_has_no_more_than_is_left(values, floor):
    top = tuple((f"w{i}", value) for i, value in enumerate(values))
    assert read_labels([Position("w0", top)], ["A", "B"]).floor == pytest.approx(floor)
    by_id = dict(enumerate(values))
    found = read_label_ids(by_id, {"A": 0, "B": 99}, exact=False)
    assert found.seen == {"A": values[0]}
    assert found.floor == pytest.approx(floor)


def test_a_sure_no_is_below_an_unsure_yes():
    def margin(*top):
        found = read_labels([Position(top[0][0], top)], ["Yes", "No"])
        return found.seen.get("Yes", found.floor) - found.seen.get("No", found.floor)

    unsure = margin(("Yes", -0.4), ("No", -1.1))
    assert margin(("Yes", -0.01)) > unsure > margin(("No", -0.01))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["content", "tokens", "top_logprobs", "token", "logprob"]), inner
        )
    ),
)


@given(JSON | JSON.map(lambda x: {"content": [x]}))
def test_any_report_is_read_or_refused(report):
    positions = read_positions(report)
    try:
        found = read_labels(positions, ["A", "B"])
    except CallError:
        return
    assert all(value <= 0 for value in [*found.seen.values(), found.floor])


@pytest.mark.parametrize("depth", [10, 600, 5000])
def test_lists_inside_one_another(depth):
    report = {"token": "A", "logprob": -1}
    for _ in range(depth):
        report = [report]
    assert read_positions({"content": report}) == ()


@pytest.mark.parametrize("value", [10**400, -(10**400), math.nan, math.inf, "-1", True, None, []])
def test_what_is_no_number(value):
    with pytest.raises(ModelOutputError):
        read_labels([Position("A", (("A", value),))], ["A"])
    with pytest.raises(ModelOutputError):
        read_label_ids({1: value}, {"A": 1}, exact=True)
