"""Training lists: a query, passages, and the relevance of each passage."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..._checks import at_least
from ..._files import rows_of, write_lines
from ...errors import InputError
from ...jobs import parse_id
from ...text import Passage
from ._draws import permuted, source

OnSkip = Callable[[str], None]
"""Called with a sentence for every list or query that is left out: which one, and why."""


@dataclass(frozen=True, slots=True)
class TrainingList:
    """A query with passages and their labels.

    Args:
        query: The query's text.
        passages: Texts, or `Passage`, in the order in which the model will see them.
        labels: One for each passage, the higher the more relevant: grades, or minus the rank.
        query_id: The query's id; may be empty.
        ids: The passages' ids, all different; empty where they have none.
        teacher: Another reranker's score of each passage, higher is better; empty where there is
            none.

    Raises:
        InputError: Lengths differ, there is no passage, the query is blank, an id repeats, or a
            label or score is not a finite number.

    Examples:
        >>> pair = TrainingList("flea", ("a dog", "a flea"), (0, 2))
        >>> pair.ranks, pair.order, pair.is_informative
        ((2, 1), (1, 0), True)
    """

    query: str
    passages: tuple[str, ...]
    labels: tuple[float, ...]
    query_id: str = ""
    ids: tuple[str, ...] = ()
    teacher: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in _ALIGNED:
            values = getattr(self, name)
            if isinstance(values, str) or not isinstance(values, Iterable):
                raise InputError(f"{name} is of type {type(values).__name__}, expected a tuple")
            kept = _numbers(name, values) if name in ("labels", "teacher") else tuple(values)
            object.__setattr__(self, name, kept)
        texts = {"the query": [self.query], "a passage": self.passages}
        names = {"the query's id": [self.query_id], "an id of a passage": self.ids}
        for what, values in (texts | names).items():
            if not all(isinstance(value, str) for value in values):
                raise InputError(f"{what} is not a string")
        if not self.query.strip():
            raise InputError("the query is blank")
        if not self.passages:
            raise InputError("there are no passages")
        self._check_lengths()

    def _check_lengths(self) -> None:
        n = len(self.passages)
        if len(self.labels) != n:
            raise InputError(f"there are {len(self.labels)} labels for {n} passages")
        for name in ("ids", "teacher"):
            if (given := len(getattr(self, name))) not in (0, n):
                raise InputError(f"{name} has {given} entries for {n} passages")
        if len(set(self.ids)) < len(self.ids):
            raise InputError("an id of a passage is given twice")

    def __len__(self) -> int:
        return len(self.passages)

    @property
    def order(self) -> tuple[int, ...]:
        """Positions by descending label; equal ones in the order of the passages."""
        return tuple(sorted(range(len(self)), key=lambda i: -self.labels[i]))

    @property
    def ranks(self) -> tuple[int, ...]:
        """The rank of each passage by its label, from 1; equal ones share their best rank.

        Examples:
            >>> TrainingList("q", ("a", "b", "c", "d"), (1, 3, 1, 0)).ranks
            (2, 1, 2, 4)
        """
        return ranks_of(self.labels)

    @property
    def is_informative(self) -> bool:
        """True where there is more than one label: otherwise there is no order to learn."""
        return len(set(self.labels)) > 1

    def select(self, positions: Sequence[int]) -> "TrainingList":
        """The list of the passages at these positions, in this order, with labels, ids and scores.

        Raises:
            InputError: There are none, or one repeats or is out of range.
        """
        if len(set(positions)) < len(positions) or not all(0 <= i < len(self) for i in positions):
            raise InputError(f"{list(positions)} are not positions of {len(self)} passages")
        chosen: dict[str, Any] = {}
        for name in _ALIGNED:
            values = getattr(self, name)
            chosen[name] = tuple(values[i] for i in positions) if values else ()
        return replace(self, **chosen)

    def shuffled(self, seed: int) -> "TrainingList":
        """The list in a random order that depends on the seed and on the list itself.

        Lists that all have their best passage first get it at different places: otherwise the
        model would learn the place.
        """
        chance = source(seed, self.query_id, self.query, *map(str, self.passages))
        return self.select(permuted(range(len(self)), chance))

    def cut(self, n: int) -> "TrainingList":
        """The list of the first ``n`` passages, or of all where there are fewer.

        Raises:
            InputError: ``n`` is below 1.
        """
        at_least(1, n=n)
        return self.select(range(min(n, len(self))))


def ranks_of(values: Sequence[float]) -> tuple[int, ...]:
    """Ranks from 1 for the highest; equal values share their best rank."""
    first: dict[float, int] = {}
    for rank, value in enumerate(sorted(values, reverse=True), start=1):
        first.setdefault(value, rank)
    return tuple(first[value] for value in values)


def check_lists(
    lists: Iterable[TrainingList],
    *,
    grades: tuple[float, float] | None = None,
    on_skip: OnSkip | None = None,
) -> Iterator[TrainingList]:
    """Check lists before a training: yield those that it can learn from.

    Args:
        lists: The lists; they are read one after the other.
        grades: The lowest and the highest label that is allowed; any when None.
        on_skip: Called with a sentence for each list with a single level of relevance, which then
            is left out; without it, such a list is an error.

    Raises:
        InputError: A label is outside the grades, or there is one level of relevance and no
            ``on_skip``: the message has the list's number and query.

    Examples:
        >>> lists = [TrainingList("a", ("x", "y"), (0, 1)), TrainingList("b", ("x", "y"), (0, 0))]
        >>> skipped = []
        >>> len(list(check_lists(lists, grades=(0, 3), on_skip=skipped.append))), len(skipped)
        (1, 1)
    """
    for number, given in enumerate(lists, start=1):
        place = f"list {number} (the query {given.query_id or given.query[:60]!r})"
        _check_grades(given, place, grades)
        if informative(given, place, on_skip):
            yield given


def read_lists(
    path: str | Path,
    *,
    grades: tuple[float, float] | None = None,
    on_skip: OnSkip | None = None,
) -> Iterator[TrainingList]:
    """Read the lists of a JSON Lines file, plain or gzipped, one after the other.

    Each line is ``{"query_id", "query", "candidates": [{"id", "text", "title", "label",
    "teacher"}, ...]}``; ``query_id``, ``title``, and, for all candidates of a line or for none,
    ``id`` and ``teacher`` may be left out. A file with ids is one that ``rerank-plugins rank``
    ranks. Errors in a line are found when it is reached: read a file to its end before anything
    long starts.

    Args:
        path: The file.
        grades: As for `check_lists`.
        on_skip: As for `check_lists`.

    Raises:
        InputError: The file is missing, damaged or empty, or a line is not such a list, has a
            label outside the grades, or one level of relevance and there is no ``on_skip``: the
            message has the file and the number of the line.
    """
    found = False
    for number, row in rows_of(Path(path)):
        place = f"line {number} of {path}"
        try:
            given = _parsed(row)
        except InputError as error:
            raise InputError(f"{place}: {error}") from error
        found = True
        _check_grades(given, place, grades)
        if informative(given, place, on_skip):
            yield given
    if not found:
        raise InputError(f"{str(path)!r} holds no lists")


def write_lists(lists: Iterable[TrainingList], path: str | Path) -> int:
    """Write lists as `read_lists` reads them, whole or not at all.

    Equal lists make equal bytes. The title of a `Passage` is kept, the first stage's score is not.

    Args:
        lists: The lists; they are written one after the other.
        path: The file, compressed where it ends in ``.gz``.

    Returns:
        The number of lists.

    Raises:
        InputError: There are no lists, or the file cannot be written.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "lists.jsonl.gz"
        >>> write_lists([TrainingList("flea", ("a dog", "a flea"), (0, 2))], file)
        1
        >>> next(read_lists(file)).labels
        (0.0, 2.0)
    """
    return write_rows(map(_row, lists), Path(path))


def write_rows(rows: Iterable[Mapping[str, Any]], path: Path) -> int:
    """Write objects as JSON Lines, whole or not at all, and return their number.

    Raises:
        InputError: There are none, or the file cannot be written.
    """

    def lines() -> Iterator[str]:
        found = False
        for row in rows:
            found = True
            yield json.dumps(row)
        if not found:
            raise InputError(f"there are no lists to write into {str(path)!r}")

    return write_lines(path, lines())


def skip(message: str, on_skip: OnSkip | None) -> None:
    """Report what is left out to ``on_skip``; without it, raise an error."""
    if on_skip is None:
        hint = "To leave it out, give on_skip= (a function), or --skip-uninformative."
        raise InputError(message.rstrip("."), hint=hint)
    on_skip(message)


def informative(given: TrainingList, place: str, on_skip: OnSkip | None) -> bool:
    """Whether a list has more than one level of relevance; one that has not is skipped."""
    if not given.is_informative:
        skip(f"{place} has one level of relevance: there is nothing to learn from it", on_skip)
    return given.is_informative


def _check_grades(given: TrainingList, place: str, grades: tuple[float, float] | None) -> None:
    if grades is None:
        return
    low, high = grades
    if wrong := [label for label in given.labels if not low <= label <= high]:
        raise InputError(f"{place} has the label {wrong[0]:g}, expected {low:g} to {high:g}")


def _row(given: TrainingList) -> dict[str, Any]:
    candidates = []
    for i, passage in enumerate(given.passages):
        candidate: dict[str, Any] = {"id": given.ids[i]} if given.ids else {}
        candidate["text"] = str(passage)
        if isinstance(passage, Passage) and passage.passage_title:
            candidate["title"] = passage.passage_title
        candidate["label"] = given.labels[i]
        if given.teacher:
            candidate["teacher"] = given.teacher[i]
        candidates.append(candidate)
    return {"query_id": given.query_id, "query": given.query, "candidates": candidates}


def _parsed(row: Mapping[str, Any]) -> TrainingList:
    candidates, passages = row.get("candidates"), list[str]()
    if not isinstance(candidates, list):
        raise InputError("candidates is not a list")
    for i, candidate in enumerate(candidates):
        if not isinstance(candidate, Mapping) or not isinstance(candidate.get("text"), str):
            raise InputError(f"candidates[{i}] has no text")
        if candidate.get("label") is None:
            raise InputError(f"candidates[{i}] has no label")
        text, title = candidate["text"], str(candidate.get("title") or "")
        passages.append(Passage(text, title=title) if title else text)
    query_id = row.get("query_id")
    return TrainingList(
        query=row.get("query"),  # type: ignore[arg-type]  # is checked there
        passages=tuple(passages),
        labels=tuple(candidate["label"] for candidate in candidates),
        query_id="" if query_id is None else parse_id(query_id),
        ids=tuple(map(parse_id, _column(candidates, "id"))),
        teacher=_column(candidates, "teacher"),
    )


def _column(candidates: Sequence[Mapping[str, Any]], name: str) -> tuple[Any, ...]:
    """The values of a field that all candidates have, or none."""
    found = tuple(c[name] for c in candidates if c.get(name) is not None)
    if len(found) not in (0, len(candidates)):
        raise InputError(f"some candidates have {name!r} and some have not")
    return found


def _numbers(name: str, values: Iterable[object]) -> tuple[float, ...]:
    found: list[float] = []
    for value in values:
        if isinstance(value, bool | str) or not hasattr(value, "__float__"):
            raise InputError(f"{name} holds {value!r:.60}, expected a number")
        try:
            number = float(value)
        except (OverflowError, TypeError, ValueError):
            number = math.inf
        if not math.isfinite(number):
            raise InputError(f"{name} holds {value!r:.60}, which is not finite")
        found.append(number)
    return tuple(found)


_ALIGNED = tuple(f.name for f in fields(TrainingList) if f.name not in ("query", "query_id"))
