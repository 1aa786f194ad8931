"""Rankings and what they report: frozen values, positions instead of objects."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import pairwise
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

from ._checks import at_least, flag, some_of
from .calls import Plan
from .errors import ContractError, InputError
from .text import Passage

T = TypeVar("T")

ScoreKind = Literal["logit", "logprob", "probability", "similarity", "grade", "z-score", "rank"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The cost of a ranking.

    Attributes:
        calls: Calls to the model.
        searches: Calls to an index, by relevance feedback.
        batches: Rounds of calls that had to wait for each other: the sequential depth.
        prompt_tokens: Tokens the model read.
        generated_tokens: Tokens the model wrote.
        seconds: Wall-clock time from the first call to the result, without ``loading_seconds``.
        loading_seconds: Wall-clock time in between in which a model was loaded, which only the
            first ranking has to wait for. Rankings that wait together each report it.
    """

    calls: int = 0
    searches: int = 0
    batches: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    seconds: float = 0.0
    loading_seconds: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        """Both costs together, as if one had been run after the other."""
        return Usage(**{n: getattr(self, n) + getattr(other, n) for n in self.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Repairs, fallbacks and truncations on the way to a ranking.

    Attributes:
        fallbacks: Why the input order was kept, once for each time it was.
        malformed: Answers without a single usable identifier (their window kept its order).
        missing: Positions of the passages that answers left out: appended in their input order
            by a listwise strategy, left at their places by one that scores.
        duplicates: Identifiers that were repeated; the first mention counted.
        out_of_range: Identifiers that name no passage; ignored.
        unseen_labels: Labels whose log-probability the backend did not report.
        written_orders: Windows whose order, or a part of it, the model wrote as text, because its
            log-probabilities were unavailable.
        cut_answers: Answers that the token limit ended before the model did.
        invalid_grades: Grades that are not on the prompt's scale; ignored.
        truncated: Positions of the passages that were shortened to fit their limit.
        distances: Positions of the passages whose first-stage scores were taken for distances,
            and negated, because they rise along the list.
        irrelevant: Positions of the passages of which the model said that none is relevant, where
            it was allowed to. They are ranked all the same.
        unread: Positions of the passages that a failed call kept from being read, or may have
            kept: where a call was about one passage, that passage; else all that a part ranked.
        skipped: Lists that were not ranked, because their first stage was sure (`When`).
        unscored: Positions of the passages without the first stage's score that `When` goes by. It
            ranks such a list.
        cut: Positions of the passages that a threshold or a gap left out (`Ranking.cut`).
    """

    fallbacks: tuple[str, ...] = ()
    malformed: int = 0
    missing: frozenset[int] = frozenset()
    duplicates: int = 0
    out_of_range: int = 0
    unseen_labels: int = 0
    written_orders: int = 0
    cut_answers: int = 0
    invalid_grades: int = 0
    truncated: frozenset[int] = frozenset()
    distances: frozenset[int] = frozenset()
    irrelevant: frozenset[int] = frozenset()
    unread: frozenset[int] = frozenset()
    skipped: int = 0
    unscored: frozenset[int] = frozenset()
    cut: frozenset[int] = frozenset()

    def __add__(self, other: "Report") -> "Report":
        """Both reports together: counts and causes added, positions united."""
        if other == NOTHING:
            return self
        return Report(**{n: _together(getattr(self, n), getattr(other, n)) for n in self.__slots__})

    def followed(self, later: "Report", positions: Sequence[int]) -> "Report":
        """Both reports together, where the later one is of an answer about these positions.

        It decides which of them are irrelevant, and which are unread.
        """
        if not self.irrelevant and not self.unread:
            return self + later
        left = {
            name: getattr(self, name).difference(positions) for name in ("irrelevant", "unread")
        }
        return replace(self, **left) + later

    def plain(self) -> dict[str, Any]:
        """The report in the values that JSON has; `from_plain` reads them.

        Examples:
            >>> Report(missing=frozenset({3, 1}), malformed=1).plain()["missing"]
            [1, 3]
        """
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: _plain(value) for name, value in values.items()}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> "Report":
        """The report that `plain` wrote.

        Raises:
            InputError: A name is not one of the report's.
        """
        kinds = {name: type(getattr(cls(), name)) for name in cls.__slots__}
        if unknown := sorted(set(values) - set(kinds)):
            raise InputError(f"a report has no {some_of(unknown)}")
        return cls(**{name: kinds[name](value) for name, value in values.items()})

    def mapped(self, positions: Sequence[int]) -> "Report":
        """The report of a sublist in terms of the list: position ``i`` becomes ``positions[i]``."""
        named = ("missing", "truncated", "distances", "irrelevant", "unread", "unscored", "cut")
        held: dict[str, Any] = {
            name: frozenset(positions[i] for i in found)
            for name in named
            if (found := getattr(self, name))
        }
        return replace(self, **held) if held else self

    @property
    def fallback(self) -> bool:
        """Whether any part of the order is the input's because something failed."""
        return bool(self.fallbacks or self.malformed)


NOTHING = Report()
"""The report of a ranking that needed no repair."""


@dataclass(frozen=True, slots=True)
class RankedPassage(Generic[T]):
    """One line of a result: the caller's own object, its place and its score.

    Attributes:
        passage: The object the caller gave, untouched.
        position: Where it stood in the caller's list, from 0.
        rank: Where it stands now, from 1.
        score: See `Ranking.score_kind`.
    """

    passage: T
    position: int
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """An order of the caller's passages.

    Args:
        order: Positions in the caller's list, best first. A permutation of all of them, unless
            cut by ``top_k``.
        scores: Aligned with ``order``: finite, never increasing, comparable with each other.
            Left out, they are reciprocal ranks (``score_kind="rank"``).
        score_kind: What the scores are: raw ``logit``, ``logprob`` (nats), ``probability``,
            ``similarity`` (of vectors: a cosine or the mean of several), ``grade``, ``z-score``
            (standard deviations above the list's mean, comparable within the list alone), or
            ``rank`` (1, 1/2, 1/3, ...: the order and nothing more).
        model_scores: The model's own scores, by position in the caller's list, where ``scores``
            mix them with others: a threshold is compared with these. Else empty.
        model_score_kind: The kind of ``model_scores``.
        usage: What it cost.
        report: What happened on the way.

    Raises:
        ContractError: Positions repeat, lengths differ, or a score is not finite or rises.

    Examples:
        >>> Ranking((2, 0, 1)).scores
        (1.0, 0.5, 0.3333333333333333)
        >>> [p.passage for p in Ranking((2, 0, 1)).top(2).ranked(["a", "b", "c"])]
        ['c', 'a']
    """

    order: tuple[int, ...]
    scores: tuple[float, ...] = ()
    score_kind: ScoreKind = "rank"
    usage: Usage = Usage()
    report: Report = Report()
    model_scores: tuple[float, ...] = ()
    model_score_kind: ScoreKind = "rank"

    def __post_init__(self) -> None:
        if not self.scores and self.order:
            if self.score_kind != "rank":
                raise ContractError(f"a ranking of kind {self.score_kind!r} came without scores")
            object.__setattr__(self, "scores", tuple([1.0 / r for r in range(1, len(self) + 1)]))
        if len(self.scores) != len(self.order) or len(set(self.order)) != len(self.order):
            raise ContractError(f"not a ranking: order {self.order}, {len(self.scores)} scores")
        if not all(map(math.isfinite, self.scores)):
            raise ContractError(f"scores must be finite: {self.scores}")
        if sorted(self.scores, reverse=True) != list(self.scores):
            raise ContractError(f"scores must not rise along the order: {self.scores}")

    def __len__(self) -> int:
        return len(self.order)

    def _repr_html_(self) -> str:
        """A table, where a notebook shows the ranking."""
        rows = "".join(
            f"<tr><td>{rank}</td><td>{i + 1}</td><td>{_moved(i + 1 - rank)}</td>"
            f"<td>{score:.4f}</td></tr>"
            for rank, (i, score) in enumerate(zip(self.order, self.scores, strict=True), start=1)
        )
        usage = self.usage
        cost = (
            f"{usage.calls} calls, {usage.prompt_tokens} tokens read, "
            f"{usage.generated_tokens} written, {usage.seconds:.2f} s"
        )
        if usage.loading_seconds:
            cost += f"; loading the model took {usage.loading_seconds:.2f} s"
        causes = "".join(f"<br>fell back: {escape(cause)}" for cause in self.report.fallbacks)
        return (
            f"<table><thead><tr><th>rank</th><th>was</th><th>moved</th><th>{self.score_kind}</th>"
            f"</tr></thead><tbody>{rows}</tbody></table><small>{cost}{causes}</small>"
        )

    def top(self, k: int | None) -> "Ranking":
        """The first ``k`` (all when None)."""
        return replace(self, order=self.order[:k], scores=self.scores[:k])

    def cut(
        self,
        *,
        score_threshold: float | None = None,
        cut_at_gap: bool = False,
        keep_at_least: int = 0,
    ) -> "Ranking":
        """The passages that their scores call relevant: fewer where fewer are.

        `Report.cut` names the others. Scores that only number the places (``"rank"``) say nothing
        about relevance: such a ranking, a kept order among them, is returned as it is. Mixed scores
        (``"z-score"``) compare within one list alone, so a threshold is compared with the model's
        own, and left out where there are none.

        Args:
            score_threshold: The lowest score to keep, in the unit of the model's own scores. A
                probability, under `rerank_plugins.strategies.Calibrated`.
            cut_at_gap: Keep what stands above the largest drop from one score to the next, the
                first of equally large ones; all where there is no drop.
            keep_at_least: How many passages are kept in any case, the best ones.

        Raises:
            InputError: The threshold is not a finite number, or ``keep_at_least`` is below 0.

        References:
            Taguchi, Maekawa and Bhutani, Efficient Context Selection for Long-Context QA: No
            Tuning, No Iteration, Just Adaptive-k, EMNLP 2025 (the largest gap).

        Examples:
            >>> ranking = Ranking((2, 0, 1), (0.9, 0.8, 0.1), "probability")
            >>> ranking.cut(score_threshold=0.85).order, ranking.cut(cut_at_gap=True).order
            ((2,), (2, 0))
            >>> ranking.cut(score_threshold=0.95, keep_at_least=1).order
            (2,)
        """
        cut = Cut(
            score_threshold=score_threshold, cut_at_gap=cut_at_gap, keep_at_least=keep_at_least
        )
        return cut.of(self)

    @property
    def own_scores(self) -> tuple[ScoreKind, Mapping[int, float]]:
        """The model's own scores by position, and their kind: those that a threshold goes by."""
        if self.model_scores:
            return self.model_score_kind, dict(enumerate(self.model_scores))
        return self.score_kind, dict(zip(self.order, self.scores, strict=True))

    @property
    def kept_order(self) -> bool:
        """Whether this is nothing but the input's order, because something failed."""
        in_order = self.order == tuple(range(len(self)))
        return self.report.fallback and in_order and self.score_kind == "rank"

    def ranked(self, passages: Sequence[T]) -> list[RankedPassage[T]]:
        """The caller's objects in this order, each with its rank and score.

        Raises:
            InputError: These are fewer than were ranked.
        """
        if any(i >= len(passages) for i in self.order):
            raise InputError(f"these are {len(passages)} passages, and more were ranked")
        return list(self._lines(passages))

    def _lines(self, passages: Sequence[T]) -> Iterator[RankedPassage[T]]:
        for rank, (i, score) in enumerate(zip(self.order, self.scores, strict=True), start=1):
            yield RankedPassage(passages[i], i, rank, score)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The end of a ranking by its scores. The arguments are those of `Ranking.cut`."""

    score_threshold: float | None = None
    cut_at_gap: bool = False
    keep_at_least: int = 0

    def __post_init__(self) -> None:
        at_least(-math.inf, none=True, score_threshold=self.score_threshold)
        flag(cut_at_gap=self.cut_at_gap)
        at_least(0, keep_at_least=self.keep_at_least)

    def ignored_by(self, ranking: Ranking) -> tuple[str, ...]:
        """The arguments that do not apply to the kind of a ranking's scores."""
        kind, _ = ranking.own_scores
        threshold = self.score_threshold is not None and kind in ("rank", "z-score")
        gap = self.cut_at_gap and ranking.score_kind == "rank"
        return ("score_threshold",) * threshold + ("cut_at_gap",) * gap

    def of(self, ranking: Ranking) -> Ranking:
        """The ranking without what is left out, which its report names."""
        kind, own = ranking.own_scores
        out = self.left_out(ranking, None if kind in ("rank", "z-score") else own)
        if not out:
            return ranking
        kept = [(i, s) for i, s in zip(ranking.order, ranking.scores, strict=True) if i not in out]
        return replace(
            ranking,
            order=tuple(i for i, _ in kept),
            scores=tuple(score for _, score in kept),
            report=ranking.report + Report(cut=out),
        )

    def left_out(self, ranking: Ranking, own: Mapping[int, float] | None) -> frozenset[int]:
        """The positions that are left out.

        Args:
            ranking: The ranking.
            own: The numbers that the threshold is compared with; None where it does not apply.
        """
        kept = set(ranking.order)
        if self.score_threshold is not None and own is not None:
            kept = {i for i in kept if own[i] >= self.score_threshold}
        drops = [a - b for a, b in pairwise(ranking.scores)] if self.cut_at_gap else []
        if ranking.score_kind != "rank" and (largest := max(drops, default=0.0)) > 0:
            kept &= set(ranking.order[: drops.index(largest) + 1])
        missing = max(self.keep_at_least - len(kept), 0)
        kept.update([i for i in ranking.order if i not in kept][:missing])
        return frozenset(ranking.order) - kept


def _together(one: Any, other: Any) -> Any:
    return one | other if isinstance(one, frozenset) else one + other


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    return list(value) if isinstance(value, tuple) else value


def _moved(places: int) -> str:
    return "" if not places else f"{'▲' if places > 0 else '▼'} {abs(places)}"


def by_score(
    scores: Sequence[float], score_kind: ScoreKind, *, report: Report | None = None
) -> Ranking:
    """Rank positions by descending score; ties keep the input order.

    Examples:
        >>> by_score([0.1, 0.9, 0.1], "logit").order
        (1, 0, 2)
    """
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    return Ranking(
        tuple(order), tuple(float(scores[i]) for i in order), score_kind, report=report or Report()
    )


def input_order(n: int, *, report: Report | None = None) -> Ranking:
    """``n`` passages as they came."""
    return Ranking(tuple(range(n)), report=report or Report())


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a schedule of windows, known before it runs.

    Attributes:
        calls: Windows to rank, each one call where the inner strategy asks one.
        depth: How many of them wait for each other.
    """

    calls: int
    depth: int


@runtime_checkable
class Strategy(Protocol):
    """Makes a plan from a query and passages. For type checking only: nothing to subclass.

    One that holds other strategies adds their reports to its own (`Report.mapped` translates
    positions). Where it keeps them in attributes, alone or in tuples, lists, sets or dictionaries,
    a failed call costs what the inner strategy ranks under ``on_error="keep_order"``, and not the
    whole list. One that keeps them elsewhere, or looks at their classes, has a method
    ``map_inner(change)``, which returns the strategy with ``change(inner)`` in the place of each.

    One that takes an instruction for a request has a method ``with_instruction(instruction)``,
    which returns a copy with it, or the strategy itself where its prompt has no place for one.

    One that knows more than the input's order when a call fails has a method ``attempt_rank`` with
    the same arguments, which plans a `rerank_plugins.strategies.Attempt`.
    """

    def rank(self, query: str, passages: Sequence[Passage]) -> Plan[Ranking]:
        """Plan the ranking of ``passages`` by relevance to ``query``.

        The result is a permutation of all passages; ties keep the input order; a failed call
        raises its `CallError` inside the plan. A strategy that needs no titles and scores may take
        a ``Sequence[str]``.
        """
        ...


def check_inner(inner: object) -> None:
    """Refuse what is not a strategy, where a strategy of strategies is made.

    Raises:
        InputError: It is a name, a class, or something else.
    """
    if isinstance(inner, type) or not isinstance(inner, Strategy):
        raise InputError(
            f"inner is {inner!r}, which is not a strategy",
            hint="Give an instance such as SingleToken(); names belong into specs.",
        )
