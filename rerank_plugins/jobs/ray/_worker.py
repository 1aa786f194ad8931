"""The actors of a batch job: each holds a reranker and ranks batches of rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..._extras import extra
from ...errors import BackendError, ConfigurationError, InputError, RerankError
from ...ranking import Ranking
from ...reranker import Reranker
from .. import Query, parse_query
from ._rankings import schema
from ._rows import opened_row

if TYPE_CHECKING:
    import pyarrow

Factory = Callable[[], Reranker]
Outcome = Ranking | Exception

MAX_ALONE = 2
"""How often a query is ranked alone after its batch killed an actor."""


class Attempts:
    """Counts of work that was started and not ended: what kills its process must be given up.

    One process holds it, and outlives the actors that ask it.

    Examples:
        >>> attempts = Attempts()
        >>> attempts.begin("a"), attempts.begin("a")
        (1, 2)
        >>> attempts.end("a")
        >>> attempts.begin("a")
        1
    """

    def __init__(self) -> None:
        self._started: dict[str, int] = {}

    def begin(self, key: str) -> int:
        """Count an attempt, and return its number, from 1."""
        self._started[key] = self._started.get(key, 0) + 1
        return self._started[key]

    def end(self, key: str) -> None:
        """Forget the attempts of work that succeeded, or failed without killing its process."""
        self._started.pop(key, None)


class SharedAttempts:
    """`Attempts` in a Ray actor, for all workers of a job.

    Ray gives the batch of an actor that died to another without end (and its limits are about to
    go, in Ray 2.64), so a query that always kills its process would keep a job going for ever.
    """

    def __init__(self) -> None:
        self._actor: Any = extra("ray", "ray").remote(num_cpus=0)(Attempts).remote()

    def begin(self, key: str) -> int:
        """See `Attempts.begin`."""
        return int(extra("ray", "ray").get(self._actor.begin.remote(key)))

    def end(self, key: str) -> None:
        """See `Attempts.end`."""
        extra("ray", "ray").get(self._actor.end.remote(key))


class Worker:
    """Ranks batches. Ray makes one in each actor, and again where an actor died.

    Args:
        source: The reranker's spec, or a function that makes the reranker.
        top_k: Positions of each ranking; all when None.
        attempts: The attempts of all workers, those included that died.
    """

    def __init__(
        self,
        source: Mapping[str, Any] | Factory,
        top_k: int | None,
        attempts: Attempts | SharedAttempts,
    ) -> None:
        self._top_k = top_k
        self._attempts = attempts
        self._reranker: Reranker | RerankError
        try:
            self._reranker = source() if callable(source) else Reranker.from_spec(source)
            self._reranker.warm_up()
        except RerankError as error:
            self._reranker = error  # returned with the first batch

    def __call__(self, table: "pyarrow.Table") -> "pyarrow.Table":
        """A row of output for each row of input; ``fatal`` is an error of the set-up."""
        rows = table.to_pylist()
        pa = extra("pyarrow", "ray")
        try:
            outputs = self._outputs(rows)
        except RerankError as error:  # as a value: Ray makes text of what is raised
            outputs = [{"fatal": _text_of(error)} for _ in rows[:1]]
        return pa.Table.from_pylist(outputs, schema=schema().append(pa.field("fatal", pa.string())))

    def _outputs(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        parsed: list[Query | InputError] = []
        for row in rows:
            try:
                parsed.append(parse_query(opened_row(row)))
            except InputError as error:
                parsed.append(error)
        outcomes = iter(self._outcomes([query for query in parsed if isinstance(query, Query)]))
        return [
            _output(row, query, next(outcomes))
            if isinstance(query, Query)
            else {"query_id": str(row["query_id"]), "error": _text_of(query)}
            for row, query in zip(rows, parsed, strict=True)
        ]

    def _outcomes(self, queries: Sequence[Query]) -> list[Outcome]:
        """Rank together at first; one by one where that killed an actor, to find the culprit."""
        if isinstance(self._reranker, RerankError):
            raise self._reranker
        # No query has this id: every batch has the word in front.
        key = "\0".join(("batch", *(query.query_id for query in queries)))
        if self._attempts.begin(key) == 1:
            outcomes = rank_each(self._reranker, queries, self._top_k)
        else:
            outcomes = []
            for query in queries:
                deaths = self._attempts.begin(query.query_id) - 1
                if deaths < MAX_ALONE:
                    outcomes += rank_each(self._reranker, [query], self._top_k)
                else:
                    error = BackendError(f"the process that ranked it died, {deaths} times")
                    outcomes.append(error)
                self._attempts.end(query.query_id)
        self._attempts.end(key)
        return outcomes


def rank_each(reranker: Reranker, queries: Sequence[Query], top_k: int | None) -> list[Outcome]:
    """Rank queries in common batches; the failure of one is its own outcome.

    Raises:
        ConfigurationError: The set-up is wrong, for every query.
    """
    requests = [query.request for query in queries]
    try:
        return [*reranker.settle_many(requests, top_k=top_k)]
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - of one row or of all: each is tried alone
        if len(queries) == 1:
            return [error]
        return [outcome for query in queries for outcome in rank_each(reranker, [query], top_k)]


def _output(row: Mapping[str, Any], query: Query, outcome: Outcome) -> dict[str, Any]:
    query_id = str(row["query_id"])
    if not isinstance(outcome, Ranking):
        return {"query_id": query_id, "error": _text_of(outcome)}
    return {
        "query_id": query_id,
        "order": outcome.order,
        "ids": None if query.ids is None else [query.ids[i] for i in outcome.order],
        "scores": outcome.scores,
        "score_kind": outcome.score_kind,
        "usage": asdict(outcome.usage),
        "report": outcome.report.plain(),
        "error": None,
    }


def _text_of(error: Exception) -> str:
    """An error as text that can be written to a file."""
    return f"{type(error).__name__}: {error}".encode("utf-8", "replace").decode()
