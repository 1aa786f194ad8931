"""Permutations of one window: written by the model, or built identifier by identifier."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .._checks import at_least, flag
from .._content import begins_in_reasoning
from ..calls import Completion, Identifier, NextToken, Plan, Prompt, WrittenOrder, text_of
from ..errors import InputError
from ..parsing import parse_permutation, says_none
from ..prompts import ListwisePrompt, require
from ..ranking import Ranking, Report, input_order
from ..text import labels
from ._fit import ask_window
from ._labels import ONE_TOKEN, check_identifiers, label_scores, unseen_labels
from ._sampling import GREEDY, REASONING_TOKENS, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Permutation:
    """Order one window by the permutation that the model writes: ``[2] > [1] > [3]``.

    Whatever the model writes, every passage comes back exactly once: repeated and impossible
    identifiers are ignored, passages that were left out follow in their input order, and an
    answer without identifiers keeps the window as it was. Reasoning is never read as an answer.
    `Report` counts each of these. An answer that begins with a whole order ends there: models in
    this process stop writing, and what others write after it is not read.

    Args:
        prompt: A listwise prompt or its versioned name: ``rankzephyr.v1``, ``rankvicuna.v1``,
            ``reasonrank.v1``, ``dear-listwise.v1``.
        max_tokens: The longest answer; by default what the usual tokenizers need for every
            identifier, and 3072 tokens more where the prompt asks for reasoning. Give more to a
            model that begins with other words; `Report.cut_answers` counts what was cut.
        top_m: Stop after this many identifiers; the passages that were not named follow in their
            input order. All when None.
        sampling: How the answer is decoded: greedily, unless the checkpoint's authors sample.
        allow_none: Whether the model may say that no passage is relevant: ``none``, ``[]``, or a
            short English sentence. The order is then the input's, `Report.irrelevant` names the
            passages, and nothing counts as malformed. Use a prompt that asks for it.

    Raises:
        InputError: A number is out of range, or the prompt's identifiers are tokens that the
            backend picks.

    References:
        Pradeep et al., RankVicuna, arXiv:2309.15088, and RankZephyr, arXiv:2312.02724, 2023;
        Liu et al., ReasonRank, arXiv:2508.07050, 2025.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.testing import Scripted
        >>> ranking = Reranker(Permutation(), Scripted(["[3] > [1]"])).rank("q", ["a", "b", "c"])
        >>> ranking.order, ranking.report.missing
        ((2, 0, 1), frozenset({1}))
    """

    prompt: str | ListwisePrompt = "rankzephyr.v1"
    max_tokens: int | None = None
    top_m: int | None = None
    sampling: Sampling = GREEDY
    allow_none: bool = False

    def __post_init__(self) -> None:
        flag(allow_none=self.allow_none)
        if require(self.prompt, ListwisePrompt).alphabet == "tokens":
            raise InputError(
                "written answers need identifiers that are known beforehand",
                hint="Use a prompt with letters or numbers, or SingleToken with this one.",
            )
        at_least(1, none=True, max_tokens=self.max_tokens, top_m=self.top_m)

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan one call for two or more passages, none for fewer."""
        template = require(self.prompt, ListwisePrompt)
        n = len(passages)
        if n < 2:
            return input_order(n)
        wanted = n if self.top_m is None else min(self.top_m, n)
        room = self.max_tokens or answer_tokens(n, wanted, template)
        until = written_order(template, n, wanted)
        found = yield from ask_window(
            template,
            query,
            passages,
            lambda prompt: self.sampling.generate(prompt, room, until=until),
        )
        none = self.allow_none
        return read_permutation(template, found.answer, n, wanted, found.cut, allow_none=none)


def written_order(template: ListwisePrompt, n: int, wanted: int) -> WrittenOrder | None:
    """The order after which nothing needs to be written; None where reasoning comes first."""
    return None if template.reasoning else WrittenOrder(labels(template.alphabet, n), wanted)


def answer_tokens(n: int, wanted: int, template: ListwisePrompt) -> int:
    """Tokens for the first ``wanted`` of ``n`` identifiers, as ``[1] > [2] > ...``, and no more.

    Each may need a token for every character of itself, and the usual tokenizers need three for
    `` > []``; nothing stands before the first. A model given more writes on until it is used up,
    and what is no order by then seldom becomes one.
    """
    longest = sorted(map(len, labels(template.alphabet, n)), reverse=True)[:wanted]
    reasoning = REASONING_TOKENS if template.reasoning else 0
    return reasoning + sum(length + 3 for length in longest) - 1


def read_permutation(
    template: ListwisePrompt,
    answer: Completion,
    n: int,
    wanted: int,
    cut: frozenset[int],
    *,
    allow_none: bool = False,
) -> Ranking:
    """The order of ``n`` passages from an answer that was asked for the first ``wanted``."""
    written = text_of(template.prefill) + answer.text
    until = written_order(template, n, wanted)
    if until and not begins_in_reasoning(written):
        left, stop = until.progress(written)
        # Not every backend ends an answer there, and the order must be the same with all.
        written = written if left != 0 else written[:stop]
    parsed = parse_permutation(written, n, template.alphabet, reasoning=template.reasoning)
    said = allow_none and not parsed.positions and answer.finish_reason == "stop"
    if said and says_none(written, n, reasoning=template.reasoning):
        return input_order(n, report=Report(irrelevant=frozenset(range(n)), truncated=cut))
    order = parsed.completed(n) if wanted == n else parsed.first(wanted).completed(n)
    too_few = len(parsed.positions) < wanted
    report = Report(
        malformed=int(not parsed.positions),
        missing=frozenset(parsed.missing(n) if parsed.positions and too_few else ()),
        duplicates=parsed.duplicates,
        out_of_range=parsed.out_of_range,
        # An answer with all that was wanted was stopped on purpose, not cut.
        cut_answers=int(answer.finish_reason == "length" and too_few),
        truncated=cut,
    )
    return Ranking(order, report=report)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstrainedPermutation:
    """Build the permutation identifier by identifier, each the likeliest of the remaining ones.

    The answer can only be a permutation: there is nothing to parse or to repair. Where a greedy
    answer would have been well-formed, it is the same. One call per identifier, one after the
    other; a server with a prefix cache computes the passages once.

    Args:
        prompt: A listwise prompt with letters or tokens, or its versioned name.
        top_m: Stop after this many identifiers; the other passages follow in their input order.
            All when None.

    Raises:
        InputError: ``top_m`` is not positive, or there are more passages than identifiers.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.testing import Oracle
        >>> by_length = Oracle(key=lambda query, passage: len(passage))
        >>> Reranker(ConstrainedPermutation(), by_length).rank("q", ["a", "abc", "ab"]).order
        (1, 2, 0)
    """

    prompt: str | ListwisePrompt = "full-list-tokens.v1"
    top_m: int | None = None

    def __post_init__(self) -> None:
        require(self.prompt, ListwisePrompt)
        at_least(1, none=True, top_m=self.top_m)

    @property
    def max_passages(self) -> int | None:
        """The number of identifiers that are one token; None where it depends on the model."""
        return ONE_TOKEN[require(self.prompt, ListwisePrompt).alphabet]

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan one call per identifier; the last one needs none."""
        template = require(self.prompt, ListwisePrompt)
        n = len(passages)
        if n < 2:
            return input_order(n)
        check_identifiers(template, n)
        names = template.names(n)
        order, left, report = list[int](), list(range(n)), Report()

        def call(prompt: Prompt) -> NextToken:
            wanted = tuple(names[i] for i in left)
            return NextToken(continued(prompt, template, order), wanted)

        for _ in range(min(self.top_m or n, n - 1)):
            found = yield from ask_window(template, query, passages, call)
            wanted = [names[i] for i in left]
            scores = label_scores(found.answer, wanted)
            unseen = unseen_labels(found.answer, wanted)
            report += Report(unseen_labels=unseen, truncated=found.cut)
            order.append(left.pop(max(range(len(left)), key=lambda k: scores[k])))
        return Ranking((*order, *left), report=report)


def continued(prompt: Prompt, template: ListwisePrompt, order: Sequence[int]) -> Prompt:
    """The prompt, followed by the first identifiers of an answer: ``[C] > [A] > [``."""
    names = labels(template.alphabet, max(order, default=-1) + 1)
    written: list[str | Identifier] = [template.prefill]
    for i in order:
        name = Identifier(i) if template.alphabet == "tokens" else names[i]
        written += [template.before_label, name, "] > ["]
    return replace(prompt, prefill=tuple(part for part in written if part))
