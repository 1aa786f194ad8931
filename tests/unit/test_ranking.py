"""Rankings refuse to be anything else; reports and costs add up and have plain values."""

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import (
    ContractError,
    InputError,
    Passage,
    RankedPassage,
    Ranking,
    Report,
    Usage,
)
from rerank_plugins.ranking import Cut, by_score, input_order


@pytest.mark.parametrize(
    ("order", "scores"),
    [
        ((0, 0), (1.0, 0.5)),
        ((0, 1), (1.0,)),
        ((0, 1), (0.5, 1.0)),
        ((0, 1), (1.0, math.nan)),
        ((0, 1), (math.inf, 1.0)),
    ],
)
def test_what_is_not_a_ranking_is_refused(order, scores):
    with pytest.raises(ContractError):
        Ranking(order, scores, "logit")


def test_scores_may_only_be_left_out_for_ranks():
    with pytest.raises(ContractError, match="without scores"):
        Ranking((0, 1), (), "logit")
    assert Ranking(()).scores == ()


def test_ties_keep_the_input_order():
    assert by_score([1.0, 2.0, 1.0, 2.0], "logit").order == (1, 3, 0, 2)


def test_top_and_ranked_keep_the_callers_objects():
    objects = [object(), object(), object()]
    ranking = by_score([0.0, 2.0, 1.0], "grade")
    assert ranking.top(None) == ranking
    assert ranking.top(2).ranked(objects) == [
        RankedPassage(objects[1], 1, 1, 2.0),
        RankedPassage(objects[2], 2, 2, 1.0),
    ]


def test_usage_adds_up():
    one = Usage(calls=1, batches=2, prompt_tokens=3, generated_tokens=4, seconds=5.0)
    assert one + one == Usage(calls=2, batches=4, prompt_tokens=6, generated_tokens=8, seconds=10.0)


def test_reports_add_up_and_move_with_their_list():
    one = Report(malformed=1, missing=frozenset({1}), truncated=frozenset({0}), fallbacks=("a",))
    two = Report(
        missing=frozenset({0}),
        duplicates=1,
        out_of_range=3,
        unseen_labels=4,
        written_orders=2,
        truncated=frozenset({1}),
    )
    assert one + two.mapped([7, 9]) == Report(
        malformed=1,
        missing=frozenset({1, 7}),
        duplicates=1,
        out_of_range=3,
        unseen_labels=4,
        written_orders=2,
        truncated=frozenset({0, 9}),
        fallbacks=("a",),
    )
    assert one.fallback
    assert not two.fallback
    failed = Report(unread=frozenset({0, 1, 2}), irrelevant=frozenset({1}))
    again = Report(unread=frozenset({0})).mapped([2, 1])
    assert failed.followed(again, [2, 1]) == Report(unread=frozenset({0, 2}))
    assert input_order(2, report=one).report == one


counts = st.integers(0, 9)
positions = st.frozensets(st.integers(0, 50))
reports = st.builds(
    Report,
    fallbacks=st.tuples(st.text(max_size=5)),
    malformed=counts,
    missing=positions,
    duplicates=counts,
    unseen_labels=counts,
    truncated=positions,
)


@given(reports)
def test_a_report_survives_json(report):
    assert Report.from_plain(json.loads(json.dumps(report.plain()))) == report


def test_a_report_refuses_what_it_does_not_know():
    with pytest.raises(InputError, match="colour"):
        Report.from_plain({"colour": 1})


@given(reports, reports)
def test_reports_add_counts_and_unite_positions(one, other):
    both = one + other
    assert both.malformed == one.malformed + other.malformed
    assert both.fallbacks == one.fallbacks + other.fallbacks
    assert both.missing == one.missing | other.missing
    assert both.truncated == one.truncated | other.truncated


def test_costs_add():
    one = Usage(calls=1, seconds=0.5, loading_seconds=2.0)
    assert one + Usage(calls=2, searches=3, loading_seconds=1.0) == Usage(
        calls=3, searches=3, seconds=0.5, loading_seconds=3.0
    )


def test_a_passage_keeps_title_and_score_when_its_text_changes():
    passage = Passage(" flea ", title="Insects", score=1.5)
    changed = passage.with_text(passage.strip())
    assert (str(changed), changed.passage_title, changed.score) == ("flea", "Insects", 1.5)
    assert Passage.of(passage) is passage
    assert (Passage.of("flea").passage_title, Passage.of("flea").score) == ("", None)


def test_a_ranking_is_a_table_in_a_notebook():
    report = Report(fallbacks=("<b>the server</b> is gone",))
    usage = Usage(calls=2, prompt_tokens=30)
    html = Ranking((2, 0, 1), (0.5, 0.25, 0.125), "logit", usage, report)._repr_html_()
    assert re.findall(r"<tr><td>(\d)</td><td>(\d)</td><td>([^<]*)</td><td>([^<]*)</td>", html) == [
        ("1", "3", "▲ 2", "0.5000"),
        ("2", "1", "▼ 1", "0.2500"),
        ("3", "2", "▼ 1", "0.1250"),
    ]
    assert "<b>the server" not in html
    assert "2 calls, 30 tokens read" in html
    assert "load" not in html
    first = Ranking((0,), usage=Usage(seconds=2.0, loading_seconds=70.0))._repr_html_()
    assert "2.00 s; loading the model took 70.00 s" in first
    assert Ranking(())._repr_html_().startswith("<table>")


SCORES = st.lists(st.integers(-5, 5).map(float), max_size=8)
CUTS = st.builds(
    Cut,
    score_threshold=st.none() | st.integers(-6, 6).map(float),
    cut_at_gap=st.booleans(),
    keep_at_least=st.integers(0, 9),
)


@given(SCORES, CUTS)
def test_a_cut_keeps_a_beginning_as_its_definition_says(scores, cut):
    whole = by_score(scores, "logit")
    kept = cut.of(whole)
    n = len(scores)
    if cut.score_threshold is not None:
        n = sum(score >= cut.score_threshold for score in scores)
    if cut.cut_at_gap and len(set(scores)) > 1:
        drops = [a - b for a, b in zip(whole.scores, whole.scores[1:], strict=False)]
        n = min(n, next(i for i, drop in enumerate(drops, start=1) if drop == max(drops)))
    n = max(n, min(cut.keep_at_least, len(scores)))
    assert (kept.order, kept.scores) == (whole.order[:n], whole.scores[:n])
    assert kept.report.cut == set(whole.order[n:])


@given(SCORES, CUTS)
def test_a_cut_again_by_a_threshold_changes_nothing(scores, cut):
    cut = Cut(score_threshold=cut.score_threshold, keep_at_least=cut.keep_at_least)
    once = cut.of(by_score(scores, "logit"))
    assert cut.of(once) == once


@pytest.mark.parametrize("kind", ["logit", "logprob", "probability", "similarity", "grade"])
def test_scores_of_a_model_are_cut(kind):
    ranking = Ranking((1, 0, 2), (0.9, 0.5, 0.4), kind)
    assert ranking.cut(score_threshold=0.5).order == (1, 0)
    assert ranking.cut(cut_at_gap=True).order == (1,)
    assert Cut(score_threshold=0.5, cut_at_gap=True).ignored_by(ranking) == ()


def test_places_are_not_cut():
    ranking = Ranking((1, 0, 2))
    assert ranking.cut(score_threshold=0.9, cut_at_gap=True) == ranking
    cut = Cut(score_threshold=0.9, cut_at_gap=True)
    assert cut.ignored_by(ranking) == ("score_threshold", "cut_at_gap")


def test_mixed_scores_are_cut_by_the_model_s_own():
    ranking = Ranking(
        (1, 0, 2),
        (1.0, 0.0, -1.5),
        "z-score",
        model_scores=(0.2, 0.6, 0.9),
        model_score_kind="logit",
    )
    assert ranking.cut(score_threshold=0.5).order == (1, 2)
    assert ranking.cut(score_threshold=0.7, keep_at_least=2).order == (1, 2)
    assert ranking.cut(cut_at_gap=True).order == (1, 0)
    mixed = Ranking((1, 0), (1.0, -1.0), "z-score")
    assert mixed.cut(score_threshold=5.0) == mixed
    assert Cut(score_threshold=5.0).ignored_by(mixed) == ("score_threshold",)


@pytest.mark.parametrize(
    "wrong",
    [
        {"score_threshold": math.nan},
        {"score_threshold": "0.5"},
        {"score_threshold": math.inf},
        {"cut_at_gap": 1},
        {"keep_at_least": -1},
        {"keep_at_least": 1.5},
        {"keep_at_least": None},
    ],
)
def test_a_cut_that_is_none_is_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Ranking(()).cut(**wrong)
