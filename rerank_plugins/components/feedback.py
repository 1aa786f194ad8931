"""Relevance feedback between the parts of a framework: its embedders, retrievers and rerankers.

The parts answer three more kinds of calls, which no model and no index of this library answers. A
component makes a backend of its parts, a subclass of `PartsBackend`; everything else is here.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from .._runner import Runner, results_of
from ..calls import Batch, Call, Hit, Plan, Replies, Reply
from ..errors import CallError, InputError
from ..feedback import (
    E2Rank,
    Expand,
    FeedbackOptions,
    FeedbackResult,
    Refinement,
    find_method,
    refine_query,
    search_with_words,
)
from ..feedback import search_with_feedback as search_plan
from ..feedback._e2rank import ASKS
from ..feedback._loop import NO_VECTORS
from ..feedback._options import Vector, query_vector
from ..feedback._refine import NEEDS_SCORES, keep_length, needs_scores
from ..handlers import failure
from ..middleware import metered
from ..plans import ask
from ..ranking import Ranking, Report, ScoreKind, Usage
from ._items import check_top_k

__all__ = [
    "EmbedQuery",
    "FeedbackOutcome",
    "FetchVectors",
    "PartsBackend",
    "RankHits",
    "check_method",
    "conclude_feedback",
    "feedback_options",
    "ranking_of",
    "refine_from_items",
    "results_of",
    "retrieve_with_feedback",
]


@dataclass(frozen=True, slots=True)
class EmbedQuery(Call[Vector]):
    """The vector of a query."""

    query: str


@dataclass(frozen=True, slots=True)
class RankHits(Call[Ranking]):
    """The order of hits, by the framework's reranker."""

    query: str
    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class FetchVectors(Call[Sequence[Vector]]):
    """The vectors of hits; an empty one for a hit without a vector."""

    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class FeedbackOutcome:
    """The result of a retriever.

    Attributes:
        lines: Id and score of each hit, best first.
        vector: The query vector of the last search.
        meta: Plain values for the user.
        warning: One sentence for the log; empty if nothing failed.
    """

    lines: tuple[tuple[str, float | None], ...]
    vector: list[float]
    meta: dict[str, Any]
    warning: str


class PartsBackend(ABC):
    """The parts of a framework's retriever as a backend.

    Each call is answered by one part. An exception in it fails that call alone.
    """

    @abstractmethod
    def answer(self, call: Call[Any]) -> Any:
        """Answer a call."""

    @abstractmethod
    async def aanswer(self, call: Call[Any]) -> Any:
        """`answer`, without blocking the event loop."""

    def run(self, calls: Batch) -> Replies:
        """Answer every call, one after the other."""
        replies: list[Reply[Any] | CallError] = []
        for call in calls:
            try:
                replies.append(Reply(self.answer(call)))
            except Exception as error:  # noqa: BLE001 - the framework's parts may raise anything
                replies.append(failure(error))
        return replies

    async def arun(self, calls: Batch) -> Replies:
        """`run`, on an event loop."""
        replies: list[Reply[Any] | CallError] = []
        for call in calls:
            try:
                replies.append(Reply(await self.aanswer(call)))
            except Exception as error:  # noqa: BLE001 - the framework's parts may raise anything
                replies.append(failure(error))
        return replies

    @property
    def runner(self) -> Runner:
        """Runs plans over these parts."""
        return Runner(self)


def feedback_options(
    *,
    search_k: int,
    depth: int | None,
    top_k: int | None,
    raise_on_failure: bool,
    by_text: bool = False,
    expand: Expand = "query",
    **others: Any,
) -> FeedbackOptions:
    """The options of a component.

    Args:
        search_k: Hits of each search.
        depth: How many are reranked.
        top_k: How many are returned.
        raise_on_failure: Whether failures raise.
        by_text: Whether the retriever searches by text: a query is then refined by adding words.
        expand: As of `FeedbackOptions`.
        **others: Its other fields.

    Raises:
        InputError: One is out of range, or the second search could not change the result.
        UnknownNameError: There is no such method for this retriever.
    """
    if by_text and expand == "query":
        expand = "words"
    if by_text != (expand == "words"):
        raise InputError(
            f"expand is {expand!r}, and the retriever searches by "
            f"{'text' if by_text else 'vectors'}",
            hint="Use expand='query', which adds words where the retriever searches by text.",
        )
    if "method" in others and not by_text:
        check_method(others["method"])
    check_top_k("search_k", search_k)
    check_top_k("top_k", top_k)
    options = FeedbackOptions(
        k=search_k,
        depth=depth,
        expand=expand,
        on_error="raise" if raise_on_failure else "keep_order",
        **others,
    )
    options.check_useful(top_k)
    return options


def check_method(method: Any) -> None:
    """Refuse what is not a feedback method, and one that asks a model: components have none for it.

    Raises:
        InputError: It asks a model, or has no such constant.
        UnknownNameError: There is no such method.
    """
    if isinstance(find_method(method), E2Rank):
        raise InputError(ASKS, hint="Use another method, such as 'safe'.")


def retrieve_with_feedback(
    query: str,
    vector: Vector | None,
    options: FeedbackOptions,
    *,
    embeds: bool,
    needs_vector: bool = True,
) -> Plan[FeedbackResult]:
    """Embed the query if it has no vector, and search with feedback.

    Args:
        query: The query.
        vector: Its vector, if the caller has it.
        options: Options of the search.
        embeds: Whether `FetchVectors` can be answered.
        needs_vector: Whether the retriever searches by one.
    """
    spent: list[Usage] = []

    def rank(query: str, hits: Sequence[Hit]) -> Plan[Ranking]:
        [ranking] = yield from ask([RankHits(query, tuple(hits))])
        spent.append(ranking.usage)
        return ranking

    def search() -> Plan[FeedbackResult]:
        start = vector
        if start is None and needs_vector:
            [start] = yield from ask([EmbedQuery(query)])
        if start is None or options.expand == "words":
            plan = search_with_words(query, rank=rank, options=options, vector=start)
            return (yield from plan)
        vectors = _vectors if embeds else None
        return (yield from search_plan(query, start, rank=rank, options=options, vectors=vectors))

    found, usage = yield from metered(search())
    # The calls to parts do not count: the reranker reports the calls that it made.
    models = sum(spent, Usage())
    cost = replace(
        models,
        searches=usage.searches,
        seconds=usage.seconds,
        loading_seconds=usage.loading_seconds,
    )
    return replace(found, usage=cost)


def ranking_of(
    given: Sequence[str],
    ranked: Sequence[str],
    scores: Sequence[float | None],
    meta: object = None,
) -> Ranking:
    """Make a ranking of the result of a framework's reranker.

    Items that it left out follow in their order. Scores count if the reranker says (in ``meta``)
    what they are: of an unknown reranker only the order can be trusted.

    Args:
        given: Ids, in the order in which it got them.
        ranked: Ids, as it returned them.
        scores: Their scores.
        meta: The report of a reranker of this library; anything else is ignored.
    """
    said = _own_report(meta)
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


def _own_report(meta: object) -> dict[str, Any]:
    """``meta`` if a reranker of this library wrote it, else nothing."""
    if not isinstance(meta, Mapping) or meta.get("score_kind") not in get_args(ScoreKind):
        return {}
    usage = meta.get("usage")
    first = set(Usage.__slots__) - {"loading_seconds"}  # stored reports may lack what came later
    if not isinstance(usage, Mapping) or not first <= set(usage) <= set(Usage.__slots__):
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

    Scores are used if each item has one and they never rise along the order. A store's distances,
    and scores from before the reranking, do rise.

    Args:
        vector: The query vector.
        vectors: The items' vectors; empty for an item without one.
        scores: The scores of the first ``reranked`` items.
        reranked: How many of the items were reranked; the others count as less relevant.
        method: A method of `refine_query`.

    Returns:
        The vector, plain values for the user, and a warning (empty if nothing failed).
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
    """Make a component's result of a search's."""
    scored, kind = found.scored(top_k)
    meta = {
        "score_kind": kind,
        "skipped": found.skipped,
        "found_by_feedback": len(found.new),
        "rounds": [
            *({"skipped": r.skipped, **_numbers(r)} for r in found.refinements),
            *(asdict(expansion) for expansion in found.expansions),
        ],
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
