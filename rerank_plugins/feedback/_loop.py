"""The loop of feedback: rerank, refine the query, search again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .._checks import is_blank, listed
from ..calls import Hit, Plan, Search
from ..errors import CallError, InputError
from ..plans import ask, settle
from ..ranking import Ranking, Report
from ._e2rank import E2Rank
from ._fusion import fused, joined
from ._judged import Judged
from ._options import FeedbackOptions, FeedbackResult, Rank, Vectors
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

BLANK = "the query is blank"
NOTHING = "the first search found nothing"
NO_VECTORS = "no hit came with a vector"


def given_hits(hits: Any) -> tuple[Hit, ...]:
    """Hits that a user gives.

    Raises:
        InputError: They are something else.
    """
    found = tuple(listed("the hits", hits))
    if other := next((hit for hit in found if not isinstance(hit, Hit)), None):
        raise InputError(
            f"there is {other!r:.80} among the hits",
            hint="Give Hit(id, text, vector); FaissIndex.hits(ids) makes them of ids.",
        )
    return found


class Stop(NamedTuple):
    """Why there is no further round: see `FeedbackResult.skipped` and ``failed``."""

    reason: str
    failed: bool = False


@dataclass(slots=True)
class Loop:
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
        if given is None:
            [hits] = yield from ask([self._search()])
        else:
            hits = given_hits(given)
        first = self.last = self._add(hits)
        if not first:
            stop = Stop(NOTHING)
        elif is_blank(self.query):
            stop = Stop(BLANK)
        else:
            yield from self._rerank(first[: self.options.first_depth])
            stop = self._failed() or (yield from self._expand(first))
        return self._result(first, stop)

    def _expand(self, first: Sequence[str]) -> Plan[Stop]:  # noqa: ARG002 - neighbours need it
        """Find further passages, and rerank them. Why it ended."""
        left, stop = self.options.rounds, None
        while stop is None and left:
            left -= 1
            stop = yield from self._round(rerank=bool(left) or self.options.rerank_new)
        return stop or Stop("")

    def _failed(self) -> Stop | None:
        why = self.judged.failed
        return Stop(f"the reranker failed: {why}", failed=True) if why else None

    def _round(self, *, rerank: bool) -> Plan[Stop | None]:
        """Refine, and search again. A reason to stop (empty if nothing new was found), or None."""
        if (stop := (yield from self._change())) is not None:
            return stop
        found = yield from settle(ask([self._search()]))
        if isinstance(found, CallError):
            if self.options.on_error == "raise":
                raise found
            return Stop(f"the next search failed: {found}", failed=True)
        if stop := self._ignored(found[0]):
            return stop
        known = set(self.pool)
        self.last = self._add(found[0])
        if known.issuperset(self.last):
            return Stop("")
        if rerank:
            yield from self._rerank(self.last)
        if self.judged.failed:
            why = f"the new hits of the next search were not reranked: {self.judged.failed}"
            return Stop(why, failed=True)
        return None

    def _change(self) -> Plan[Stop | None]:
        """Refine the query. The reason if it stays as it is."""
        refined = yield from self._refine(self.last)
        if isinstance(refined, Stop):
            return refined
        self.refinements.append(refined)
        if refined.skipped:
            return Stop(refined.skipped)
        self.vector = keep_length(refined.vector.astype(np.float64), self.vector)
        return None

    def _ignored(self, hits: Sequence[Hit]) -> Stop | None:  # noqa: ARG002 - words need them
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

    def _refine(self, ids: Sequence[str]) -> Plan[Refinement | Stop]:
        """A refinement, or the reason why it is not possible."""
        method = find_method(self.options.method)
        if isinstance(method, E2Rank):
            return (yield from self._write(method))
        if missed := (yield from self._get_vectors(ids)):
            return Stop(missed, failed=True)
        missing = np.full(len(self.vector), np.nan, dtype=np.float32)
        rows = [self.vectors[key] if len(self.vectors[key]) else missing for key in ids]
        if not any(len(self.vectors[key]) for key in ids):
            return Stop(NO_VECTORS, failed=True)
        opinion = self.judged.of(ids)
        keeps = self.options.on_error == "keep_order"
        if keeps and "scores" not in opinion and needs_scores(self.options.method):
            return Stop(NEEDS_SCORES, failed=True)
        return refine_query(self.vector, np.stack(rows), **opinion, method=self.options.method)

    def _write(self, method: E2Rank) -> Plan[Refinement | Stop]:
        """The query vector that the encoder writes, or the reason why there is none."""
        best = [self.pool[key].text for key in self.judged.order]
        found = yield from settle(method.ask(self.query, best))
        if isinstance(found, CallError):
            if self.options.on_error == "raise":
                raise found
            return Stop(f"the query was not written again: {found}", failed=True)
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

    def _result(self, first: Sequence[str], stop: Stop) -> FeedbackResult:
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
