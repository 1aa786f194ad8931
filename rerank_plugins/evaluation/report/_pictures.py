"""Pictures, as matplotlib figures without a window: save them, or put them on a page."""

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...errors import InputError, MissingExtraError
from .. import Measured, Qrels, Run, evaluate, interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CostKind = Literal["seconds", "tokens", "calls"]
DEPTHS = (1, 2, 5, 10, 20, 50, 100)
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#333333")
_PALE = "#b5b5b5"


def effectiveness_cost(
    rows: Sequence[Measured], measure: str = "nDCG@10", *, cost: CostKind = "seconds"
) -> "Figure":
    """Every ranker as a point: how good against how dear, with the 95 % interval of the mean.

    Args:
        rows: Rankers; one without a known cost is drawn as a line across.
        measure: One of their measures.
        cost: What a query costs: ``"seconds"``, ``"tokens"`` (read and written) or ``"calls"``.

    Raises:
        InputError: There are no rankers, or they lack the measure.
        MissingExtraError: matplotlib is not installed.
    """
    _check(rows, measure)
    figure, axes = _figure(6.4, 4.4)
    for i, row in enumerate(rows):
        colour = _COLOURS[i % len(_COLOURS)]
        mean, each = row.measures[measure], list(row.each[measure].values())
        price = cost_per_query(row, cost)
        if not price:
            axes.axhline(mean, color=colour, linestyle=":", label=row.name)
            continue
        low, high = interval(each)
        axes.errorbar(
            [price],
            [mean],
            yerr=[[mean - low], [high - mean]],
            fmt="o",
            color=colour,
            capsize=3,
            label=row.name,
        )
    unit = {"seconds": "seconds", "tokens": "tokens", "calls": "calls"}[cost]
    if any(cost_per_query(row, cost) for row in rows):
        axes.set_xscale("log")
    axes.set(xlabel=f"{unit} per query", ylabel=measure)
    axes.legend(frameon=False, fontsize="small")
    return figure


def recall_by_depth(
    rows: Sequence[Measured], qrels: Qrels, *, depths: Sequence[int] = DEPTHS
) -> "Figure":
    """How many of the relevant passages are among the first so many.

    Args:
        rows: Rankers.
        qrels: Grade by query id and document id.
        depths: Where recall is taken.

    Raises:
        InputError: There are no rankers or depths.
        MissingExtraError: matplotlib or ``ir_measures`` is not installed.
    """
    if not rows or not depths:
        raise InputError("there is nothing to draw")
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
    """A bump chart of one query: where each passage stood, and where it stands.

    Args:
        before: Document ids, best first.
        after: The same documents in a new order.
        grades: Judgements; relevant passages (grade above 0) are coloured.
        labels: What to write beside a document instead of its id.
        depth: Places to draw; a passage that is among them on one side only leads off the edge.
        title: Above the picture.

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
        name = plain((labels or {}).get(document, document))
        for x, place, side in ((0, places[0], "right"), (1, places[1], "left")):
            if place < edge:
                offset = -0.03 if x == 0 else 0.03
                text = name if x == 1 else document
                axes.text(x + offset, place, plain(text), ha=side, va="center", fontsize=7)
    axes.set(xlim=(-0.5, 2.0 if labels else 1.5), ylim=(edge + 0.5, 0.5), title=plain(title))
    axes.set_xticks([0, 1], ["before", "after"])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def training_curve(history: Sequence[Mapping[str, float]]) -> "Figure":
    """The loss of each step and, where it was validated, nDCG@10 on an axis of its own.

    Args:
        history: What a trainer logged: mappings with ``step``, and ``loss`` or ``eval_ndcg``.

    Raises:
        InputError: Nothing was logged.
        MissingExtraError: matplotlib is not installed.
    """
    losses = [(line["step"], line["loss"]) for line in history if "loss" in line]
    found = [(line["step"], line["eval_ndcg"]) for line in history if "eval_ndcg" in line]
    if not losses and not found:
        raise InputError("there is nothing to draw")
    figure, axes = _figure(6.4, 4.0)
    axes.plot(*_columns(losses), color=_PALE, linewidth=1, label="loss")
    axes.plot(*_columns(_smoothed(losses)), color=_COLOURS[1], label="loss, mean of 20 steps")
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


def _smoothed(points: Sequence[tuple[float, float]], over: int = 20) -> list[tuple[float, float]]:
    """The mean of each point and those before it."""
    values = [y for _, y in points]
    parts = [values[max(0, i + 1 - over) : i + 1] for i in range(len(values))]
    return [(x, sum(part) / len(part)) for (x, _), part in zip(points, parts, strict=True)]


def save(figure: "Figure", path: str | Path) -> None:
    """Write a figure; the suffix says how: .svg, .png or .pdf.

    Raises:
        InputError: The file cannot be written, or not in that format.
    """
    try:
        with _quiet():
            figure.savefig(path, dpi=150, metadata=_metadata(Path(path).suffix))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write the picture {str(path)!r}: {error}") from error


def as_svg(figure: "Figure") -> str:
    """The figure as SVG text, the same text for the same figure."""
    out = io.StringIO()
    with _quiet():
        figure.savefig(out, format="svg", metadata=_metadata(".svg"))
    return out.getvalue()


def cost_per_query(row: Measured, cost: CostKind) -> float | None:
    """What a query cost; None where that is not known."""
    if row.usage is None or not row.queries:
        return None
    total = {
        "seconds": row.usage.seconds,
        "tokens": row.usage.prompt_tokens + row.usage.generated_tokens,
        "calls": row.usage.calls,
    }[cost]
    return total / row.queries


def plain(text: str, *, length: int = 48) -> str:
    """Text that a picture may show: one line, no mathematics, no more than ``length``."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    cut = line if len(line) <= length else line[: length - 1] + "…"
    return cut.replace("$", r"\$")  # matplotlib reads formulas between dollars


def reordered(first: Run, run: Run, query: str) -> tuple[list[str], list[str]]:
    """The documents of both runs for a query, before and after, each once."""
    after = list(run[query])
    before = [d for d in first[query] if d in set(after)]
    return before, [d for d in after if d in set(before)]


def _check(rows: Sequence[Measured], measure: str) -> None:
    if not rows:
        raise InputError("there is nothing to draw")
    if lacking := [row.name for row in rows if measure not in row.each]:
        raise InputError(f"{lacking[0]!r} was not measured by {measure}")


def _figure(width: float, height: float) -> "tuple[Figure, Any]":
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "matplotlib is not installed",
            hint='Install it with: pip install "rerank-plugins[plots]".',
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained")
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
    """No dates, where a format has them."""
    return {"Date": None} if suffix == ".svg" else {}
