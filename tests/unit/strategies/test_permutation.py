"""Permutations written by a model, and those built identifier by identifier."""

import math
import random
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import InputError, ModelOutputError, Reranker
from rerank_plugins.backends._answers.orders import OrderReader
from rerank_plugins.calls import Completion, LabelLogprobs, Reply, text_of
from rerank_plugins.plans import run
from rerank_plugins.ranking import Report
from rerank_plugins.strategies import ConstrainedPermutation, Permutation, SlidingWindow
from rerank_plugins.testing import Oracle, Scripted

STREAMS = 10_000


class RandomLogits:
    """Random log-probabilities that depend on the beginning of the answer alone."""

    def __init__(self, seed, n):
        self.seed, self.n = seed, n

    def logprobs(self, begun):
        source = random.Random(f"{self.seed}\0{begun}")
        return {name: source.gauss(0, 3) for name in map(chr, range(65, 65 + self.n))}

    def run(self, calls):
        replies = []
        for call in calls:
            all_of_it = self.logprobs(text_of(call.prompt.prefill))
            replies.append(Reply(LabelLogprobs({label: all_of_it[label] for label in call.labels})))
        return replies

    def greedy(self):
        """The order that an unconstrained model would write; None if it repeats itself."""
        begun, order = "[", []
        while len(order) < self.n:
            logprobs = self.logprobs(begun)
            best = max(logprobs, key=lambda name: logprobs[name])
            if best in order:
                return None
            order.append(best)
            begun += best + "] > ["
        return order


def test_ten_thousand_random_streams_are_permutations_and_greedy_where_that_is_one():
    valid = 0
    for seed in range(STREAMS):
        n = 2 + seed % 7
        model = RandomLogits(seed, n)
        ranking = run(ConstrainedPermutation(prompt="first.v1").rank("q", ["p"] * n), model.run)
        assert sorted(ranking.order) == list(range(n))
        greedy = model.greedy()
        if greedy is not None:
            valid += 1
            assert [chr(65 + i) for i in ranking.order] == greedy
    assert valid > STREAMS / 20  # else the second half was hardly tested


def test_each_step_asks_for_what_is_left():
    oracle = Oracle(key=lambda query, passage: float(passage))
    ranking = Reranker(ConstrainedPermutation(), oracle).rank("q", ["1", "3", "2"])
    assert ranking.order == (1, 2, 0)
    assert [(text_of(c.prompt.prefill), c.labels) for c in oracle.asked] == [
        ("[", ("A", "B", "C")),
        ("[B] > [", ("A", "C")),
    ]


@pytest.mark.parametrize("prompt", ["rankzephyr.v1", "rankllm-letters.v1"])
@pytest.mark.parametrize("n", [2, 12, 20])
def test_the_longest_answer_is_a_whole_order_in_the_smallest_usual_tokens(prompt, n):
    names = string.ascii_uppercase if "letters" in prompt else range(1, n + 1)
    order = " > ".join(f"[{name}]" for name, _ in zip(names, range(n), strict=False))
    script = Scripted([order])
    Reranker(Permutation(prompt=prompt), script).rank("q", ["a"] * n)
    assert script.asked[0].max_tokens == len(re.findall(r" >| ?\[|\w|\]", order))


def test_letters_are_too_few_for_a_constrained_hundred():
    with pytest.raises(InputError, match="26 identifiers"):
        Reranker(ConstrainedPermutation(prompt="first.v1"), Oracle()).rank("q", ["p"] * 27)


def test_probabilities_that_are_no_numbers_are_an_error():
    script = Scripted([LabelLogprobs({"A": math.nan, "B": 0.0})])
    with pytest.raises(ModelOutputError):
        Reranker(ConstrainedPermutation(), script).rank("q", ["a", "b"])


@pytest.mark.parametrize(
    ("answer", "order", "report"),
    [
        (Completion("[3] > [1] > [2]"), (2, 0, 1), {}),
        (Completion("[3] > [3] > [9] > [1]"), (2, 0, 1), {"duplicates": 1, "out_of_range": 1}),
        (Completion("no idea"), (0, 1, 2), {"malformed": 1}),
        (Completion("[3] > [", "length"), (2, 0, 1), {"cut_answers": 1}),
        (Completion("[3] > [1] > [2]\n", "length"), (2, 0, 1), {}),  # nothing is missing
        # What follows a whole order is not read: some backends do not let it be written.
        (Completion("[3] > [1] > [2] > [4] > [3]"), (2, 0, 1), {}),
        (Completion("[3] > [1] > [2]\nOr rather: [1] > [2] > [3]"), (2, 0, 1), {}),
        (Completion("[3] > [1] > [2] it is?</think>[1] > [2] > [3]"), (0, 1, 2), {}),
    ],
)
def test_a_written_answer_is_read_and_its_repairs_are_counted(answer, order, report):
    ranking = Reranker(Permutation(), Scripted([answer])).rank("q", ["a", "b", "c"])
    assert ranking.order == order
    counts = ("duplicates", "out_of_range", "malformed", "cut_answers")
    assert {n: getattr(ranking.report, n) for n in counts if getattr(ranking.report, n)} == report


def test_refused_settings():
    for wrong in (
        {"prompt": "full-list-tokens.v1"},
        {"top_m": 0},
        {"max_tokens": 0},
        {"allow_none": "yes"},
    ):
        with pytest.raises(InputError):
            Permutation(**wrong)


@pytest.mark.parametrize("answer", ["none", "[]", "None of the 3 passages is relevant."])
def test_a_model_may_say_that_none_is_relevant(answer):
    passages = ["a", "b", "c"]
    ranking = Reranker(Permutation(allow_none=True), Scripted([answer])).rank("q", passages)
    assert ranking.order == (0, 1, 2)
    assert ranking.report == Report(irrelevant=frozenset({0, 1, 2}))
    assert not ranking.report.fallback
    # Without the option, as before.
    ranking = Reranker(Permutation(), Scripted([answer])).rank("q", passages)
    assert ranking.report == Report(malformed=1)


def test_a_cut_answer_does_not_say_none():
    cut = Scripted([Completion("None", "length")])
    report = Reranker(Permutation(allow_none=True), cut).rank("q", ["a", "b"]).report
    assert (report.malformed, report.cut_answers, report.irrelevant) == (1, 1, frozenset())


def test_the_last_window_of_a_passage_decides():
    """Windows 2-3, 1-2, 0-1: the first says none, the second names what came from it."""
    strategy = SlidingWindow(Permutation(allow_none=True), size=2, stride=1)
    script = Scripted(["none", "[2] > [1]", "none"])
    ranking = Reranker(strategy, script).rank("q", ["a", "b", "c", "d"])
    assert ranking.order == (0, 2, 1, 3)
    assert ranking.report.irrelevant == {0, 2, 3}


class Reading(Scripted):
    """Writes what it is given token by token, and ends an answer as soon as it may."""

    def run(self, calls):
        replies = []
        for call, reply in zip(calls, super().run(calls), strict=True):
            reader, text, stop = OrderReader.of(call, ""), reply.answer.text, 1
            while stop < len(text) and not reader.complete(stop, text[:stop].__str__):
                stop += 1
            replies.append(Reply(Completion(text[:stop])))
        return replies


BITS = ["[1]", "[2]", "[3]", "[9]", " > ", ">", "\n", "[", "2]", "no", "<think>[1]</think>", "."]


@given(st.lists(st.sampled_from(BITS), max_size=14), st.sampled_from([None, 1, 2]))
def test_ending_an_answer_early_does_not_change_the_order(bits, top_m):
    answer = "".join(bits)
    whole, early = (
        Reranker(Permutation(top_m=top_m), model([answer])).rank("q", ["a", "b", "c"])
        for model in (Scripted, Reading)
    )
    assert (early.order, early.report) == (whole.order, whole.report)


@given(st.permutations(["[1]", "[2]", "[3]"]), st.text(max_size=30))
def test_a_whole_order_is_the_order_whatever_follows(names, rest):
    answer = " > ".join(names) + " " + rest
    ranking = Reranker(Permutation(), Reading([answer])).rank("q", ["a", "b", "c"])
    assert ranking.order == tuple(int(name[1]) - 1 for name in names)
    assert ranking.report == Report()


def test_a_prompt_with_reasoning_waits_for_the_end():
    model = Scripted(["<answer>[1] > [2]</answer>"])
    Reranker(Permutation(prompt="reasonrank.v1"), model).rank("q", ["a", "b"])
    assert model.asked[0].until is None
