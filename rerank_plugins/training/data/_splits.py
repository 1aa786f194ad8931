"""Split lists into two sides that share no query."""

from collections.abc import Iterable

from ...errors import InputError
from ._draws import source
from ._lists import TrainingList


def split(
    lists: Iterable[TrainingList], share: float, seed: int
) -> tuple[list[TrainingList], list[TrainingList]]:
    """Hold out the lists of a share of the queries.

    No query is on both sides: neither an id nor, apart from case and white space, a text. The
    choice of queries does not depend on the order of the lists. Both sides keep that order.
    Passages may be on both sides.

    Args:
        lists: The lists, any number for each query.
        share: The share of queries to hold out, above 0 and below 1; at least one query is on
            either side.
        seed: The seed of the choice.

    Returns:
        The lists to train on, and those that were held out.

    Raises:
        InputError: ``share`` is out of range, or there are fewer than two queries.

    Examples:
        >>> lists = [TrainingList(f"query {i}", ("a", "b"), (0, 1)) for i in range(10)]
        >>> train, held_out = split(lists, 0.2, seed=1)
        >>> len(train), len(held_out)
        (8, 2)
    """
    if not 0 < share < 1:
        raise InputError(f"share is {share}, expected a number above 0 and below 1")
    given = list(lists)
    groups = _groups(given)
    keys = sorted(set(groups), key=lambda key: (source(seed, key).random(), key))
    if len(keys) < 2:
        raise InputError(
            f"{len(keys)} queries cannot be split in two",
            hint="Hold nothing out (--hold-out 0), or give lists of more queries.",
        )
    out = set(keys[: min(max(round(share * len(keys)), 1), len(keys) - 1)])
    sides: tuple[list[TrainingList], list[TrainingList]] = [], []
    for key, one in zip(groups, given, strict=True):
        sides[key in out].append(one)
    return sides


def _groups(lists: list[TrainingList]) -> list[str]:
    """The query of each list, under one of its names.

    Lists that share an id or a text are about the same query, also over several steps.
    """
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while (parent := above.setdefault(name, name)) != name:
            above[name] = name = above[parent]  # halves the path
        return name

    texts = [f"text {' '.join(one.query.split()).casefold()}" for one in lists]
    for one, text in zip(lists, texts, strict=True):
        names = sorted((top(text), top(f"id {one.query_id}") if one.query_id else top(text)))
        above[names[1]] = names[0]  # the least name stays: the same one for any order
    return [top(text) for text in texts]
