"""Relevance feedback between the parts of a framework: its embedders, retrievers and rerankers.

The parts answer three more kinds of calls, which belong to no model and no index of this library.
A component makes a backend of its parts; everything else is here, and has no colour.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from ..calls import Call, Hit, Plan
from ..errors import InputError
from ..feedback import FeedbackOptions, FeedbackResult, Refinement, refine_query
from ..feedback import search_with_feedback as search_plan
from ..feedback._refine import NEEDS_SCORES, keep_length, needs_scores
from ..feedback._search import NO_VECTORS, Vector, query_vector
from ..middleware import metered
from ..plans import ask
from ..ranking import Ranking, Report, ScoreKind, Usage
from ._items import check_top_k


@dataclass(frozen=True, slots=True)
class EmbedQuery(Call[Vector]):
    """The vector of a query."""

    query: str


@dataclass(frozen=True, slots=True)
class RankHits(Call[Ranking]):
    """The order of hits, by whatever reranks in the framework."""

    query: str
    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class FetchVectors(Call[Sequence[Vector]]):
    """The vectors of hits; an empty one where there is none."""

    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class FeedbackOutcome:
    """What a retriever returns.

    Attributes:
        lines: Id and score of what was found, best first.
        vector: The query vector of the last search.
        meta: Plain values for the user.
        warning: One sentence for the log; empty when all went well.
    """

    lines: tuple[tuple[str, float | None], ...]
    vector: list[float]
    meta: dict[str, Any]
    warning: str


def feedback_options(
    *, search_k: int, depth: int | None, top_k: int | None, raise_on_failure: bool, **others: Any
) -> FeedbackOptions:
    """The options of a component.

    Raises:
        InputError: One is out of range, or the second search could not change the result.
    """
    check_top_k("search_k", search_k)
    check_top_k("top_k", top_k)
    options = FeedbackOptions(
        k=search_k,
        depth=depth,
        on_error="raise" if raise_on_failure else "keep_order",
        **others,
    )
    options.check_useful(top_k)
    return options


def retrieve_with_feedback(
    query: str, vector: Vector | None, options: FeedbackOptions, *, embeds: bool
) -> Plan[FeedbackResult]:
    """Embed the query where it has no vector, and search with feedback.

    Args:
        query: What is asked.
        vector: Its vector, where the caller has it.
        options: How to search.
        embeds: Whether `FetchVectors` can be answered.
    """
    spent: list[Usage] = []

    def rank(query: str, hits: Sequence[Hit]) -> Plan[Ranking]:
        [ranking] = yield from ask([RankHits(query, tuple(hits))])
        spent.append(ranking.usage)
        return ranking

    def search() -> Plan[FeedbackResult]:
        start = vector
        if start is None:
            [start] = yield from ask([EmbedQuery(query)])
        vectors = _vectors if embeds else None
        return (yield from search_plan(query, start, rank=rank, options=options, vectors=vectors))

    found, usage = yield from metered(search())
    # What the parts did is no call of ours: the reranker says what it asked.
    models = sum(spent, Usage())
    return replace(found, usage=replace(models, searches=usage.searches, seconds=usage.seconds))


def ranking_of(
    given: Sequence[str],
    ranked: Sequence[str],
    scores: Sequence[float | None],
    meta: object = None,
) -> Ranking:
    """What a framework's reranker returned, as a ranking of what it was given.

    Items that it left out follow in their order. Scores count where it says (in ``meta``) what
    they are: of an unknown reranker the order is all that can be trusted.

    Args:
        given: Ids, in the order in which it got them.
        ranked: Ids, as it returned them.
        scores: Their scores.
        meta: What one of our own rankers says beside them.
    """
    said = _ours(meta)
    place = {key: i for i, key in enumerate(given)}
    best: dict[int, float | None] = {}
    for key, score in zip(ranked, scores, strict=True):
        if key in place:
            best.setdefault(place[key], score)
    order = list(best)
    missing = [i for i in range(len(given)) if i not in best]
    causes = tuple(map(str, said.get("causes", ())))
    if given and not order:
        causes = (*causes, "the reranker returned nothing of what it was given")
    report = Report(fallbacks=causes, missing=frozenset(missing))
    usage = Usage(**said.get("usage", {}))
    kind: Any = said.get("score_kind")
    values = tuple(score for score in best.values() if score is not None)
    usable = len(values) == len(order) and all(map(math.isfinite, values))
    if missing or kind in (None, "rank") or not usable or list(values) != sorted(values)[::-1]:
        return Ranking((*order, *missing), usage=usage, report=report)
    return Ranking(tuple(order), values, kind, usage=usage, report=report)


def _ours(meta: object) -> dict[str, Any]:
    """What one of our rankers says; nothing where it is somebody else's ``meta``."""
    if not isinstance(meta, Mapping) or meta.get("score_kind") not in get_args(ScoreKind):
        return {}
    usage = meta.get("usage")
    if not isinstance(usage, Mapping) or set(usage) != set(Usage.__slots__):
        return {}
    return dict(meta)


def refine_from_items(
    vector: Vector,
    vectors: Sequence[Vector],
    scores: Sequence[float | None],
    reranked: int,
    method: Any,
) -> tuple[list[float], dict[str, Any], str]:
    """Refine a query with items in a reranker's order.

    Scores are used where each item has one and they never rise along the order: those of a store
    that returns distances, or of before the reranking, do.

    Args:
        vector: The query vector.
        vectors: Of the items; empty where there is none.
        scores: Of the first ``reranked`` items.
        reranked: How many of the items were reranked; the others count as less relevant.
        method: As for `refine_query`.

    Returns:
        The vector, plain values for the user, and a warning (empty when all went well).
    """
    start = query_vector(vector)
    if not any(len(own) for own in vectors):
        return start.tolist(), {"skipped": NO_VECTORS}, f"feedback was skipped: {NO_VECTORS}"
    unknown = [math.nan] * len(start)
    for own in vectors:
        if len(own) not in (0, len(start)):
            raise InputError(
                f"the query has {len(start)} dimensions and a document's vector has {len(own)}",
                hint="Both must come from the same embedding model.",
            )
    rows = [own if len(own) else unknown for own in vectors]
    known = [s for s in scores if s is not None and math.isfinite(s)]
    if len(known) == reranked > 0 and known == sorted(known, reverse=True):
        teacher: dict[str, Any] = {"scores": [*known, *[math.nan] * (len(rows) - reranked)]}
    else:
        teacher = {"order": range(reranked)}
    if "order" in teacher and needs_scores(method):
        return start.tolist(), {"skipped": NEEDS_SCORES}, f"feedback was skipped: {NEEDS_SCORES}"
    refined = refine_query(start, rows, **teacher, method=method)
    moved = keep_length(refined.vector, start)
    return moved.tolist(), {"skipped": refined.skipped, **_numbers(refined)}, ""


def conclude_feedback(found: FeedbackResult, top_k: int | None) -> FeedbackOutcome:
    """The result of a component."""
    scored, kind = found.scored(top_k)
    meta = {
        "score_kind": kind,
        "skipped": found.skipped,
        "found_by_feedback": len(found.new),
        "rounds": [{"skipped": r.skipped, **_numbers(r)} for r in found.refinements],
        "fallback": found.report.fallback,
        "causes": list(found.report.fallbacks),
        "usage": asdict(found.usage),
    }
    return FeedbackOutcome(
        tuple((hit.id, score) for hit, score in scored),
        found.vector.tolist(),
        meta,
        f"feedback was skipped: {found.skipped}" if found.failed else "",
    )


def _vectors(hits: Sequence[Hit]) -> Plan[Sequence[Vector]]:
    bare = tuple(hit for hit in hits if not len(hit.vector))
    if not bare:
        return [hit.vector for hit in hits]
    [fetched] = yield from ask([FetchVectors(bare)])
    by_id = {hit.id: vector for hit, vector in zip(bare, fetched, strict=True)}
    return [by_id.get(hit.id, hit.vector) for hit in hits]


def _numbers(refined: Refinement) -> dict[str, float]:
    names = ("angle", "displacement", "loss_before", "loss_after", "trust")
    return {name: float(getattr(refined, name)) for name in names}
