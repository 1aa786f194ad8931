"""Groups graded by a model: means over the groups that answered, and the first stage's places."""

import pytest

from rerank_plugins import InputError, Reranker
from rerank_plugins.strategies import Groupwise
from rerank_plugins.testing import Scripted


def answer(text):
    return f"<reason>because</reason>\n<answer>\n{text}\n</answer>"


def test_a_failed_group_is_missing_and_not_zero():
    """Groups of two without overlap: where the answer is rubbish, passages keep their places."""
    strategy = Groupwise(size=2, interval=2, weight=1.0)
    good = answer('{"[1]": 3, "[2]": 9}')
    ranking = Reranker(strategy, Scripted([good, "I cannot say"])).rank("q", list("abcd"))
    first, second = strategy.groups(4)
    assert ranking.report.malformed == 1
    assert ranking.report.missing == set(second)
    for place in second:
        assert ranking.order[place] == place
    known = [i for i in ranking.order if i in first]
    assert known == [first[1], first[0]]


def test_grades_are_averaged_over_the_groups_that_gave_one():
    strategy = Groupwise(size=3, interval=3, repeats=2, weight=1.0)
    one, two = strategy.groups(3)
    scripts = []
    for group, grades in ((one, {0: 4, 1: 6, 2: 8}), (two, {0: 8, 1: 2})):  # 2 is missing there
        keys = ", ".join(
            f'"[{place + 1}]": {grades[i]}' for place, i in enumerate(group) if i in grades
        )
        scripts.append(answer("{" + keys + "}"))
    ranking = Reranker(strategy, Scripted(scripts)).rank("q", list("abc"))
    assert dict(zip(ranking.order, ranking.scores, strict=True)) == pytest.approx(
        {2: 0.8, 0: 0.6, 1: 0.4}
    )


def test_the_blend_uses_places_and_not_scores():
    ranking = Reranker(
        Groupwise(size=2, interval=2), Scripted([answer('{"[1]": 5, "[2]": 5}')])
    ).rank("q", ["a", "b"])
    assert ranking.order == (0, 1)  # equal grades: the retriever decides
    assert ranking.scores == pytest.approx((0.6 * 0.5 + 0.4, 0.6 * 0.5 + 0.2))


def test_the_groups_cover_the_list_and_overlap():
    groups = Groupwise(size=4, interval=2, repeats=2).groups(7)
    assert [len(group) for group in groups] == [4, 4, 3, 1] * 2
    for one, two in ((0, 4), (4, 8)):
        assert {i for group in groups[one:two] for i in group} == set(range(7))
    assert all(a[2:] == b[:2] for a, b in ((groups[0], groups[1]), (groups[4], groups[5])))
    assert groups[:4] != groups[4:]  # shuffled again


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"interval": 21}, "interval is 21 and size 20"),
        ({"weight": 1.1}, "weight is 1.1"),
        ({"repeats": 0}, "repeats is 0"),
        ({"top_grade": 0}, "top_grade is 0"),
        ({"prompt": "first.v1"}, "identifiers are letters"),
    ],
)
def test_refused_settings(wrong, message):
    with pytest.raises(InputError, match=message):
        Groupwise(**wrong)
