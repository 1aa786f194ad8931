"""Formats of rankings in files: TREC runs and JSON Lines."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from ..evaluation import run_lines
from ..ranking import Ranking, Report
from ._requests import Query


class Format(Protocol):
    """The lines of a ranking, and how many there are, by which a half-written one is noticed."""

    def lines(self, query: Query, ranking: Ranking) -> list[str]:
        """The lines of one query, without line ends."""
        ...

    def count(self, query: Query, top_k: int | None) -> int:
        """The number of lines of one query."""
        ...

    def same(self, query: Query, lines: Sequence[str]) -> bool:
        """Whether these lines rank passages of this query."""
        ...


@dataclass(frozen=True, slots=True)
class Trec:
    """``query Q0 document rank score tag``; passages without ids are named by their positions.

    Args:
        tag: The run's name.
    """

    tag: str = "rerank-plugins"

    def lines(self, query: Query, ranking: Ranking) -> list[str]:
        ids = [query.passage_id(i) for i in ranking.order]
        return list(run_lines(query.query_id, ids, ranking.scores, self.tag))

    def count(self, query: Query, top_k: int | None) -> int:
        n = len(query.passages)
        return n if top_k is None else min(n, top_k)

    def same(self, query: Query, lines: Sequence[str]) -> bool:
        found = [line.split() for line in lines]
        known = {query.passage_id(i) for i in range(len(query.passages))}
        return all(len(f) == 6 and f[0] == query.query_id and f[2] in known for f in found)


@dataclass(frozen=True, slots=True)
class Jsonl:
    """One object a query: ids or positions with scores, best first, cost, and what went wrong."""

    def lines(self, query: Query, ranking: Ranking) -> list[str]:
        times = ("seconds", "loading_seconds")  # differ each time, and equal rankings should not
        usage = {name: n for name, n in asdict(ranking.usage).items() if name not in times}
        row = {
            "query_id": query.query_id,
            "ranking": [
                {"id": query.passage_id(i), "position": i, "score": score}
                for i, score in zip(ranking.order, ranking.scores, strict=True)
            ],
            "score_kind": ranking.score_kind,
            "fallback": ranking.report.fallback,
            "report": nonzero(ranking.report),
            "usage": usage,
        }
        return [json.dumps(row, ensure_ascii=False)]

    def count(self, query: Query, top_k: int | None) -> int:  # noqa: ARG002 - as the protocol
        return 1

    def same(self, query: Query, lines: Sequence[str]) -> bool:
        try:
            (row,) = (json.loads(line) for line in lines)
            ids = [(entry["id"], entry["position"]) for entry in row["ranking"]]
            return row["query_id"] == query.query_id and all(
                i < len(query.passages) and name == query.passage_id(i) for name, i in ids
            )
        except (ValueError, LookupError, TypeError, RecursionError):
            return False


FORMATS: Mapping[str, type[Trec | Jsonl]] = {"trec": Trec, "jsonl": Jsonl}


def nonzero(report: Report) -> dict[str, Any]:
    """The plain values of a report that are not zero or empty."""
    return {name: value for name, value in report.plain().items() if value}
