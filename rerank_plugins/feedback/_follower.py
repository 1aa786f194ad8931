"""A search that follows the neighbours of what was ranked best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ..calls import Plan, Search
from ..errors import CallError
from ..plans import ask, settle
from ._adaptive import gar, slide_gar
from ._fusion import in_turns, joined
from ._judged import ACROSS
from ._loop import NO_VECTORS, Loop, Stop
from ._options import FeedbackResult
from ._refine import FloatArray, keep_length

ONE_WINDOW = "all {} passages that may be reranked are in the first window, so none are neighbours"


@dataclass(slots=True)
class Follower(Loop):
    """A search under way that follows the neighbours of what was ranked best.

    Attributes:
        start: The query vector, from which each refinement starts.
        stop: Why there were no neighbours, the first time that there were none.
        near: The neighbours of each passage that was asked about.
    """

    start: FloatArray = field(init=False)
    stop: Stop | None = None
    near: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start = self.vector

    def _expand(self, first: Sequence[str]) -> Plan[Stop]:
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
        if len(first) >= budget <= options.window:
            return self._failed() or Stop(ONE_WINDOW.format(budget))
        return self._failed() or self.stop or Stop("")

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
        searches, stop = yield from self._searches(first, [k for k in ids if k not in self.near])
        found = (yield from settle(ask(list(searches.values())))) if searches else ()
        if isinstance(found, CallError):
            if self.options.on_error == "raise":
                raise found
            stop = Stop(f"the search for neighbours failed: {found}", failed=True)
            searches, found = {}, ()
        self.stop = self.stop or stop
        n = self.options.neighbours
        for key, one in zip(searches, found, strict=True):
            hits = self._add(one)
            if key is None:
                self.last = hits
            else:
                self.near[key] = [other for other in hits if other != key][:n]
        near = [self.near.get(key, []) for key in ids]
        if None in searches:
            new = [key for key in self.last if key not in self.judged.order]
            near[0] = in_turns(new[:n], near[0])
        return near

    def _searches(
        self, first: Sequence[str], ids: Sequence[str]
    ) -> Plan[tuple[dict[str | None, Search], Stop | None]]:
        """The searches with the vectors of passages, and why some are missing.

        With ``"both"``, that of the refined query stands under None.
        """
        if missed := (yield from self._get_vectors(ids)):
            return {}, Stop(missed, failed=True)
        k = self.options.neighbours + 1  # a passage is its own nearest neighbour
        vectors = {key: self.vectors[key] for key in ids if len(self.vectors[key])}
        searches: dict[str | None, Search] = {
            key: Search(tuple(map(float, row)), k) for key, row in vectors.items()
        }
        if not searches and not self.near:
            return {}, Stop(NO_VECTORS, failed=True)
        if self.options.expand == "neighbours":
            return searches, None
        self.vector = self.start
        refined = yield from self._refine(joined(first, self.judged.order))
        if isinstance(refined, Stop):
            return searches, refined
        self.refinements.append(refined)
        self.vector = keep_length(refined.vector.astype(np.float64), self.start)
        return {**searches, None: self._search()}, None

    def _result(self, first: Sequence[str], stop: Stop) -> FeedbackResult:
        """The result, without neighbours that were not reranked."""
        ids = joined(self.judged.order, self.last, first)
        self.pool = {key: self.pool[key] for key in ids}
        return Loop._result(self, first, stop)
