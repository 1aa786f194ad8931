"""Pictures as matplotlib figures, which need no window."""

import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._extras import extra
from ...errors import InputError
from .. import CostKind, Measured, Qrels, Run, evaluate, interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTHS = (1, 2, 5, 10, 20, 50, 100)
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#333333")
_TICKS = 8
"""Ticks of an axis at most, where decades alone are not more."""
_PALE = "#b5b5b5"
_WIDTH, _HEIGHT = 4.8, 3.4  # in inches: letters stay readable on a page of 400 pixels


def differences(rows: Sequence[Measured], measure: str = "nDCG@10") -> "Figure":
    """The difference of every ranker from the first, with its paired 95 % interval.

    Args:
        rows: Rankers: the first stage, and at least one other.
        measure: One of their measures.

    Raises:
        InputError: There is nothing to compare, or a ranker lacks the measure.
        MissingExtraError: matplotlib or SciPy is not installed.
    """
    _check(rows, measure, least=2)
    first, *others = rows
    figure, axes = _figure(_WIDTH, max(_HEIGHT, 0.9 + 0.36 * len(others)))
    for place, row in enumerate(others):
        values = list(row.changes_from(first, measure).values())
        change, (low, high) = sum(values) / len(values), interval(values)
        ends = [[change - low], [high - change]]
        colour = _COLOURS[(place + 1) % len(_COLOURS)]
        axes.errorbar([change], [place], xerr=ends, fmt="o", color=colour, capsize=3)
    axes.axvline(0, color=_PALE, zorder=0)
    axes.set_yticks(range(len(others)), [one_line(row.name, length=24) for row in others])
    axes.tick_params(axis="y", length=0)
    axes.set(ylim=(len(others) - 0.4, -0.6), xlabel=f"{measure} minus that of {_name(first)}")
    axes.locator_params(axis="x", nbins=6)
    axes.spines["left"].set_visible(False)
    return figure


def changes_by_query(rows: Sequence[Measured], measure: str = "nDCG@10") -> "Figure":
    """The change of every query from the first ranker, for each of the others, sorted.

    Args:
        rows: Rankers: the first stage, and at least one other.
        measure: One of their measures.

    Raises:
        InputError: There is nothing to compare, or a ranker lacks the measure.
        MissingExtraError: matplotlib or SciPy is not installed.
    """
    _check(rows, measure, least=2)
    first, *others = rows
    figure, axes = _figure(_WIDTH, _HEIGHT)
    for i, row in enumerate(others, start=1):
        values = sorted(row.changes_from(first, measure).values(), reverse=True)
        better, worse = sum(value > 0 for value in values), sum(value < 0 for value in values)
        label = f"{_name(row)}: {better} better, {worse} worse"
        places = range(1, len(values) + 1)
        axes.plot(
            places, values, drawstyle="steps-mid", color=_COLOURS[i % len(_COLOURS)], label=label
        )
    axes.axhline(0, color=_PALE, zorder=0)
    axes.set(xlabel="queries, those that gained most first", ylabel=f"change of {measure}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    _legend(figure, columns=1)
    return figure


def effectiveness_cost(
    rows: Sequence[Measured], measure: str = "nDCG@10", *, cost: CostKind = "seconds"
) -> "Figure":
    """Every ranker as a point of effectiveness and cost.

    Bars are 95 % intervals of the paired difference from the first ranker: one that does not reach
    the first ranker's line is a difference that the queries support.

    Args:
        rows: Rankers; one whose cost is not known is drawn as a horizontal line.
        measure: One of their measures.
        cost: The cost of a query: ``"seconds"`` (without the loading of a model), ``"tokens"``
            (read and written) or ``"calls"``.

    Raises:
        InputError: There are no rankers, or they lack the measure.
        MissingExtraError: matplotlib or SciPy is not installed.
    """
    _check(rows, measure)
    first = rows[0]
    figure, axes = _figure(_WIDTH, _HEIGHT)
    for i, row in enumerate(rows):
        colour = _COLOURS[i % len(_COLOURS)]
        mean, price = row.measures[measure], row.cost_per_query(cost)
        if not price:
            axes.axhline(mean, color=colour, linestyle=":", label=_name(row))
            continue
        values = list(row.changes_from(first, measure).values())
        change, (low, high) = sum(values) / len(values), interval(values)
        ends = [[change - low], [high - change]]
        axes.errorbar([price], [mean], ends, fmt="o", color=colour, capsize=3, label=_name(row))
    if known := [price for row in rows if (price := row.cost_per_query(cost))]:
        _readable_log(axes, known)
    unit = "seconds per query, without loading" if cost == "seconds" else f"{cost} per query"
    axes.set(xlabel=unit, ylabel=measure)
    _legend(figure)
    return figure


def _readable_log(axes: Any, values: Sequence[float]) -> None:
    """A logarithmic axis around values, with few ticks, written as plain numbers."""
    axes.set_xscale("log")
    low, high = min(values) / 4, max(values) * 4
    axes.set_xlim(low, high)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
    shown = [tick for tick in fine if low <= tick <= high]
    if len(shown) > _TICKS:
        shown = [tick for tick in shown if tick in fine[::3]]
    axes.set_xticks(shown, [f"{tick:,.10g}" for tick in shown])
    axes.minorticks_off()


def recall_by_depth(
    rows: Sequence[Measured], qrels: Qrels, *, depths: Sequence[int] = DEPTHS
) -> "Figure":
    """The recall of every ranker by the number of passages.

    Args:
        rows: Rankers.
        qrels: Grade by query id and document id.
        depths: The numbers of passages, from 1.

    Raises:
        InputError: There are no rankers or depths.
        MissingExtraError: matplotlib or ``ir_measures`` is not installed.
    """
    if not rows or not depths:
        raise InputError("rows or depths is empty: there is nothing to draw")
    figure, axes = _figure(_WIDTH, _HEIGHT)
    names = [f"R@{depth}" for depth in depths]
    for i, row in enumerate(rows):
        found = evaluate(row.run, qrels, names)
        values = [found[name] for name in names]
        axes.plot(depths, values, marker="o", color=_COLOURS[i % len(_COLOURS)], label=_name(row))
    axes.set_xscale("log")
    axes.set_xticks(depths, [str(depth) for depth in depths], minor=False)
    axes.minorticks_off()
    axes.set(xlabel="passages", ylabel="recall")
    axes.set_ylim(bottom=0)
    _legend(figure)
    return figure


def _check(rows: Sequence[Measured], measure: str, *, least: int = 1) -> None:
    """Refuse rows of which nothing can be drawn."""
    if len(rows) < least:
        given = "rows is empty" if not rows else f"rows has {len(rows)} ranker"
        raise InputError(f"{given}: there is nothing to draw", hint=f"Give {least} or more.")
    if lacking := [row.name for row in rows if measure not in row.each]:
        raise InputError(f"{lacking[0]!r} was not measured by {measure}")


def _legend(figure: "Figure", columns: int = 2) -> None:
    """The names below the axes, where they hide nothing."""
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize="small")


def _name(row: Measured) -> str:
    return one_line(row.name, length=26)


def rank_movement(
    before: Sequence[str],
    after: Sequence[str],
    *,
    grades: Mapping[str, int] | None = None,
    labels: Mapping[str, str] | None = None,
    depth: int = 20,
    title: str = "",
) -> "Figure":
    """A bump chart of one query: the place of each passage before and after.

    Args:
        before: Document ids, best first.
        after: The same documents in a new order.
        grades: Judgements; relevant passages (grade above 0) are coloured.
        labels: Texts to show beside documents instead of their ids.
        depth: Places to draw; the line of a passage that is among them on one side only ends at
            the edge.
        title: The picture's title.

    Raises:
        InputError: A document is on one side only, or twice.
        MissingExtraError: matplotlib is not installed.
    """
    if sorted(before) != sorted(after) or len(set(before)) != len(before):
        raise InputError("before and after are not the same documents, each once")
    old, new = ({d: i for i, d in enumerate(side, 1)} for side in (before, after))
    shown = [d for d in before if min(old[d], new[d]) <= depth]
    edge = min(depth, len(before)) + 1
    figure, axes = _figure(_WIDTH, max(1.8, 0.2 * edge + 0.6))
    for document in shown:
        relevant = (grades or {}).get(document, 0) > 0
        places = [min(side[document], edge) for side in (old, new)]
        axes.plot(
            [0, 1],
            places,
            color=_COLOURS[0] if relevant else _PALE,
            linewidth=2 if relevant else 1,
            marker="o",
            markersize=4,
            zorder=2 if relevant else 1,
        )
        label = one_line((labels or {}).get(document, document), length=42)
        for x, place, text, side in (
            (-0.03, places[0], one_line(document, length=14), "right"),
            (1.03, places[1], label, "left"),
        ):
            if place < edge:
                axes.text(x, place, text, ha=side, va="center", fontsize=7)
    axes.set(xlim=(-0.45, 2.6 if labels else 1.45), ylim=(edge + 0.5, 0.5), title=one_line(title))
    axes.set_xticks([0, 1], ["before", "after"])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def training_curve(history: Sequence[Mapping[str, float]]) -> "Figure":
    """The loss of each step and, where it was validated, nDCG@10 on a second axis.

    Args:
        history: The log of a trainer: mappings with ``step``, and ``loss`` or ``eval_ndcg``.

    Raises:
        InputError: Nothing was logged.
        MissingExtraError: matplotlib is not installed.
    """
    losses = [(line["step"], line["loss"]) for line in history if "loss" in line]
    found = [(line["step"], line["eval_ndcg"]) for line in history if "eval_ndcg" in line]
    if not losses and not found:
        raise InputError("history has no loss and no eval_ndcg: there is nothing to draw")
    figure, axes = _figure(6.4, 4.0)
    steps, values = _columns(losses)
    ends = range(1, len(values) + 1)
    means = [sum(part) / len(part) for part in (values[max(0, i - 20) : i] for i in ends)]
    axes.plot(steps, values, color=_PALE, linewidth=1, label="loss")
    axes.plot(steps, means, color=_COLOURS[1], label="loss, mean of 20 steps")
    axes.set(xlabel="optimiser steps", ylabel="loss")
    lines, names = axes.get_legend_handles_labels()
    if found:
        right = axes.twinx()
        right.spines[["top"]].set_visible(False)
        [line] = right.plot(*_columns(found), color=_COLOURS[0], marker="o", markersize=4)
        right.set_ylabel("validation nDCG@10")
        lines, names = [*lines, line], [*names, "validation nDCG@10"]
    axes.legend(lines, names, frameon=False, fontsize="small")
    return figure


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def save(figure: "Figure", path: str | Path) -> None:
    """Write a figure as .svg, .png or .pdf, by the suffix of the path.

    Raises:
        InputError: The file cannot be written, or the format is not known.
    """
    try:
        with _quiet():
            figure.savefig(path, dpi=150, metadata=_metadata(Path(path).suffix))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write the picture {str(path)!r}: {error}") from error


def as_svg(figure: "Figure") -> str:
    """The figure as SVG text: the same text for the same figure."""
    out = io.StringIO()
    with _quiet():
        figure.savefig(out, format="svg", metadata=_metadata(".svg"))
    return out.getvalue()


def one_line(text: str, *, length: int = 48) -> str:
    """Text for a picture: one line of at most ``length`` characters, not read as mathematics."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    cut = line if len(line) <= length else line[: length - 1] + "…"
    return cut.replace("$", r"\$")  # matplotlib reads formulas between dollars


def movement(first: Run, second: Run, query: str) -> tuple[list[str], list[str]]:
    """The documents that both runs found for a query, in the order of each run."""
    before, after = first[query], second[query]
    both = set(before) & set(after)
    return [d for d in before if d in both], [d for d in after if d in both]


def _figure(width: float, height: float) -> "tuple[Figure, Any]":
    figure: Figure = extra("matplotlib.figure", "plots").Figure(
        figsize=(width, height), layout="constrained"
    )
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


@contextmanager
def _quiet() -> Iterator[None]:
    """The same bytes for the same picture, and a box for a letter that the font lacks."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "rerank-plugins"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _metadata(suffix: str) -> dict[str, None]:
    """Metadata without a date, where a format has one, for the same bytes each time."""
    return {"Date": None} if suffix == ".svg" else {}
