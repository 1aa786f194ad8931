"""What one actor of a batch job does: it holds a reranker and ranks batches of rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..._extras import extra
from ...errors import BackendError, ConfigurationError, InputError, RerankError
from ...ranking import Ranking
from ...reranker import Reranker
from .._requests import Query, parsed
from ._attempts import MAX_ALONE, Attempts, Shared, batch_key
from ._rankings import schema
from ._rows import opened_row

if TYPE_CHECKING:
    import pyarrow

Factory = Callable[[], Reranker]
Outcome = Ranking | Exception


class Worker:
    """Ranks batches. Ray makes one in each actor, and again where an actor died.

    Args:
        source: The reranker's spec, or what makes it.
        top_k: Positions of each ranking; all when None.
        attempts: What was begun before, here or in an actor that died over it.
    """

    def __init__(
        self, source: Mapping[str, Any] | Factory, top_k: int | None, attempts: Attempts | Shared
    ) -> None:
        self._top_k = top_k
        self._attempts = attempts
        self._reranker: Reranker | RerankError
        try:
            self._reranker = source() if callable(source) else Reranker.from_spec(source)
            self._reranker.warm_up()
        except RerankError as error:
            self._reranker = error  # told by the first batch

    def __call__(self, table: "pyarrow.Table") -> "pyarrow.Table":
        """A row of output for each row of input; ``fatal`` says what is wrong with the set-up."""
        rows = table.to_pylist()
        pa = extra("pyarrow", "ray")
        columns = schema().append(pa.field("fatal", pa.string()))
        try:
            return pa.Table.from_pylist(self._rows(rows), schema=columns)
        except RerankError as error:  # as a value: Ray makes text of what is raised
            fatal = [{"fatal": _named(error)} for _ in rows[:1]]
            return pa.Table.from_pylist(fatal, schema=columns)

    def _rows(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        queries = [_parsed(row) for row in rows]
        outcomes = iter(self._outcomes([query for query in queries if isinstance(query, Query)]))
        return [
            _output(row, query, next(outcomes) if isinstance(query, Query) else query)
            for row, query in zip(rows, queries, strict=True)
        ]

    def _outcomes(self, queries: Sequence[Query]) -> list[Outcome]:
        """Together at first; one by one where that has killed an actor, to find the culprit."""
        if isinstance(self._reranker, RerankError):
            raise self._reranker
        key = batch_key([query.query_id for query in queries])
        if self._attempts.begin(key) == 1:
            outcomes = ranked(self._reranker, queries, self._top_k)
        else:
            outcomes = [self._alone(self._reranker, query) for query in queries]
        self._attempts.end(key)
        return outcomes

    def _alone(self, reranker: Reranker, query: Query) -> Outcome:
        before = self._attempts.begin(query.query_id) - 1
        if before < MAX_ALONE:
            [outcome] = ranked(reranker, [query], self._top_k)
        else:
            outcome = BackendError(f"the process that ranked it died, {before} times")
        self._attempts.end(query.query_id)
        return outcome


def ranked(reranker: Reranker, queries: Sequence[Query], top_k: int | None) -> list[Outcome]:
    """Rank queries in common batches; what goes wrong with one is its own outcome.

    Raises:
        ConfigurationError: The set-up is wrong, for every query.
    """
    requests = [(query.text, query.passages) for query in queries]
    try:
        return [*reranker.settle_many(requests, top_k=top_k)]
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - one row's, or everybody's: seen one by one
        if len(queries) == 1:
            return [error]
        return [outcome for query in queries for outcome in ranked(reranker, [query], top_k)]


def _parsed(row: Mapping[str, Any]) -> Query | InputError:
    try:
        return parsed(opened_row(row))
    except InputError as error:
        return error


def _output(row: Mapping[str, Any], query: Query | InputError, outcome: Outcome) -> dict[str, Any]:
    query_id = str(row["query_id"])
    if not isinstance(outcome, Ranking):
        return {"query_id": query_id, "error": _named(outcome)}
    ids = query.ids if isinstance(query, Query) else None
    return {
        "query_id": query_id,
        "order": outcome.order,
        "ids": None if ids is None else [ids[i] for i in outcome.order],
        "scores": outcome.scores,
        "score_kind": outcome.score_kind,
        "usage": asdict(outcome.usage),
        "report": {k: _plain(v) for k, v in asdict(outcome.report).items()},
        "error": None,
    }


def _named(error: Exception) -> str:
    """An error as text that can be written to a file."""
    return f"{type(error).__name__}: {error}".encode("utf-8", "replace").decode()


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else value
