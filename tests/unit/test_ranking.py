"""Reports in plain values, and passages through changes of their text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugins import InputError, Passage, Report, Usage

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
    assert Usage(calls=1, seconds=0.5) + Usage(calls=2, searches=3) == Usage(
        calls=3, searches=3, seconds=0.5
    )


def test_a_passage_keeps_title_and_score_when_its_text_changes():
    passage = Passage(" flea ", title="Insects", score=1.5)
    changed = passage.with_text(passage.strip())
    assert (str(changed), changed.passage_title, changed.score) == ("flea", "Insects", 1.5)
    assert Passage.of(passage) is passage
    assert (Passage.of("flea").passage_title, Passage.of("flea").score) == ("", None)
