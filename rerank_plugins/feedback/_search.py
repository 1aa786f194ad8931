"""The plan of relevance feedback: search, rerank, refine the query, search again, fuse."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from .._checks import at_least, one_of
from ..calls import Hit, Plan, Search
from ..errors import CallError, InputError
from ..plans import ask, settle
from ..ranking import Ranking, Report, ScoreKind, Strategy, Usage
from ..text import Passage
from ._adaptive import gar, slide_gar
from ._e2rank import E2Rank
from ._fusion import FUSIONS, Fuse, fused, in_turns, joined
from ._judged import ACROSS, Judged
from ._refine import (
    NEEDS_SCORES,
    FloatArray,
    Refinement,
    find_method,
    keep_length,
    needs_scores,
    refine_query,
    replaced,
)
from ._words import Expansion, find_words

Vector = Sequence[float] | FloatArray
Rank = Callable[[str, Sequence[Hit]], Plan[Ranking]]
"""Plans the ranking of hits."""
Vectors = Callable[[Sequence[Hit]], Plan[Sequence[Vector]]]
"""Plans how to get the vectors of hits; an empty one for a hit without a vector."""

Expand = Literal["query", "neighbours", "both", "words"]

BLANK = "the query is blank"
NOTHING = "the first search found nothing"
NO_VECTORS = "no hit came with a vector"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackOptions:
    """Options of a search with feedback.

    Args:
        k: Hits of each search.
        depth: How many of a search's hits are reranked at most; all when None. The hits below count
            as less relevant: that costs nothing, and reranking 20 of 100 hits brings about half of
            the gain of reranking all 100.
        method: A method of `refine_query`, or ``"e2rank"``: see `E2Rank`; with ``expand="words"``,
            a method of `expand_query`.
        rounds: Refinements, each followed by a search. More than one helps a good reranker and
            harms with a bad one.
        rerank_new: Rerank the new hits of the last search, too. No passage is reranked twice.
        fuse: See `rerank_plugins.feedback.fused`.
        head: How many of the reranked hits come first where ``fuse="head"``; all when None.
        expand: How further passages are found. ``"query"``: by a second search with the refined
            query. ``"neighbours"``: by searches with the vectors of the passages that were ranked
            best, window by window; the query stays as it is. ``"both"``: as neighbours, in turns
            with what the refined query of each window finds. With neighbours, ``depth``
            passages are reranked in all, by `gar` where the reranker's scores can be compared
            across lists, else by `slide_gar`; ``rounds``, ``rerank_new``, ``fuse`` and ``head`` do
            not apply. ``"words"``: by a second search by words, with those of the passages that
            were ranked best: see `search_with_words`.
        neighbours: Neighbours of a passage.
        window: Passages that are reranked together, with neighbours; half of them are carried from
            window to window where scores cannot be compared.
        on_error: ``"raise"``: a failed call raises. ``"keep_order"``: feedback is skipped and the
            result says why.

    Raises:
        InputError: An argument is out of range.
        UnknownNameError: There is no such method.
    """

    k: int = 100
    depth: int | None = None
    method: Any = "safe"
    rounds: int = 1
    rerank_new: bool = True
    fuse: Fuse = "head"
    head: int | None = None
    expand: Expand = "query"
    neighbours: int = 16
    window: int = 20
    on_error: Literal["raise", "keep_order"] = "raise"

    def __post_init__(self) -> None:
        for name in ("k", "rounds"):
            if getattr(self, name) is None:
                raise InputError(f"{name} is None, expected at least 1")
        at_least(1, k=self.k, rounds=self.rounds, neighbours=self.neighbours)
        at_least(2, window=self.window)
        at_least(1, none=True, depth=self.depth, head=self.head)
        one_of("fuse", self.fuse, FUSIONS)
        one_of("expand", self.expand, get_args(Expand))
        if self.follows and (
            (self.rounds, self.rerank_new, self.fuse, self.head) != (1, True, "head", None)
        ):
            raise InputError(
                f"rounds, rerank_new, fuse and head do not apply to expand={self.expand!r}",
                hint="Leave them out, or use expand='query'.",
            )
        one_of("on_error", self.on_error, ("raise", "keep_order"))
        if self.expand == "words":
            find_words(self.method)
        else:
            find_method(self.method)

    @property
    def follows(self) -> bool:
        """Whether neighbours are reranked."""
        return self.expand in ("neighbours", "both")

    @property
    def first_depth(self) -> int:
        """The number of hits of the first search that are reranked together at most."""
        depth = self.k if self.depth is None else self.depth
        return min(depth, self.window) if self.follows else depth

    def check_useful(self, top_k: int | None) -> None:
        """Refuse options with which the second search cannot change the best ``top_k``.

        Raises:
            InputError: They are such options.
        """
        if self.follows:
            return
        reach = min(n for n in (self.head, self.depth, self.k) if n is not None)
        if self.fuse == "head" and not self.rerank_new and top_k is not None and top_k <= reach:
            raise InputError(
                f"the first {reach} places belong to the first search, so the second one cannot "
                f"change the best {top_k}",
                hint="Use rerank_new=True, a smaller head, or another fuse.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackResult:
    """The result of a search with feedback.

    Attributes:
        hits: Everything that was found (by the last search, if ``fuse="second"``), best first,
            each once.
        reranked: Ids of the hits that were reranked, best first.
        scores: The reranker's scores by id; empty if only the order is known.
        first: Ids of the first search, in its order.
        second: Ids of the last search with the query, in its order; those of the first if there was
            no other.
        vector: The query vector of the last search, shape ``(dim,)``; empty where words were added.
        query: The text of the last search, where words were added; else empty.
        refinements: One for each round.
        expansions: One for each round, where words were added.
        skipped: Why there was no (further) refinement or search; empty if nothing was skipped.
        failed: True if it was skipped because something failed or is missing, and not on purpose.
        score_kind: The kind of the reranker's scores.
        report: The report of the reranking; positions count along ``hits``.
        usage: The cost, if it was measured.
    """

    hits: tuple[Hit, ...]
    reranked: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    first: tuple[str, ...] = ()
    second: tuple[str, ...] = ()
    vector: FloatArray
    query: str = ""
    refinements: tuple[Refinement, ...] = ()
    expansions: tuple[Expansion, ...] = ()
    skipped: str = ""
    failed: bool = False
    score_kind: ScoreKind = "rank"
    report: Report = field(default_factory=Report)
    usage: Usage = field(default_factory=Usage)

    @property
    def new(self) -> tuple[str, ...]:
        """Ids that the first search missed, in the order of ``hits``."""
        known = set(self.first)
        return tuple(hit.id for hit in self.hits if hit.id not in known)

    def scored(self, top_k: int | None = None) -> tuple[list[tuple[Hit, float | None]], str]:
        """The best hits with scores of one kind, and that kind.

        The reranker's scores if it scored all of them and they fall along the order; the index's
        own (kind ``"index"``) if nothing was reranked; else reciprocal ranks.

        Args:
            top_k: How many; all when None.
        """
        hits = self.hits[:top_k]
        if not self.reranked:
            return [(hit, hit.score) for hit in hits], "index"
        own = [self.scores.get(hit.id) for hit in hits]
        known = [score for score in own if score is not None]
        if len(known) == len(hits) and known == sorted(known, reverse=True):
            return list(zip(hits, own, strict=True)), self.score_kind
        return [(hit, 1 / rank) for rank, hit in enumerate(hits, start=1)], "rank"


def search_with_feedback(
    query: str,
    vector: Vector,
    *,
    rank: Rank,
    options: FeedbackOptions | None = None,
    vectors: Vectors | None = None,
    first: Sequence[Hit] | None = None,
) -> Plan[FeedbackResult]:
    """Search, rerank, refine the query vector, search again, and fuse.

    With ``options.expand="neighbours"``: search, rerank, and follow the neighbours of what was
    ranked best.

    Asks `Search` calls, and the calls of ``rank`` and ``vectors``. No passage is reranked twice.

    Args:
        query: The query, which the reranker reads.
        vector: The query's vector, shape ``(dim,)``.
        rank: How hits are ranked; `ranked_by` makes one of a strategy.
        options: See `FeedbackOptions`.
        vectors: Where the vectors of hits come from; from the hits themselves when None.
        first: The hits of another first stage, such as BM25's, best first, instead of a search;
            with their vectors, as `FaissIndex.hits` gives them.

    Raises:
        InputError: The vector is not one, or a hit's vector has another dimension.
        CallError: A call failed and ``options.on_error`` is ``"raise"``.

    References:
        Reddy et al., ReFIT, arXiv:2305.11744; Reddy et al., FIRST, arXiv:2406.15657, section 4.4.
        Of neighbours: see `gar` and `slide_gar`.

    Examples:
        >>> from rerank_plugins.backends import Routed
        >>> from rerank_plugins.feedback import FaissIndex
        >>> from rerank_plugins.plans import run
        >>> from rerank_plugins.strategies import PairScore
        >>> from rerank_plugins.testing import Oracle
        >>> vectors = np.random.default_rng(0).normal(size=(50, 4))
        >>> ids = [str(i) for i in range(50)]
        >>> index = FaissIndex.build(vectors, ids=ids, texts=[f"passage {i}" for i in ids])
        >>> backend = Routed(pairs=Oracle(), text=Oracle(), search=index)
        >>> plan = search_with_feedback(
        ...     "a question", vectors[0], rank=ranked_by(PairScore()),
        ...     options=FeedbackOptions(k=10),
        ... )
        >>> len(run(plan, backend.run).hits) >= 10
        True
    """
    options = options or FeedbackOptions()
    if options.expand == "words":
        raise InputError("expand='words' has no query vector", hint="Use search_with_words.")
    kind = _Follower if options.follows else _Loop
    loop = kind(query, rank, options, vectors or _own_vectors, query_vector(vector))
    return loop.plan(first)


def ranked_by(strategy: Strategy) -> Rank:
    """Make a `Rank` that ranks the texts of hits with a strategy.

    It does not see the hits' scores, so `Calibrated` does not count places: as teachers, places
    helped no more than they harmed on the collections that this was decided on.
    """

    def rank(query: str, hits: Sequence[Hit]) -> Plan[Ranking]:
        return strategy.rank(query, [Passage.of(hit.text) for hit in hits])

    return rank


def query_vector(vector: Any) -> FloatArray:
    """Convert a query vector to an array of shape ``(dim,)``.

    Raises:
        InputError: It is not a list of finite numbers.
    """
    try:
        array = np.asarray(vector, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"the query vector cannot be read as numbers: {error}") from error
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise InputError(
            f"the query vector has shape {array.shape}", hint="Give one list of finite numbers."
        )
    return array


class _Stop(NamedTuple):
    """Why there is no further round: see `FeedbackResult.skipped` and ``failed``."""

    reason: str
    failed: bool = False


@dataclass(slots=True)
class _Loop:
    """One search with feedback under way: the variables of its plan."""

    query: str
    rank: Rank
    options: FeedbackOptions
    ask_vectors: Vectors
    vector: FloatArray
    last: tuple[str, ...] = ()
    pool: dict[str, Hit] = field(default_factory=dict)
    vectors: dict[str, FloatArray] = field(default_factory=dict)
    judged: Judged = field(default_factory=Judged)
    refinements: list[Refinement] = field(default_factory=list)

    def plan(self, given: Sequence[Hit] | None) -> Plan[FeedbackResult]:
        hits = given
        if hits is None:
            [hits] = yield from ask([self._search()])
        first = self.last = self._add(hits)
        if not first:
            stop = _Stop(NOTHING)
        elif not self.query.strip():
            stop = _Stop(BLANK)
        else:
            yield from self._rerank(first[: self.options.first_depth])
            stop = self._failed() or (yield from self._expand(first))
        return self._result(first, stop)

    def _expand(self, first: Sequence[str]) -> Plan[_Stop]:  # noqa: ARG002 - neighbours need it
        """Find further passages, and rerank them. Why it ended."""
        left, stop = self.options.rounds, None
        while stop is None and left:
            left -= 1
            stop = yield from self._round(rerank=bool(left) or self.options.rerank_new)
        return stop or _Stop("")

    def _failed(self) -> _Stop | None:
        why = self.judged.failed
        return _Stop(f"the reranker failed: {why}", failed=True) if why else None

    def _round(self, *, rerank: bool) -> Plan[_Stop | None]:
        """Refine, and search again. A reason to stop (empty if nothing new was found), or None."""
        if (stop := (yield from self._change())) is not None:
            return stop
        found = yield from settle(ask([self._search()]))
        if isinstance(found, CallError):
            if self.options.on_error == "raise":
                raise found
            return _Stop(f"the next search failed: {found}", failed=True)
        if stop := self._ignored(found[0]):
            return stop
        known = set(self.pool)
        self.last = self._add(found[0])
        if known.issuperset(self.last):
            return _Stop("")
        if rerank:
            yield from self._rerank(self.last)
        if self.judged.failed:
            why = f"the new hits of the next search were not reranked: {self.judged.failed}"
            return _Stop(why, failed=True)
        return None

    def _change(self) -> Plan[_Stop | None]:
        """Refine the query. The reason if it stays as it is."""
        refined = yield from self._refine(self.last)
        if isinstance(refined, _Stop):
            return refined
        self.refinements.append(refined)
        if refined.skipped:
            return _Stop(refined.skipped)
        self.vector = keep_length(refined.vector.astype(np.float64), self.vector)
        return None

    def _ignored(self, hits: Sequence[Hit]) -> _Stop | None:  # noqa: ARG002 - words need them
        """A reason not to use what the changed query found; None if there is none."""
        return None

    def _search(self) -> Search:
        return Search(tuple(self.vector.tolist()), self.options.k)

    def _add(self, hits: Sequence[Hit]) -> tuple[str, ...]:
        """Add new hits to the pool. The ids of all, each once."""
        ids = tuple(dict.fromkeys(hit.id for hit in hits))
        for hit in hits:
            self.pool.setdefault(hit.id, hit)
        return ids

    def _rerank(self, ids: Sequence[str]) -> Plan[None]:
        """Rerank the hits within the depth that have not been reranked."""
        done = set(self.judged.order)
        asked = tuple(key for key in ids[: self.options.depth] if key not in done)
        if not asked:
            return
        ranking = yield from self._ranking(asked)
        levels: Mapping[str, float] = {}
        if done and not ranking.kept_order and not self.judged.comparable(ranking):
            levels = yield from self._levels((*self.judged.order, *asked))
        self.judged = self.judged.with_ranking(asked, ranking, levels)

    def _levels(self, ids: Sequence[str]) -> Plan[Mapping[str, float]]:
        """The retriever's present score of each passage."""
        yield from self._get_vectors(ids)
        own = {key: self.vectors.get(key, ()) for key in ids}
        return {k: float(v @ self.vector) if len(v) else -np.inf for k, v in own.items()}

    def _ranking(self, ids: Sequence[str]) -> Plan[Ranking]:
        """Rank hits; in their order where that failed and ``on_error`` is ``"keep_order"``."""
        ranking = yield from settle(self.rank(self.query, [self.pool[key] for key in ids]))
        if not isinstance(ranking, CallError):
            return ranking
        if self.options.on_error == "raise":
            raise ranking
        return Ranking(tuple(range(len(ids))), report=Report(fallbacks=(str(ranking),)))

    def _refine(self, ids: Sequence[str]) -> Plan[Refinement | _Stop]:
        """A refinement, or the reason why it is not possible."""
        method = find_method(self.options.method)
        if isinstance(method, E2Rank):
            return (yield from self._write(method))
        if missed := (yield from self._get_vectors(ids)):
            return _Stop(missed, failed=True)
        missing = np.full(len(self.vector), np.nan, dtype=np.float32)
        rows = [self.vectors[key] if len(self.vectors[key]) else missing for key in ids]
        if not any(len(self.vectors[key]) for key in ids):
            return _Stop(NO_VECTORS, failed=True)
        opinion = self.judged.of(ids)
        keeps = self.options.on_error == "keep_order"
        if keeps and "scores" not in opinion and needs_scores(self.options.method):
            return _Stop(NEEDS_SCORES, failed=True)
        return refine_query(self.vector, np.stack(rows), **opinion, method=self.options.method)

    def _write(self, method: E2Rank) -> Plan[Refinement | _Stop]:
        """The query vector that the encoder writes, or the reason why there is none."""
        best = [self.pool[key].text for key in self.judged.order]
        found = yield from settle(method.ask(self.query, best))
        if isinstance(found, CallError):
            if self.options.on_error == "raise":
                raise found
            return _Stop(f"the query was not written again: {found}", failed=True)
        if len(found) != len(self.vector):
            raise InputError(
                f"the query has {len(self.vector)} dimensions and the vector of e2rank "
                f"{len(found)}",
                hint="The index must hold the vectors of the model that answers e2rank.",
            )
        return replaced(self.vector, np.asarray(found, dtype=np.float64))

    def _get_vectors(self, ids: Sequence[str]) -> Plan[str]:
        """Get the vectors of hits. The reason if that failed, else an empty text."""
        wanted = [self.pool[key] for key in ids if key not in self.vectors]
        found = yield from settle(self.ask_vectors(wanted))
        if isinstance(found, CallError):
            if self.options.on_error == "raise":
                raise found
            return f"getting the vectors failed: {found}"
        for hit, vector in zip(wanted, found, strict=True):
            self.vectors[hit.id] = np.asarray(vector, dtype=np.float32)
            if (n := len(self.vectors[hit.id])) not in (0, len(self.vector)):
                raise InputError(
                    f"the query has {len(self.vector)} dimensions and the vector of hit "
                    f"{hit.id!r} has {n}",
                    hint="Both must come from the same embedding model.",
                )
        return ""

    def _result(self, first: Sequence[str], stop: _Stop) -> FeedbackResult:
        options = self.options
        ids = fused(self.judged.order, first, self.last, fuse=options.fuse, head=options.head)
        if options.fuse != "second":
            ids = joined(ids, self.pool)  # hits of searches between the first and the last
        return FeedbackResult(
            hits=tuple(self.pool[key] for key in ids),
            reranked=self.judged.order,
            scores=self.judged.scores,
            first=tuple(first),
            second=tuple(self.last),
            vector=self.vector,
            refinements=tuple(self.refinements),
            skipped=stop.reason,
            failed=stop.failed,
            score_kind=self.judged.kind,
            report=self.judged.report(ids),
        )


@dataclass(slots=True)
class _Follower(_Loop):
    """A search under way that follows the neighbours of what was ranked best.

    Attributes:
        start: The query vector, from which each refinement starts.
        stop: Why there were no neighbours, the first time that there were none.
    """

    start: FloatArray = field(init=False)
    stop: _Stop | None = None

    def __post_init__(self) -> None:
        self.start = self.vector

    def _expand(self, first: Sequence[str]) -> Plan[_Stop]:
        options = self.options
        budget = options.k if options.depth is None else options.depth
        neighbours = partial(self._neighbours, first)
        if self.judged.kind in ACROSS:
            yield from gar(
                first,
                score=self._score,
                neighbours=neighbours,
                budget=budget,
                batch=options.window,
            )
        else:
            yield from slide_gar(
                first,
                order=self._order,
                neighbours=neighbours,
                budget=budget,
                size=options.window,
                step=options.window // 2,
            )
        return self._failed() or self.stop or _Stop("")

    def _score(self, ids: Sequence[str]) -> Plan[Mapping[str, float]]:
        """The scores of passages; those of the first window are known."""
        yield from self._rerank(ids)
        return {key: self.judged.scores[key] for key in ids if key in self.judged.scores}

    def _order(self, ids: Sequence[str]) -> Plan[Sequence[str]]:
        """The order of a window; that of the first one is known."""
        if set(ids) != set(self.judged.order):
            ranking = yield from self._ranking(ids)
            self.judged = self.judged.with_window(ids, ranking)
        return self.judged.order[: len(ids)]

    def _neighbours(self, first: Sequence[str], ids: Sequence[str]) -> Plan[list[list[str]]]:
        """The neighbours of passages; with ``"both"``, in turns with what a refined query finds."""
        searches, stop = yield from self._searches(first, ids)
        found = yield from settle(ask(list(searches.values())))
        if isinstance(found, CallError):
            if self.options.on_error == "raise":
                raise found
            stop = _Stop(f"the search for neighbours failed: {found}", failed=True)
            found = [()] * len(searches)
        self.stop = self.stop or stop
        hits = {key: self._add(one) for key, one in zip(searches, found, strict=True)}
        near = [[other for other in hits.get(key, ()) if other != key] for key in ids]
        near = [keys[: self.options.neighbours] for keys in near]
        if None in hits:
            self.last = hits[None]
            new = [key for key in self.last if key not in self.judged.order]
            near[0] = in_turns(new[: self.options.neighbours], near[0])
        return near

    def _searches(
        self, first: Sequence[str], ids: Sequence[str]
    ) -> Plan[tuple[dict[str | None, Search], _Stop | None]]:
        """The searches with the vectors of passages, and why some are missing.

        With ``"both"``, that of the refined query stands under None.
        """
        if missed := (yield from self._get_vectors(ids)):
            return {}, _Stop(missed, failed=True)
        k = self.options.neighbours + 1  # a passage is its own nearest neighbour
        vectors = {key: self.vectors[key] for key in ids if len(self.vectors[key])}
        searches: dict[str | None, Search] = {
            key: Search(tuple(map(float, row)), k) for key, row in vectors.items()
        }
        if not searches:
            return {}, _Stop(NO_VECTORS, failed=True)
        if self.options.expand == "neighbours":
            return searches, None
        self.vector = self.start
        refined = yield from self._refine(joined(first, self.judged.order))
        if isinstance(refined, _Stop):
            return searches, refined
        self.refinements.append(refined)
        self.vector = keep_length(refined.vector.astype(np.float64), self.start)
        return {**searches, None: self._search()}, None

    def _result(self, first: Sequence[str], stop: _Stop) -> FeedbackResult:
        """The result, without neighbours that were not reranked."""
        ids = joined(self.judged.order, self.last, first)
        self.pool = {key: self.pool[key] for key in ids}
        return _Loop._result(self, first, stop)


def _own_vectors(hits: Sequence[Hit]) -> Plan[Sequence[Vector]]:
    yield from ()
    return [hit.vector for hit in hits]
