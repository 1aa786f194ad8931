"""From a matrix of pairwise preferences to an order.

``preferences[i][j]`` is how surely ``i`` is better than ``j``, from 0 to 1. All functions return
positions, best first, ties in the input order.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

Matrix = Sequence[Sequence[float]]

EXACT_PATH = 10
"""The longest list whose best path is searched exactly: the effort doubles with each passage."""


def copeland(preferences: Matrix) -> tuple[int, ...]:
    """Order by the number of others that each one beats; a draw counts half.

    Examples:
        >>> copeland([[0, 0.2, 0.9], [0.8, 0, 0.7], [0.1, 0.3, 0]])
        (1, 0, 2)
    """
    wins = [
        sum(
            1.0 if p > preferences[j][i] else 0.5 if p == preferences[j][i] else 0.0
            for j, p in enumerate(row)
            if j != i
        )
        for i, row in enumerate(preferences)
    ]
    return _descending(wins)


def borda(preferences: Matrix) -> tuple[int, ...]:
    """Order by the sum of each one's preferences over all others."""
    return _descending(
        [sum(p for j, p in enumerate(r) if j != i) for i, r in enumerate(preferences)]
    )


def best_path(preferences: Matrix) -> tuple[int, ...]:
    """The order whose neighbours are the surest: the maximum-weight Hamiltonian path.

    Exact up to `EXACT_PATH` items, by dynamic programming over subsets. Longer lists start from a
    greedy path and are improved by moving and reversing pieces (2-opt) until nothing helps.

    References:
        Li et al., TSPRank, arXiv:2411.12064, 2024.

    Examples:
        >>> best_path([[0, 0.2, 0.9], [0.8, 0, 0.7], [0.1, 0.3, 0]])
        (1, 0, 2)
    """
    n = len(preferences)
    if n <= EXACT_PATH:
        return _exact_path(preferences)
    return _improved(_greedy_path(preferences), preferences)


def weight(path: Sequence[int], preferences: Matrix) -> float:
    """The sum of the preferences along a path."""
    return sum(preferences[i][j] for i, j in pairwise(path))


def _descending(scores: Sequence[float]) -> tuple[int, ...]:
    return tuple(sorted(range(len(scores)), key=lambda i: -scores[i]))


def _exact_path(preferences: Matrix) -> tuple[int, ...]:
    """Held and Karp: for each set and its first item, the best path through the set.

    Built from the back, so that of equal paths the one that is first in the input order wins.
    """
    n = len(preferences)
    best: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {
        (1 << i, i): (0.0, (i,)) for i in range(n)
    }
    for _ in range(n - 1):
        longer: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {}
        for (members, first), (total, path) in best.items():
            for i in range(n):
                if members >> i & 1:
                    continue
                found = (total + preferences[i][first], (i, *path))
                known = longer.get((members | 1 << i, i))
                if known is None or _better(found, known):
                    longer[members | 1 << i, i] = found
        best = longer
    winner = None
    for found in best.values():
        winner = found if winner is None or _better(found, winner) else winner
    return winner[1] if winner else ()


def _better(found: tuple[float, tuple[int, ...]], known: tuple[float, tuple[int, ...]]) -> bool:
    """Heavier beyond rounding, or as heavy and earlier in the input order."""
    if abs(found[0] - known[0]) > 1e-9:
        return found[0] > known[0]
    return found[1] < known[1]


def _greedy_path(preferences: Matrix) -> list[int]:
    """Items by Borda count, each put where the path gains the most; at the end among equals."""
    path: list[int] = []
    for item in borda(preferences):
        gains = [_gain(path, place, item, preferences) for place in range(len(path) + 1)]
        best = max(reversed(range(len(gains))), key=lambda place: gains[place])
        path.insert(best, item)
    return path


def _gain(path: Sequence[int], place: int, item: int, preferences: Matrix) -> float:
    before = preferences[path[place - 1]][item] if place else 0.0
    after = preferences[item][path[place]] if place < len(path) else 0.0
    lost = preferences[path[place - 1]][path[place]] if 0 < place < len(path) else 0.0
    return before + after - lost


def _improved(path: list[int], preferences: Matrix) -> tuple[int, ...]:
    """2-opt: reverse or move a piece of the path as long as that makes it heavier."""
    total = weight(path, preferences)
    improving = True
    while improving:
        improving = False
        for candidate in _neighbours(path):
            found = weight(candidate, preferences)
            if found > total + 1e-9:
                path, total, improving = candidate, found, True
                break
    return tuple(path)


def _neighbours(path: list[int]) -> Iterator[list[int]]:
    n = len(path)
    for i in range(n):
        for j in range(i + 2, n + 1):
            yield path[:i] + path[i:j][::-1] + path[j:]
    for i in range(n):
        left = path[:i] + path[i + 1 :]
        for j in range(n):
            if j != i:
                yield [*left[:j], path[i], *left[j:]]
