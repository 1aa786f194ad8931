"""Fusing the lists of two searches and of a reranker into one."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Literal, TypeVar, get_args

K = TypeVar("K", bound=Hashable)

Fuse = Literal["head", "rrf", "second"]
FUSIONS: tuple[str, ...] = get_args(Fuse)

_RRF = 60
"""The usual constant of reciprocal rank fusion (Cormack et al., SIGIR 2009)."""


def fused(
    reranked: Sequence[K],
    first: Sequence[K],
    second: Sequence[K],
    *,
    fuse: Fuse = "head",
    head: int | None = None,
) -> list[K]:
    """Fuse the ids of both searches, each once, best first.

    Args:
        reranked: The ids that were reranked, best first.
        first: The ids of the first search, in its order.
        second: The ids of the last search, in its order.
        fuse: ``"head"``: the best of ``reranked``, then the second search's order, then the rest.
            ``"rrf"``: reciprocal rank fusion of the reranked list (with the rest of the first
            search below it) and the second search. ``"second"``: the second search alone.
        head: How many of the reranked come first; all when None.

    Examples:
        >>> fused("ba", "abc", "cdb", fuse="head")
        ['b', 'a', 'c', 'd']
        >>> fused("ba", "abc", "cdb", fuse="head", head=1)
        ['b', 'c', 'd', 'a']
        >>> fused("ba", "abc", "cdb", fuse="rrf")
        ['b', 'c', 'a', 'd']
    """
    if fuse == "second":
        return list(second)
    before = joined(reranked, first)
    if fuse == "head":
        return joined(reranked[:head], second, before)
    points: dict[K, float] = {}
    for ranked in (before, second):
        for rank, key in enumerate(ranked, start=1):
            points[key] = points.get(key, 0.0) + 1 / (_RRF + rank)
    return sorted(points, key=lambda key: -points[key])  # stable: ties keep the first list's order


def joined(*lists: Iterable[K]) -> list[K]:
    """Join lists, keeping each key at its first place.

    Examples:
        >>> joined("ab", "bc")
        ['a', 'b', 'c']
    """
    return list(dict.fromkeys(key for keys in lists for key in keys))


def in_turns(one: Sequence[K], other: Sequence[K]) -> list[K]:
    """The items of two lists in turns, each once.

    Examples:
        >>> in_turns("abc", "xb")
        ['a', 'x', 'b', 'c']
    """
    both = (
        lists[i]
        for i in range(max(len(one), len(other)))
        for lists in (one, other)
        if i < len(lists)
    )
    return list(dict.fromkeys(both))
