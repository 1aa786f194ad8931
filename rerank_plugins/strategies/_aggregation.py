"""Orders from a matrix of pairwise preferences.

``preferences[i][j]`` is the probability that ``i`` is better than ``j``. All functions return
positions, best first, ties in the input order.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

Matrix = Sequence[Sequence[float]]

DAMPING = 0.85
"""The weight of votes against an equal share in PageRank."""
PAGE_RANK_STEPS = 200
"""The most steps of PageRank: the error is below 0.85 to the power of them."""
EXACT_PATH = 10
"""The longest list whose best path is found exactly: the work doubles with each passage."""


def copeland(preferences: Matrix) -> tuple[int, ...]:
    """Order by the number of others that each item beats; a draw counts half.

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
    """Order by the sum of each item's preferences over all others."""
    sums = [sum(p for j, p in enumerate(row) if j != i) for i, row in enumerate(preferences)]
    return _descending(sums)


def page_rank(preferences: Matrix) -> tuple[int, ...]:
    """Order by PageRank, where each item votes for those that beat it, as often as they did.

    Preferences may be of any size; 0 where two items never met. An item that nothing beats votes
    for all alike. The damping factor is 0.85.

    References:
        Brin and Page, The anatomy of a large-scale hypertextual Web search engine, 1998.

    Examples:
        >>> page_rank([[0, 0, 1], [1, 0, 0], [0, 0, 0]])  # 1 beats 0, and 0 beats 2
        (1, 0, 2)
    """
    n = len(preferences)
    votes = [
        [(i, row[j] / lost) for i, row in enumerate(preferences) if i != j and row[j]]
        if (lost := sum(row[j] for i, row in enumerate(preferences) if i != j))
        else []
        for j in range(n)
    ]
    ranks = [1.0] * n
    for _ in range(PAGE_RANK_STEPS if n else 0):
        unbeaten = sum(rank for rank, given in zip(ranks, votes, strict=True) if not given)
        new = [1.0 - DAMPING + DAMPING * unbeaten / n] * n
        for rank, given in zip(ranks, votes, strict=True):
            for i, share in given:
                new[i] += DAMPING * rank * share
        done = max(map(abs, map(float.__sub__, new, ranks)), default=0.0) < 1e-12
        ranks = new
        if done:
            break
    return _descending([round(rank, 9) for rank in ranks])  # equal ones differ by rounding


def best_path(preferences: Matrix) -> tuple[int, ...]:
    """Order by the maximum-weight Hamiltonian path: neighbours are the most certain pairs.

    Exact up to `EXACT_PATH` items, by dynamic programming over subsets. Longer lists start from a
    greedy path, which is improved by reversing a piece or moving an item (2-opt) until no such
    step makes it heavier.

    References:
        Li et al., TSPRank, arXiv:2411.12064, 2024.

    Examples:
        >>> best_path([[0, 0.2, 0.9], [0.8, 0, 0.7], [0.1, 0.3, 0]])
        (1, 0, 2)
    """
    if len(preferences) <= EXACT_PATH:
        return _exact_path(preferences)
    path: list[int] = []
    for item in borda(preferences):  # inserted where the path gains most; ties: the last place
        gains = [
            weight([*path[max(i - 1, 0) : i], item, *path[i : i + 1]], preferences)
            - weight(path[max(i - 1, 0) : i + 1], preferences)
            for i in range(len(path) + 1)
        ]
        path.insert(max(reversed(range(len(gains))), key=lambda i: gains[i]), item)
    while True:
        least = weight(path, preferences) + 1e-9  # beyond rounding
        heavier = next((p for p in _neighbours(path) if weight(p, preferences) > least), None)
        if heavier is None:
            return tuple(path)
        path = heavier


def weight(path: Sequence[int], preferences: Matrix) -> float:
    """The sum of the preferences along a path."""
    return sum(preferences[i][j] for i, j in pairwise(path))


def _descending(scores: Sequence[float]) -> tuple[int, ...]:
    return tuple(sorted(range(len(scores)), key=lambda i: -scores[i]))


def _exact_path(preferences: Matrix) -> tuple[int, ...]:
    """The best path by Held and Karp: for each set of items and each first item of it, one path.

    Paths grow from their last item to their first, so that of equal ones the one that comes first
    in the input order wins.
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
    """Whether a path is heavier beyond rounding, or as heavy and earlier in the input order."""
    if abs(found[0] - known[0]) > 1e-9:
        return found[0] > known[0]
    return found[1] < known[1]


def _neighbours(path: list[int]) -> Iterator[list[int]]:
    """The path with each piece reversed, then with each item at each other place."""
    n = len(path)
    for i in range(n):
        for j in range(i + 2, n + 1):
            yield path[:i] + path[i:j][::-1] + path[j:]
    for i in range(n):
        left = path[:i] + path[i + 1 :]
        for j in range(n):
            if j != i:
                yield [*left[:j], path[i], *left[j:]]
