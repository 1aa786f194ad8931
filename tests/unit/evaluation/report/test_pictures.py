"""Pictures: points, lines and labels where the numbers are."""

from dataclasses import replace

import pytest

from rerank_plugins import InputError, Usage
from rerank_plugins.evaluation import Collection, interval, measured
from rerank_plugins.evaluation.report import (
    changes_by_query,
    differences,
    effectiveness_cost,
    movement,
    rank_movement,
    recall_by_depth,
    save,
    training_curve,
)
from rerank_plugins.evaluation.report._pictures import as_svg, one_line


@pytest.fixture
def collection():
    documents = {f"d{j}": f"text {j} $x^2$" for j in range(30)}
    queries = {f"q{i}": f"query {i}" for i in range(8)}
    return Collection(
        documents=documents, queries=queries, qrels={q: {"d3": 2, "d5": 1} for q in queries}
    )


@pytest.fixture
def rows(collection):
    ids = list(collection.documents)
    first = dict.fromkeys(collection.queries, ids[:20])
    better = {q: ids[i : i + 4] + ids[:i] + ids[i + 4 : 20] for i, q in enumerate(first)}
    usage = Usage(calls=80, prompt_tokens=9000, generated_tokens=8, seconds=12.5)
    measures = ("nDCG@10", "R@100")
    return [
        measured("first", first, collection.qrels, measures),
        measured("better", better, collection.qrels, measures, usage=usage),
    ]


def test_pictures_are_the_same_bytes_each_time(rows, collection):
    for draw in (
        lambda: effectiveness_cost(rows),
        lambda: differences(rows),
        lambda: changes_by_query(rows),
        lambda: recall_by_depth(rows, collection.qrels, depths=(1, 5, 20)),
        lambda: rank_movement(["a", "b"], ["b", "a"], grades={"b": 1}, labels={"a": "$^é漢"}),
    ):
        assert as_svg(draw()) == as_svg(draw())


@pytest.mark.parametrize("cost", ["seconds", "tokens", "calls"])
def test_effectiveness_against_cost(rows, cost):
    (axes,) = effectiveness_cost(rows, cost=cost).axes
    expected = {"seconds": 12.5 / 8, "tokens": 9008 / 8, "calls": 10}[cost]
    ((point, _, _),) = axes.containers
    assert point.get_xdata() == [pytest.approx(expected)]
    assert point.get_ydata() == [rows[1].measures["nDCG@10"]]
    assert cost in axes.get_xlabel()


def test_bars_are_intervals_of_the_paired_difference(rows):
    """Queries differ much, and the gain is the same for each: unpaired bars would hide it."""
    qrels = {f"q{i}": {"d": 1} for i in range(12)}
    first = {q: [*(f"x{j}" for j in range(1 + i % 6)), "d"] for i, q in enumerate(qrels)}
    second = {q: [*found[1:-1], "d", found[0]] for q, found in first.items()}
    usage = Usage(calls=12, seconds=6.0)
    pair = [
        measured("first", first, qrels, ["RR@10"]),
        measured("second", second, qrels, ["RR@10"], usage=usage),
    ]
    low, high = interval(list(pair[1].changes_from(pair[0], "RR@10").values()))
    assert low > 0
    before = pair[0].measures["RR@10"]
    (axes,) = differences(pair, "RR@10").axes
    ((_, caps, _),) = axes.containers
    assert [cap.get_xdata()[0] for cap in caps] == pytest.approx([low, high])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["second"]
    (axes,) = effectiveness_cost(pair, "RR@10").axes
    ((_, caps, _),) = axes.containers
    assert [cap.get_ydata()[0] - before for cap in caps] == pytest.approx([low, high])


@pytest.mark.parametrize("seconds", [[0.16], [0.001, 40.0], [1.0, 1.1, 1.2], [1e-7, 1e5]])
def test_ticks_of_costs_are_few_and_plain(rows, seconds):
    paid = [replace(rows[1], usage=Usage(seconds=8 * s), name=str(s)) for s in seconds]
    (axes,) = effectiveness_cost([rows[0], *paid]).axes
    labels = [label.get_text() for label in axes.get_xticklabels()]
    low, high = axes.get_xlim()
    assert 3 <= len(labels) <= 16
    assert all(low <= tick <= high for tick in axes.get_xticks())
    assert [float(label.replace(",", "")) for label in labels] == pytest.approx(axes.get_xticks())
    assert not len(axes.get_xticks(minor=True))
    assert low < min(seconds) <= max(seconds) < high


def test_changes_are_sorted(rows):
    (axes,) = changes_by_query(rows).axes
    values = list(axes.lines[0].get_ydata())
    changes = rows[1].changes_from(rows[0], "nDCG@10")
    assert values == sorted(changes.values(), reverse=True)
    gained = sum(change > 0 for change in changes.values())
    assert f"{gained} better" in axes.lines[0].get_label()


def test_a_movement_is_drawn_where_passages_stand():
    (axes,) = rank_movement(["a", "b", "c", "d"], ["d", "a", "b", "c"], depth=2).axes
    lines = [tuple(line.get_ydata()) for line in axes.lines]
    assert lines == [(1, 2), (2, 3), (3, 1)]  # c is never among the first two
    with pytest.raises(InputError, match="not the same documents"):
        rank_movement(["a"], ["b"])


def test_pictures_that_cannot_be_drawn(rows, tmp_path):
    with pytest.raises(InputError, match="was not measured by"):
        effectiveness_cost(rows, "RR@10")
    with pytest.raises(InputError, match="nothing to draw"):
        effectiveness_cost([])
    for draw in (differences, changes_by_query):
        with pytest.raises(InputError, match="rows has 1 ranker"):
            draw(rows[:1])
    for name in ("x.nonsense", "no/x.svg"):
        with pytest.raises(InputError, match="cannot write the picture"):
            save(rank_movement(["a"], ["a"]), tmp_path / name)


def test_a_training_curve_has_a_second_axis_for_validation():
    history = [{"step": i, "loss": 1.0 / i} for i in range(1, 5)]
    (axes,) = training_curve(history).axes
    assert list(axes.lines[0].get_ydata()) == [1.0, 0.5, 1 / 3, 0.25]
    assert list(axes.lines[1].get_ydata()) == pytest.approx([1.0, 0.75, 11 / 18, 25 / 48])
    _, right = training_curve([*history, {"step": 4, "eval_ndcg": 0.7}]).axes
    assert list(right.lines[0].get_ydata()) == [0.7]
    with pytest.raises(InputError, match="nothing to draw"):
        training_curve([{"step": 1}])


def test_recall_by_the_number_of_passages(collection):
    run = {"q0": ["d0", "d3", "d5"]}
    (axes,) = recall_by_depth(
        [measured("x", run, collection.qrels)], collection.qrels, depths=(1, 2, 3)
    ).axes
    assert list(axes.lines[0].get_ydata()) == [0.0, 0.5, 1.0]
    with pytest.raises(InputError, match="nothing to draw"):
        recall_by_depth([], collection.qrels)


def test_a_movement_is_of_the_documents_of_both_runs():
    assert movement({"q": list("abc")}, {"q": list("cxb")}, "q") == (["b", "c"], ["c", "b"])


def test_labels_are_one_line_and_not_mathematics():
    assert one_line("a\n b\x00 $x^2$") == r"a b  \$x^2\$"
    assert one_line("x" * 50) == "x" * 47 + "…"
    (axes,) = rank_movement(["a"], ["a"], labels={"a": "$5"}, title="$").axes
    assert [text.get_text() for text in axes.texts] == ["a", r"\$5"]
    assert axes.get_title() == r"\$"
