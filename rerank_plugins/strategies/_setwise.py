"""Sorting by a model that names the best passage of a small set."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from .._checks import at_least, flag, one_of
from ..calls import Plan
from ..errors import CallError, InputError
from ..parsing import parse_label, says_none
from ..prompts import ListwisePrompt, require
from ..ranking import Ranking, Report, input_order
from ._attempt import Attempt
from ._fit import ask_window
from ._labels import ask_labels, check_identifiers
from ._sampling import GREEDY, REASONING_TOKENS, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Setwise:
    """Sort the best passages to the top, by a heap sort or a bubble sort that asks a model.

    Each question shows a passage and a few others and asks which is the most relevant. The first
    ``top_m`` places are sorted, the others follow in their input order. Scores are of kind
    ``"rank"``.

    Args:
        prompt: A listwise prompt that asks for the most relevant passage, or its versioned name:
            ``setwise.v1``, ``rank-r1.v1``.
        method: ``"heap"`` needs fewer questions; ``"bubble"`` stops early on sorted lists.
        answer: ``"likelihood"``: the label with the highest log-probability, one forward pass.
            ``"written"``: the label that the model writes, after reasoning where the prompt asks
            for it. After an answer that names no passage, the one that stood highest stays there.
        others: The number of passages that each is compared with at once.
        top_m: The number of places at the top to sort.
        max_tokens: The longest written answer; by default 8, and 3072 with reasoning.
        sampling: How a written answer is decoded.
        allow_none: Whether a written answer may say that no passage of a set is relevant, as for
            `Permutation`. `Report.irrelevant` has the passages of such sets, but for those that
            another set's answer names later.

    Raises:
        InputError: A number is out of range, a value is unknown, or the prompt has too few
            identifiers, or identifiers that a model cannot write.

    References:
        Zhuang et al., A Setwise Approach for Effective and Highly Efficient Zero-shot Ranking,
        arXiv:2310.09497, 2023; Zhuang et al., Rank-R1, arXiv:2503.06034, 2025.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.testing import Oracle
        >>> best_last = Oracle(key=lambda query, passage: float(passage))
        >>> ranking = Reranker(Setwise(top_m=2), best_last).rank("q", list(map(str, range(20))))
        >>> ranking.order[:4], ranking.usage.calls
        ((19, 18, 0, 1), 13)
    """

    prompt: str | ListwisePrompt = "setwise.v1"
    method: Literal["heap", "bubble"] = "heap"
    answer: Literal["likelihood", "written"] = "likelihood"
    others: int = 3
    top_m: int = 10
    max_tokens: int | None = None
    sampling: Sampling = GREEDY
    allow_none: bool = False

    def __post_init__(self) -> None:
        flag(allow_none=self.allow_none)
        template = require(self.prompt, ListwisePrompt)
        one_of("method", self.method, ("heap", "bubble"))
        one_of("answer", self.answer, ("likelihood", "written"))
        at_least(1, others=self.others, top_m=self.top_m)
        at_least(1, none=True, max_tokens=self.max_tokens)
        if self.answer == "likelihood":
            if self.allow_none:
                raise InputError(
                    "allow_none needs an answer in words, and answer is 'likelihood'",
                    hint='Use answer="written".',
                )
            check_identifiers(template, self.others + 1)
        if template.alphabet == "tokens" and self.answer == "written":
            raise InputError(
                "answer is 'written', and the backend picks the prompt's identifiers",
                hint="Use a prompt with letters or numbers.",
            )

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan the sort."""
        return (yield from self.attempt_rank(query, passages)).result()

    def attempt_rank(self, query: str, passages: Sequence[str]) -> Plan[Attempt]:
        """Plan `rank`; if a call fails, keep the places that are sorted."""
        n = len(passages)
        if n < 2:
            return Attempt(input_order(n))
        sort = _Sort(self, query, passages)
        order = list(range(n))
        try:
            found = yield from (sort.heap if self.method == "heap" else sort.bubble)(order)
        except CallError as error:
            return Attempt(sort.ranking(), error)
        return Attempt(Ranking(tuple(found), report=sort.report))


@dataclass(slots=True)
class _Sort:
    """The state of one sort, for one plan."""

    settings: Setwise
    query: str
    passages: Sequence[str]
    report: Report = field(default_factory=Report)
    top: list[int] = field(default_factory=list)

    def ranking(self) -> Ranking:
        """The places that are sorted so far, and the rest in the input order."""
        rest = (i for i in range(len(self.passages)) if i not in self.top)
        return Ranking((*self.top, *rest), report=self.report)

    def heap(self, order: list[int]) -> Plan[tuple[int, ...]]:
        """Take the root of a heap ``top_m`` times; each node has ``others`` children."""
        for root in reversed(range((len(order) - 2) // self.settings.others + 1)):
            yield from self._sift(order, root)
        while order and len(self.top) < self.settings.top_m:
            self.top.append(order[0])
            last = order.pop()
            if order:
                order[0] = last
                if len(self.top) < self.settings.top_m:
                    yield from self._sift(order, 0)
        return self.ranking().order

    def _sift(self, heap: list[int], node: int) -> Plan[None]:
        """Let a node sink until it is better than its children."""
        k = self.settings.others
        while (first := node * k + 1) < len(heap):
            family = [node, *range(first, min(first + k, len(heap)))]
            best = yield from self._best([heap[i] for i in family])
            place = next(i for i in family if heap[i] == best)
            if place == node:
                return
            heap[node], heap[place] = heap[place], heap[node]
            node = place

    def bubble(self, order: list[int]) -> Plan[tuple[int, ...]]:
        """Carry the best passage to the top, then the best of the others, ``top_m`` times."""
        k = self.settings.others
        for place in range(min(self.settings.top_m, len(order) - 1)):
            stop = len(order)
            while stop - place > 1:
                start = max(stop - 1 - k, place)
                best = yield from self._best(order[start:stop])
                # The winner moves to the top of its set, the passages above it one down.
                order.insert(start, order.pop(order.index(best, start)))
                stop = start + 1
            self.top.append(order[place])
        self.top = order[: max(len(self.top), 1)]
        return tuple(order)

    def _best(self, positions: Sequence[int]) -> Plan[int]:
        """The best of a set. In the input order, so that the earlier of two equal ones wins."""
        shown = sorted(positions)
        texts = [self.passages[i] for i in shown]
        template = require(self.settings.prompt, ListwisePrompt)
        if self.settings.answer == "likelihood":
            scores, report = yield from ask_labels(template, self.query, texts)
            self.report += report.mapped(shown)
            return shown[max(range(len(shown)), key=lambda i: scores[i])]
        room = self.settings.max_tokens or (REASONING_TOKENS if template.reasoning else 8)
        found = yield from ask_window(
            template, self.query, texts, lambda p: self.settings.sampling.generate(p, room)
        )
        answer, n = found.answer, len(texts)
        chosen = parse_label(answer.text, n, template.alphabet, reasoning=template.reasoning)
        cut = chosen is None and answer.finish_reason == "length"
        said = self.settings.allow_none and chosen is None and not cut
        if said and says_none(answer.text, n, reasoning=template.reasoning):
            report = Report(irrelevant=frozenset(range(n)), truncated=found.cut)
            self.report += report.mapped(shown)
            return positions[0]
        report = Report(malformed=int(chosen is None), cut_answers=int(cut), truncated=found.cut)
        named = () if chosen is None else (shown[chosen],)
        self.report = self.report.followed(report.mapped(shown), named)
        return named[0] if named else positions[0]
