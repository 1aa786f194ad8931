"""How rankings are written: TREC runs, and JSON Lines."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from ..evaluation._runs import run_lines
from ..ranking import Ranking, Report
from ._requests import Query


class Format(Protocol):
    """How the rankings of queries become lines, so many that a half-written one is noticed."""

    def lines(self, query: Query, ranking: Ranking) -> list[str]:
        """The lines of one query, without ends."""
        ...

    def count(self, query: Query, top_k: int | None) -> int:
        """How many lines a query has."""
        ...

    def same(self, query: Query, lines: Sequence[str]) -> bool:
        """Whether these lines rank passages of this query."""
        ...


@dataclass(frozen=True, slots=True)
class Trec:
    """``query Q0 document rank score tag``; passages without ids go by their positions.

    Args:
        tag: The run's name.
    """

    tag: str = "rerank-plugins"

    def lines(self, query: Query, ranking: Ranking) -> list[str]:
        ids = [name_of(query, i) for i in ranking.order]
        return list(run_lines(query.query_id, ids, ranking.scores, self.tag))

    def count(self, query: Query, top_k: int | None) -> int:
        return _kept(query, top_k)

    def same(self, query: Query, lines: Sequence[str]) -> bool:
        found = [line.split() for line in lines]
        known = {name_of(query, i) for i in range(len(query.passages))}
        return all(len(f) == 6 and f[0] == query.query_id and f[2] in known for f in found)


@dataclass(frozen=True, slots=True)
class Jsonl:
    """One object a query: ids or positions with scores, best first, cost, and what went wrong."""

    def lines(self, query: Query, ranking: Ranking) -> list[str]:
        usage = {name: value for name, value in asdict(ranking.usage).items() if name != "seconds"}
        row = {
            "query_id": query.query_id,
            "ranking": [
                {"id": name_of(query, i), "position": i, "score": score}
                for i, score in zip(ranking.order, ranking.scores, strict=True)
            ],
            "score_kind": ranking.score_kind,
            "fallback": ranking.report.fallback,
            "report": reported(ranking.report),
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
                i < len(query.passages) and name == name_of(query, i) for name, i in ids
            )
        except (ValueError, KeyError, TypeError):
            return False


FORMATS: Mapping[str, type[Trec | Jsonl]] = {"trec": Trec, "jsonl": Jsonl}


def name_of(query: Query, position: int) -> str:
    """The id of a passage, or its position where it has none."""
    return query.ids[position] if query.ids else str(position)


def reported(report: Report) -> dict[str, Any]:
    """What there is to say, as plain values."""
    said = {name: value for name, value in asdict(report).items() if value}
    return {k: sorted(v) if isinstance(v, frozenset) else v for k, v in said.items()}


def _kept(query: Query, top_k: int | None) -> int:
    n = len(query.passages)
    return n if top_k is None else min(n, top_k)
