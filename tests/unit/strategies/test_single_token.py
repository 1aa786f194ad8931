"""Orders from one token, also where a server caps the log-probabilities that it reports."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import BackendError, InputError, LogprobsError, Reranker
from rerank_plugins.calls import Completion, Generate, LabelLogprobs, NextToken, Reply, Untrusted
from rerank_plugins.plans import ask_each, gather, run
from rerank_plugins.strategies import KeepOrder, SingleToken, SlidingWindow

LOGPROBS = st.floats(-30, -1e-3).map(lambda x: round(x, 3))


def shown(call):
    return [p.text for p in call.prompt.untrusted if isinstance(p, Untrusted) and p.kind != "query"]


class Capped:
    """A model whose log-probability of a passage is ``relevance``, behind a cap of ``k`` tokens.

    ``others`` are the log-probabilities of tokens that are no identifiers: they take places in the
    report too.
    """

    def __init__(self, relevance, k, others=()):
        self.relevance, self.k, self.others = relevance, k, others
        self.asked = []

    def run(self, calls):
        self.asked += calls
        return [self.answer(call) for call in calls]

    def answer(self, call):
        values = [self.relevance[text] for text in shown(call)]
        if isinstance(call, Generate):
            order = sorted(range(len(values)), key=lambda i: -values[i])
            return Reply(Completion(" > ".join(f"[{chr(65 + i)}]" for i in order)[1:]))
        assert isinstance(call, NextToken)
        tokens = [*zip(call.labels, values, strict=True), *((None, x) for x in self.others)]
        reported = sorted(tokens, key=lambda token: -token[1])[: self.k]
        seen = {label: value for label, value in reported if label is not None}
        return Reply(LabelLogprobs(seen, floor=reported[-1][1]))


def texts(n):
    return [f"passage number {i}" for i in range(n)]


@given(st.lists(LOGPROBS, min_size=2, max_size=26), st.lists(LOGPROBS, max_size=30), st.data())
def test_what_is_reported_is_in_its_exact_order_and_first(values, others, data):
    k = data.draw(st.sampled_from((1, 5, 20)))
    passages = texts(len(values))
    relevance = dict(zip(passages, values, strict=True))
    backend = Capped(relevance, k, others)
    strategy = SingleToken()
    if not backend.answer(next_token(strategy, passages)).answer.seen:
        with pytest.raises(LogprobsError):
            Reranker(strategy, backend).rank("q", passages)
        return
    ranking = Reranker(strategy, backend).rank("q", passages)
    reported = len(values) - ranking.report.unseen_labels
    ordered = [values[i] for i in ranking.order]
    head, tail = ordered[:reported], ordered[reported:]
    assert head == sorted(values, reverse=True)[:reported]  # the same as without a cap
    assert all(x <= head[-1] for x in tail)
    assert list(ranking.order[reported:]) == sorted(ranking.order[reported:])  # the input's order
    assert list(ranking.scores[:reported]) == head
    assert len(set(ranking.scores[reported:])) <= 1


def next_token(strategy, passages):
    return next(strategy.rank("q", passages))[0]


@given(st.lists(LOGPROBS, min_size=2, max_size=26, unique=True), st.sampled_from((1, 5, 20)))
def test_asking_again_gives_the_whole_order(values, k):
    passages = texts(len(values))
    backend = Capped(dict(zip(passages, values, strict=True)), k)
    ranking = Reranker(SingleToken(policy="ask_again"), backend).rank("q", passages)
    assert [values[i] for i in ranking.order] == sorted(values, reverse=True)
    assert len(backend.asked) <= -(-len(values) // k)


@given(
    st.lists(LOGPROBS, min_size=2, max_size=26, unique=True),
    st.lists(LOGPROBS, max_size=30),
    st.sampled_from((1, 5, 20)),
)
def test_asking_again_among_other_tokens_is_exact_or_says_where_it_ended(values, others, k):
    passages = texts(len(values))
    backend = Capped(dict(zip(passages, values, strict=True)), k, others)
    reported = len(backend.answer(next_token(SingleToken(), passages)).answer.seen)
    if not reported:
        return  # an error: see above
    ranking = Reranker(SingleToken(policy="ask_again"), backend).rank("q", passages)
    ordered, exact = [values[i] for i in ranking.order], sorted(values, reverse=True)
    if ranking.report.fallbacks:  # other tokens took all places at last
        assert sum(x >= exact[-1] for x in others) >= k
        assert ordered[:reported] == exact[:reported]
        assert sorted(ordered) == sorted(values)
    else:
        assert ordered == exact


@given(st.lists(LOGPROBS, min_size=2, max_size=26, unique=True), st.sampled_from((1, 5, 20)))
def test_generating_gives_the_whole_order_in_two_calls(values, k):
    passages = texts(len(values))
    backend = Capped(dict(zip(passages, values, strict=True)), k)
    ranking = Reranker(SingleToken(policy="generate"), backend).rank("q", passages)
    assert [values[i] for i in ranking.order] == sorted(values, reverse=True)
    assert ranking.report.written_orders == (len(values) - k > 1)
    assert len(backend.asked) <= 2


def test_in_windows_too():
    passages = texts(45)
    relevance = {text: -1.0 - (i * 7 % 45) for i, text in enumerate(passages)}
    for policy in ("ask_again", "generate"):
        strategy = SlidingWindow(inner=SingleToken(policy=policy))
        capped = Reranker(strategy, Capped(relevance, 5)).rank("q", passages)
        assert capped.order == Reranker(strategy, Capped(relevance, 99)).rank("q", passages).order


class NoLogprobs(Capped):
    def answer(self, call):
        if isinstance(call, NextToken):
            return LogprobsError("this server reports no log-probabilities")
        return super().answer(call)


def test_a_server_without_log_probabilities():
    passages = texts(5)
    relevance = {text: float(-abs(i - 3)) for i, text in enumerate(passages)}
    for policy in ("keep_order", "ask_again"):
        with pytest.raises(LogprobsError, match="no log-probabilities"):
            Reranker(SingleToken(policy=policy), NoLogprobs(relevance, 0)).rank("q", passages)
    ranking = Reranker(SingleToken(policy="generate"), NoLogprobs(relevance, 0)).rank("q", passages)
    assert ranking.order == (3, 2, 4, 1, 0)
    assert ranking.score_kind == "rank"
    assert ranking.report.written_orders == 1
    assert not ranking.report.fallback


class FailsLater(Capped):
    def answer(self, call):
        return super().answer(call) if len(self.asked) == 1 else BackendError("gone")


def test_what_is_known_survives_a_failure_of_the_second_question():
    passages = texts(6)
    relevance = {text: -6.0 + i for i, text in enumerate(passages)}
    strategy = SingleToken(policy="ask_again")
    with pytest.raises(BackendError):
        Reranker(strategy, FailsLater(relevance, 2)).rank("q", passages)
    kept = Reranker(strategy, FailsLater(relevance, 2), on_error="keep_order")
    ranking = kept.rank("q", passages)
    assert ranking.order == (5, 4, 0, 1, 2, 3)
    assert ranking.report.fallbacks == ("BackendError: gone",)


def test_one_error_for_a_whole_batch_tells_each_ranking_of_its_own_passages_only():
    """The first plan is at its second question when the other puts its first."""
    passages = texts(4)
    backend = FailsLater({text: -4.0 + i for i, text in enumerate(passages)}, 2)
    strategy, gone = KeepOrder(inner=SingleToken(policy="ask_again")), BackendError("gone")

    def later():
        yield from ask_each([next_token(SingleToken(), passages)])
        return (yield from strategy.rank("q", passages))

    def handle(calls):
        backend.asked.append(calls)
        return [gone if len(backend.asked) > 1 else backend.answer(call) for call in calls]

    first, second = run(gather([strategy.rank("q", passages), later()]), handle)
    assert first.order == (3, 2, 0, 1)  # what was known
    assert second.order == (0, 1, 2, 3)  # nothing was


class Silent(Capped):
    def answer(self, call):
        reply = super().answer(call)
        return reply if len(self.asked) == 1 else Reply(LabelLogprobs({}, floor=-1.0))


def test_asking_again_ends_where_nothing_more_is_reported():
    passages = texts(6)
    relevance = {text: -6.0 + i for i, text in enumerate(passages)}
    ranking = Reranker(SingleToken(policy="ask_again"), Silent(relevance, 2)).rank("q", passages)
    assert ranking.order == (5, 4, 0, 1, 2, 3)
    assert "none of the labels" in ranking.report.fallbacks[0]


def test_policies_that_cannot_be():
    with pytest.raises(InputError, match="one of generate, ask_again, keep_order"):
        SingleToken(policy="guess")
    with pytest.raises(InputError, match="known beforehand"):
        SingleToken(policy="generate", prompt="full-list-tokens.v1")


def test_a_reported_label_comes_before_an_unreported_one_of_the_same_value():
    class Level:
        def run(self, calls):
            return [Reply(LabelLogprobs({"B": -2.0}, floor=-2.0)) for _ in calls]

    assert Reranker(SingleToken(), Level()).rank("q", ["a", "b"]).order == (1, 0)
