"""Pictures as matplotlib figures, which need no window."""

import io
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
_PALE = "#b5b5b5"


def effectiveness_cost(
    rows: Sequence[Measured], measure: str = "nDCG@10", *, cost: CostKind = "seconds"
) -> "Figure":
    """Every ranker as a point of effectiveness and cost, with the 95 % interval of its mean.

    Args:
        rows: Rankers; one whose cost is not known is drawn as a horizontal line.
        measure: One of their measures.
        cost: The cost of a query: ``"seconds"``, ``"tokens"`` (read and written) or ``"calls"``.

    Raises:
        InputError: There are no rankers, or they lack the measure.
        MissingExtraError: matplotlib is not installed.
    """
    if not rows:
        raise InputError("rows is empty: there is nothing to draw")
    if lacking := [row.name for row in rows if measure not in row.each]:
        raise InputError(f"{lacking[0]!r} was not measured by {measure}")
    figure, axes = _figure(6.4, 4.4)
    for i, row in enumerate(rows):
        colour = _COLOURS[i % len(_COLOURS)]
        mean, price = row.measures[measure], row.cost_per_query(cost)
        if not price:
            axes.axhline(mean, color=colour, linestyle=":", label=row.name)
            continue
        low, high = interval(list(row.each[measure].values()))
        ends = [[mean - low], [high - mean]]
        axes.errorbar([price], [mean], ends, fmt="o", color=colour, capsize=3, label=row.name)
    if any(row.cost_per_query(cost) for row in rows):
        axes.set_xscale("log")
    axes.set(xlabel=f"{cost} per query", ylabel=measure)
    axes.legend(frameon=False, fontsize="small")
    return figure


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
    figure, axes = _figure(6.4, 4.4)
    names = [f"R@{depth}" for depth in depths]
    for i, row in enumerate(rows):
        found = evaluate(row.run, qrels, names)
        values = [found[name] for name in names]
        axes.plot(depths, values, marker="o", color=_COLOURS[i % len(_COLOURS)], label=row.name)
    axes.set_xscale("log")
    axes.set_xticks(depths, [str(depth) for depth in depths], minor=False)
    axes.minorticks_off()
    axes.set(xlabel="passages", ylabel="recall", ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize="small")
    return figure


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
    figure, axes = _figure(6.4, max(2.4, 0.26 * edge + 0.8))
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
        label = one_line((labels or {}).get(document, document))
        for x, place, text, side in (
            (-0.03, places[0], one_line(document), "right"),
            (1.03, places[1], label, "left"),
        ):
            if place < edge:
                axes.text(x, place, text, ha=side, va="center", fontsize=7)
    axes.set(xlim=(-0.5, 2.0 if labels else 1.5), ylim=(edge + 0.5, 0.5), title=one_line(title))
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
