"""The object that applications hold: contract, errors, colours."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from rerank_plugins import (
    BackendError,
    BudgetError,
    ConfigurationError,
    ContractError,
    InputError,
    Limits,
    LogprobsError,
    ModelOutputError,
    PromptTooLongError,
    Ranking,
    Reranker,
    UnknownNameError,
    UnsupportedCallError,
    list_presets,
    load_reranker,
)
from rerank_plugins.calls import ContinuationLogprob, LabelLogprobs, Reply, ScorePair
from rerank_plugins.plans import ask
from rerank_plugins.presets import find_preset
from rerank_plugins.strategies import (
    Blend,
    KeepOrder,
    Permutation,
    QueryLikelihood,
    SingleToken,
    SlidingWindow,
)
from rerank_plugins.testing import Failing, Oracle, Scripted

FIRST = SlidingWindow(inner=SingleToken())
TEXTS = [f"passage {i}" for i in range(45)]


class SyncOnly:
    def __init__(self):
        self.oracle = Oracle()
        self.threads = set()

    def run(self, calls):
        self.threads.add(threading.get_ident())
        return self.oracle.run(calls)


class AsyncOnly:
    async def arun(self, calls):
        await asyncio.sleep(0)
        return Oracle().run(calls)


def strip(ranking):
    """A ranking without its clock."""
    return (ranking.order, ranking.scores, ranking.score_kind, ranking.report, ranking.usage.calls)


def test_every_way_to_run_gives_the_same_ranking():
    reranker = Reranker(FIRST, Oracle())
    expected = strip(reranker.rank("q", TEXTS))
    requests = [("q", TEXTS)] * 5

    assert strip(asyncio.run(reranker.arank("q", TEXTS))) == expected
    assert [*map(strip, reranker.rank_many(requests))] == [expected] * 5
    assert [*map(strip, asyncio.run(reranker.arank_many(requests)))] == [expected] * 5
    with ThreadPoolExecutor(8) as pool:
        threaded = pool.map(lambda _: strip(reranker.rank("q", TEXTS)), range(8))
        assert list(threaded) == [expected] * 8
    for backend in (SyncOnly(), AsyncOnly()):
        other = Reranker(FIRST, backend)
        assert strip(asyncio.run(other.arank("q", TEXTS))) == expected
        assert [*map(strip, asyncio.run(other.arank_many(requests)))] == [expected] * 5


def test_many_queries_share_batches():
    oracle = Oracle()
    rankings = Reranker(FIRST, oracle).rank_many([("q", TEXTS), ("r", TEXTS[:5])])
    assert [r.usage.calls for r in rankings] == [4, 1]
    assert [r.usage.batches for r in rankings] == [4, 1]


def test_a_blocking_backend_runs_off_the_event_loop():
    backend = SyncOnly()

    async def main():
        await Reranker(FIRST, backend).arank("q", TEXTS)
        return threading.get_ident()

    assert asyncio.run(main()) not in backend.threads


def test_an_async_backend_is_not_run_on_a_hidden_loop():
    with pytest.raises(ConfigurationError, match="asynchronous only"):
        Reranker(FIRST, AsyncOnly()).rank("q", TEXTS)


@pytest.mark.parametrize(
    ("top_k", "length"), [(None, 45), (1, 1), (np.int64(2), 2), (45, 45), (100, 45)]
)
def test_top_k_cuts_the_end(top_k, length):
    reranker = Reranker(FIRST, Oracle())
    ranking = reranker.rank("q", TEXTS, top_k=top_k)
    assert ranking.order == reranker.rank("q", TEXTS).order[:length]


@pytest.mark.parametrize("top_k", [0, -1, 1.5, True, "3"])
def test_a_bad_top_k_is_refused(top_k):
    with pytest.raises(InputError, match="top_k"):
        Reranker(FIRST, Oracle()).rank("q", TEXTS, top_k=top_k)


@pytest.mark.parametrize(
    ("query", "passages", "message"),
    [
        (None, ["a"], "query is of type NoneType"),
        ("q", "a text", "passages is of type str"),
        ("q", {"a": 1}, "passages is of type dict"),
        ("q", ["a", None], r"passages\[1\] is of type NoneType"),
    ],
)
def test_wrong_types_are_refused_before_anything_is_asked(query, passages, message):
    oracle = Oracle()
    with pytest.raises(InputError, match=message):
        Reranker(FIRST, oracle).rank(query, passages)
    assert oracle.asked == []


@pytest.mark.parametrize(
    ("query", "passages", "fallback"),
    [("q", [], False), ("q", ["one"], False), (" \n", ["a", "b"], True), ("", ["a"], True)],
)
def test_nothing_to_rank_asks_nothing(query, passages, fallback):
    oracle = Oracle()
    ranking = Reranker(FIRST, oracle).rank(query, passages)
    assert ranking.order == tuple(range(len(passages)))
    assert oracle.asked == []
    assert ranking.report.fallback is fallback


def test_an_empty_passage_is_a_passage():
    assert len(Reranker(FIRST, Oracle()).rank("q", ["", "b", ""])) == 3


def test_a_failure_is_raised_or_keeps_the_order_of_its_window():
    def fails(call):
        return "passage 40" in call.prompt.text

    with pytest.raises(BackendError):
        Reranker(FIRST, Failing(when=fails)).rank("q", TEXTS)
    keeping = Reranker(FIRST, Failing(when=fails), on_error="keep_order").rank("q", TEXTS)
    assert sorted(keeping.order) == list(range(45))
    assert keeping.order != tuple(range(45))  # the other windows were ranked
    assert keeping.report.fallbacks == ("BackendError: this backend always fails",)


def test_one_failed_passage_keeps_its_place_and_the_others_are_ranked():
    backend = Failing(
        when=lambda call: "p1" in call.prompt.text,
        otherwise=Oracle(key=lambda query, passage: float(passage[1:])),
    )
    texts = ["p0", "p1", "p2", "p3"]
    ranking = Reranker(QueryLikelihood(), backend, on_error="keep_order").rank("q", texts)
    assert ranking.order == (3, 1, 2, 0)
    assert ranking.score_kind == "rank"
    with pytest.raises(BackendError):
        Reranker(QueryLikelihood(), backend).rank("q", texts)


def test_one_failed_query_does_not_cost_the_others():
    backend = Failing(when=lambda call: "bad" in call.prompt.text)
    requests = [("good", TEXTS), ("bad", TEXTS)]
    with pytest.raises(BackendError):
        Reranker(FIRST, backend).rank_many(requests)
    good, bad = Reranker(FIRST, backend, on_error="keep_order").rank_many(requests)
    assert good.order == Reranker(FIRST, Oracle()).rank("good", TEXTS).order
    assert bad.order == tuple(range(45))


def test_bugs_are_never_mistaken_for_failed_calls():
    class Broken:
        def run(self, calls):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Reranker(FIRST, Broken(), on_error="keep_order").rank("q", TEXTS)


def test_limits_end_a_ranking_with_the_order_so_far():
    oracle = Oracle()
    with pytest.raises(BudgetError, match="2 calls"):
        Reranker(FIRST, oracle, limits=Limits(max_calls=2)).rank("q", TEXTS)
    assert len(oracle.asked) == 2
    limited = Reranker(FIRST, Oracle(), limits=Limits(max_calls=2), on_error="keep_order")
    ranking = limited.rank("q", TEXTS)
    assert ranking.usage.calls == 2
    assert len(ranking.report.fallbacks) == 2
    # The bottom windows were ranked, the top one was not.
    assert ranking.order[:5] == (0, 1, 2, 3, 4)
    assert ranking.order != tuple(range(45))


def test_log_probabilities_that_are_no_numbers_are_an_error():
    for answer in ({"A": float("nan"), "B": -1.0}, {}):
        with pytest.raises(ModelOutputError if answer else LogprobsError):
            Reranker(SingleToken(), Scripted([LabelLogprobs(answer, -9.0)])).rank("q", ["a", "b"])
    for answer in (ContinuationLogprob(float("nan"), 3), ContinuationLogprob(0.0, 0)):
        with pytest.raises(ModelOutputError):
            Reranker(QueryLikelihood(), Scripted([answer] * 2)).rank("q", ["a", "b"])


def test_labels_beyond_a_servers_cap_come_last_in_their_order_and_are_counted():
    answer = LabelLogprobs({"D": -0.5, "B": -1.0}, floor=-4.0)
    ranking = Reranker(SingleToken(), Scripted([answer])).rank("q", list("abcd"))
    assert ranking.order == (3, 1, 0, 2)
    assert ranking.scores == (-0.5, -1.0, -4.0, -4.0)
    assert ranking.report.unseen_labels == 2


def test_a_probability_of_zero_is_still_a_finite_score():
    answer = LabelLogprobs({"A": float("-inf"), "B": -1.0})
    assert Reranker(SingleToken(), Scripted([answer])).rank("q", ["a", "b"]).order == (1, 0)


def test_garbage_keeps_the_order_and_is_reported():
    ranking = Reranker(Permutation(), Scripted(["20 passages."])).rank("q", ["a", "b"])
    assert ranking.order == (0, 1)
    assert ranking.report.malformed == 1
    assert ranking.report.fallback


def test_single_token_refuses_what_it_cannot_label():
    with pytest.raises(InputError, match="SlidingWindow"):
        Reranker(SingleToken(), Oracle()).rank("q", ["p"] * 27)
    with pytest.raises(InputError, match="9 identifiers"):
        Reranker(SingleToken(prompt="rankzephyr.v1"), Oracle()).rank("q", ["p"] * 10)


def test_a_strategy_that_loses_passages_is_caught():
    class Loses:
        def rank(self, query, passages):
            yield from ask([ScorePair(query, passages[0])])
            return Ranking((0,))

    with pytest.raises(ContractError, match="not a permutation"):
        Reranker(Loses(), Oracle()).rank("q", ["a", "b"])


def test_a_plan_that_returns_no_ranking_is_caught():
    class Order:
        def rank(self, query, passages):
            yield from ask([ScorePair(query, passages[0])])
            return [1, 0]

    with pytest.raises(ContractError, match="Order returned a list, expected a Ranking"):
        Reranker(Order(), Oracle()).rank("q", ["a", "b"])


def test_a_pair_that_cannot_work_is_refused_when_it_is_built():
    class OnlyPairs:
        kinds = frozenset({ScorePair})

        def run(self, calls):
            return [Reply(0.0) for _ in calls]

    with pytest.raises(UnsupportedCallError) as refused:
        Reranker(FIRST, OnlyPairs())
    assert str(refused.value) == (
        "the strategy SlidingWindow asks for log-probabilities of the next token, and OnlyPairs "
        "gives scores of pairs. Name a language model for this strategy, or take one that scores "
        "pairs, such as 'pair-score'."
    )


@pytest.mark.parametrize(
    ("strategy", "backend"), [(SingleToken, Oracle()), (object(), Oracle()), (FIRST, object())]
)
def test_things_that_are_neither_are_refused(strategy, backend):
    with pytest.raises(InputError):
        Reranker(strategy, backend)


def test_an_unknown_error_policy_is_refused():
    with pytest.raises(InputError, match="on_error"):
        Reranker(FIRST, Oracle(), on_error="ignore")


def test_concurrency_must_be_positive():
    with pytest.raises(InputError, match="max_concurrency"):
        asyncio.run(Reranker(FIRST, AsyncOnly()).arank_many([("q", TEXTS)], max_concurrency=0))


def test_lifecycle_is_passed_on_and_optional():
    events = []

    class Model(Oracle):
        def warm_up(self):
            events.append("warm")

        def close(self):
            events.append("close")

    reranker = Reranker(FIRST, Model())
    reranker.warm_up()
    reranker.close()
    assert events == ["warm", "close"]
    Reranker(FIRST, Oracle()).warm_up()
    Reranker(FIRST, Oracle()).close()


def test_a_prompt_that_does_not_fit_is_shortened_and_the_cut_reported():
    class Small(Oracle):
        """A context of 200 words."""

        def run(self, calls):
            words = [len(c.prompt.text.split()) - 200 for c in calls]
            replies = super().run(calls)
            return [
                PromptTooLongError(w, limit=200) if w > 0 else r
                for w, r in zip(words, replies, strict=True)
            ]

    long_texts = ["word " * 40] * 3 + ["short"]
    for strategy in (SingleToken(), Permutation()):
        ranking = Reranker(strategy, Small()).rank("q", long_texts)
        assert sorted(ranking.order) == [0, 1, 2, 3]
        assert ranking.report.truncated == {0, 1, 2}
    ranking = Reranker(QueryLikelihood(), Small()).rank("q", ["word " * 400, "short"])
    assert ranking.report.truncated == {0}


@pytest.mark.parametrize("strategy", [SingleToken(), Permutation(), QueryLikelihood()])
def test_a_prompt_that_cannot_fit_is_one_clear_error(strategy):
    backend = Failing(lambda: PromptTooLongError(10, limit=20))
    with pytest.raises(PromptTooLongError, match="one word per passage"):
        Reranker(strategy, backend).rank("q", ["some text here", "other text there"])


def test_presets_build_the_papers_set_up():
    assert "rryisthebest/First_Model" in list_presets()
    reranker = load_reranker("rryisthebest/first_model", device="cpu")
    assert reranker.strategy == SlidingWindow(inner=SingleToken(prompt="first.v1"))
    assert reranker.backend.model == "rryisthebest/First_Model"
    assert (reranker.backend.context_tokens, reranker.backend.device) == (4096, "cpu")
    for name in list_presets():
        if not name.startswith("rerank-plugins/"):  # ours are in a package
            backend = load_reranker(name).to_spec()["backend"]
            known = find_preset(name)["backend"].get("model", name)
            assert known in (backend["model"], backend.get("adapter"))


def test_a_copy_of_a_checkpoint_and_a_model_with_a_strategy_of_ones_own(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    copy = load_reranker(tmp_path, preset="castorini/first_mistral")
    assert copy.strategy.inner == SingleToken(prompt="rankllm-letters.v1")
    own = load_reranker(tmp_path, strategy="query-likelihood")
    assert own.strategy == QueryLikelihood()


def test_an_unknown_model_needs_a_strategy():
    with pytest.raises(UnknownNameError, match="strategy="):
        load_reranker("somebody/some-model")
    with pytest.raises(UnknownNameError, match="not a known checkpoint"):
        load_reranker("somebody/some-model", preset="nobody/none", strategy="single-token")


def test_specs_round_trip():
    reranker = load_reranker(
        "castorini/first_mistral", on_error="keep_order", limits=Limits(max_calls=9)
    )
    spec = reranker.to_spec()
    again = Reranker.from_spec(spec)
    assert again.to_spec() == spec
    assert again.strategy == reranker.strategy
    assert (again.on_error, again.limits) == ("keep_order", Limits(max_calls=9))
    with pytest.raises(InputError):
        Reranker.from_spec({"strategy": "single-token"})
    assert "keep_order" in repr(again)


def test_keep_order_may_be_placed_by_hand():
    strategy = SlidingWindow(inner=KeepOrder(inner=SingleToken()))
    ranking = Reranker(strategy, Failing()).rank("q", ["a", "b"])
    assert ranking.report.fallbacks


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SlidingWindow("single-token"), "not a strategy"),
        (lambda: SlidingWindow(SingleToken), "not a strategy"),
        (lambda: KeepOrder(None), "not a strategy"),
        (lambda: Blend("single-token"), "not a strategy"),
        (lambda: SlidingWindow(SingleToken(), size=30), "at most 26"),
        (
            lambda: SlidingWindow(SingleToken(prompt="rankzephyr.v1"), size=10, stride=5),
            "at most 9",
        ),
        (lambda: Reranker(SingleToken(), Oracle(), limits=5), "limits is of type int"),
        (lambda: Reranker(SingleToken(), Oracle(), limits={"calls": 5}), "max_calls"),
        (lambda: Reranker(SingleToken(), Oracle()).rank_many(["q1", "q2"]), "requests.0. is 'q1'"),
        (lambda: Reranker(SingleToken(), Oracle()).rank("q", [{"text": "a"}]), "ranked"),
        (lambda: Reranker.from_spec({"strategy": "x", "backend": "y", "on_eror": "z"}), "on_eror"),
        (lambda: Reranker.from_spec({"strategy": "x"}), "needs .'backend'"),
        (lambda: Ranking((1, 0)).ranked(["one"]), "1 passages"),
    ],
)
def test_a_slip_is_told_where_it_is_made(make, says):
    with pytest.raises(InputError, match=says):
        make()


def test_strategies_of_strategies_take_theirs_by_place():
    assert SlidingWindow(SingleToken()) == SlidingWindow(inner=SingleToken())
    assert Blend(SingleToken(), k=1) == Blend(inner=SingleToken(), k=1)
    assert KeepOrder(SingleToken()) == KeepOrder(inner=SingleToken())


@pytest.mark.parametrize("native", [True, False])
def test_on_a_loop_plans_advance_in_threads(native):
    """Long passages take long to prepare, and the loop is not to wait for it."""
    seen = set()

    class Notes(SingleToken):
        def rank(self, query, passages):
            seen.add(threading.current_thread())
            return (yield from SingleToken.rank(self, query, passages))

    backend = Oracle()
    if not native:
        backend = type("Local", (), {"run": lambda self, calls: Oracle().run(calls)})()
    reranker = Reranker(Notes(), backend)
    seen.clear()  # of the first question, which is checked when a reranker is made
    asyncio.run(reranker.arank("q", ["a", "b"]))
    asyncio.run(reranker.arank_many([("q", ["a", "b"])] * 3))
    assert seen
    assert threading.current_thread() not in seen


def test_every_query_has_its_own_error():
    """Although the backend answers all calls with one object."""

    class Down:
        def run(self, calls):
            return [BackendError("down")] * len(calls)

    texts = ["a", "b"]
    one, other = Reranker(QueryLikelihood(), Down()).settle_many([("q", texts), ("r", texts)])
    assert one == other
    assert one is not other
    one.__cause__ = ValueError()
    assert other.__cause__ is None
