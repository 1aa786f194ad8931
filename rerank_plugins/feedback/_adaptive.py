"""Adaptive retrieval: the neighbours of what the reranker liked are reranked, too."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import nlargest
from typing import Generic

from .._checks import at_least
from ..calls import Plan
from ..errors import InputError
from ._fusion import K

Score = Callable[[Sequence[K]], Plan[Mapping[K, float]]]
"""Plans the scores of passages, which can be compared across lists; higher is better. A passage
that it leaves out gets none."""
Order = Callable[[Sequence[K]], Plan[Sequence[K]]]
"""Plans the order of passages, best first."""
Neighbours = Callable[[Sequence[K]], Plan[Sequence[Iterable[K]]]]
"""Plans the neighbours of each passage, nearest first."""


class _Pools(Generic[K]):
    """The passages that wait to be ranked: those of the first stage and the frontier.

    They take turns, the first stage first; where one is empty, it is the other's turn.
    """

    def __init__(self, first: Iterable[K]) -> None:
        self.first: dict[K, float] = {key: -rank for rank, key in enumerate(dict.fromkeys(first))}
        self.frontier: dict[K, float] = {}
        self._last = self.frontier

    def __bool__(self) -> bool:
        return bool(self.first or self.frontier)

    def take(self, n: int) -> list[K]:
        """The ``n`` most promising passages of the pool whose turn it is."""
        both = (self.first, self.frontier)
        pool = next(p for p in (both if self._last is self.frontier else both[::-1]) if p)
        self._last = pool
        taken = nlargest(n, pool, key=pool.__getitem__)  # of equals, those that came first
        for key in taken:
            self.first.pop(key, None)
            self.frontier.pop(key, None)
        return taken


def gar(
    first: Iterable[K],
    *,
    score: Score[K],
    neighbours: Neighbours[K],
    budget: int = 100,
    batch: int = 16,
) -> Plan[dict[K, float]]:
    """Score the best of a first stage and the neighbours of what scored well, in turns.

    A passage waits in the frontier with the score of the best passage that it is a neighbour of.

    Args:
        first: Passages of the first stage, best first.
        score: Scores a batch.
        neighbours: Finds neighbours, in the whole collection.
        budget: Passages that are scored at most.
        batch: Passages that are scored together.

    Returns:
        The scores, best first. It ends early where nothing waits, or nothing of a batch is scored.

    Raises:
        InputError: ``budget`` or ``batch`` is not positive, or ``score`` returned other passages.

    References:
        MacAvaney, Tonellotto and Macdonald, Adaptive Re-Ranking with a Corpus Graph, CIKM 2022,
        algorithm 1, with the rule of its published code for what the frontier admits.
    """
    at_least(1, budget=budget, batch=batch)
    pools, scores, lowest = _Pools(first), dict[K, float](), math.inf
    while pools and len(scores) < budget:
        taken = pools.take(min(batch, budget - len(scores)))
        scored = yield from score(taken)
        _check_known("score", scored, taken)
        if not scored:
            break
        scores.update(scored)
        if (left := budget - len(scores)) <= 0:
            break
        # A full frontier admits the neighbours of what scored as well as the worst in it ever did.
        full = len(pools.frontier) >= left
        admitted = [key for key in scored if not full or scores[key] >= lowest]
        best_first = sorted(admitted, key=lambda key: -scores[key])
        found = (yield from neighbours(best_first)) if best_first else ()
        for key, near in zip(best_first, found, strict=True):
            if len(pools.frontier) >= left and scores[key] < lowest:
                continue
            for other in near:
                if other not in scores and scores[key] > pools.frontier.get(other, -math.inf):
                    pools.frontier[other] = scores[key]
                    lowest = min(lowest, scores[key])
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def slide_gar(
    first: Iterable[K],
    *,
    order: Order[K],
    neighbours: Neighbours[K],
    budget: int = 100,
    size: int = 20,
    step: int = 10,
) -> Plan[list[K]]:
    """Carry the best of each window to the next, beside passages of the first stage and neighbours.

    The first window is the top of the first stage. Each further one holds the best ``step`` of the
    last one, and as many new passages: in turns of the first stage, and of the neighbours of those
    best ones. So it takes as many calls as a sliding window over ``budget`` passages.

    Args:
        first: Passages of the first stage, best first.
        order: Orders a window.
        neighbours: Finds neighbours, in the whole collection.
        budget: Passages that are ranked at most.
        size: Passages of a window.
        step: Passages that are carried on, below ``size``, and new ones that join them.

    Returns:
        What was ranked, best first.

    Raises:
        InputError: A number is not positive, ``step`` is not below ``size``, or ``order`` did not
            return the passages that it got.

    References:
        Rathee, MacAvaney and Anand, Guiding Retrieval using LLM-based Listwise Rankers, ECIR 2025,
        arXiv:2501.09186, algorithm 1.
    """
    at_least(1, budget=budget, step=step)
    if step >= size:
        raise InputError(
            f"the step is {step} and the window size {size}",
            hint="The step must be below the size, or nothing new joins the window.",
        )
    pools, best, rest = _Pools(first), list[K](), list[K]()
    room = size
    while pools and (left := budget - len(best) - len(rest)) > 0:
        window = [*best, *pools.take(min(room, left))]
        ranked = list((yield from order(window)))
        _check_known("order", ranked, window)
        if len(ranked) != len(window):
            raise InputError(f"order returned {len(ranked)} of the {len(window)} passages it got")
        best, rest, room = ranked[:step], [*ranked[step:], *rest], step
        seen = {*best, *rest}
        if len(seen) < budget:
            found = yield from neighbours(best)
            near = dict.fromkeys(key for keys in found for key in keys if key not in seen)
            pools.frontier.clear()
            pools.frontier.update({key: -place for place, key in enumerate([*near][:step])})
    return [*best, *rest]


def _check_known(name: str, returned: Iterable[K], given: Sequence[K]) -> None:
    """Refuse passages that were not asked for: the search for neighbours might never end.

    Raises:
        InputError: There is one, or one twice.
    """
    left = set(given)
    for key in returned:
        if key not in left:
            raise InputError(
                f"{name} returned {key!r:.80}, which is not among what it got, or twice"
            )
        left.remove(key)
