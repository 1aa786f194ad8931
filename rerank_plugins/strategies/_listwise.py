"""Strategies that put one window of passages into one prompt."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..calls import Call, Completion, LabelLogprobs, Plan, Prompt, text_of
from ..errors import InputError, LogprobsError, ModelOutputError
from ..parsing import parse_permutation
from ..prompts import ListwisePrompt, require
from ..ranking import Ranking, Report, input_order
from ..text import labels
from ._fit import Fitted, ask_fitted
from ._sampling import GREEDY, Sampling

A = TypeVar("A")

LOWEST_LOGPROB = -1e9
"""Stands for a probability of zero, so that every score is a finite number."""

REASONING_TOKENS = 3072
"""Room for reasoning before an answer, as ReasonRank's authors leave it."""

ONE_TOKEN = {"letters": 26, "numbers": 9, "tokens": None}
"""How many identifiers of an alphabet are one token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permutation:
    """Order one window by the permutation that the model writes: ``[2] > [1] > [3]``.

    Whatever the model writes, every passage comes back exactly once: repeated and impossible
    identifiers are ignored, passages that were left out follow in their input order, and an
    answer without identifiers keeps the window as it was. Reasoning is never read as an answer.
    `Report` counts each of these.

    Args:
        prompt: A listwise prompt or its versioned name: ``rankzephyr.v1``, ``rankvicuna.v1``,
            ``reasonrank.v1``, ``dear-listwise.v1``.
        max_tokens: The longest answer; by default enough for every identifier, and for
            `REASONING_TOKENS` of reasoning where the prompt asks for it.
        top_m: Stop after this many identifiers; the passages that were not named follow in their
            input order. All when None.
        sampling: How the answer is decoded: greedily, unless the checkpoint's authors sample.

    Raises:
        InputError: A number is out of range, or the prompt's identifiers are the backend's.

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

    def __post_init__(self) -> None:
        if require(self.prompt, ListwisePrompt).alphabet == "tokens":
            raise InputError(
                "written answers need identifiers that are known beforehand",
                hint="Use a prompt with letters or numbers, or SingleToken with this one.",
            )
        for name in ("max_tokens", "top_m"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}, expected at least 1")

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan one call for two or more passages, none for fewer."""
        template = require(self.prompt, ListwisePrompt)
        n = len(passages)
        if n < 2:
            return input_order(n)
        wanted = n if self.top_m is None else min(self.top_m, n)
        room = self.max_tokens or answer_tokens(n, wanted, template)
        found = yield from fitted(
            template, query, passages, lambda prompt: self.sampling.generate(prompt, room)
        )
        return read_permutation(template, found.answer, n, wanted, found.cut)


def read_permutation(
    template: ListwisePrompt, answer: Completion, n: int, wanted: int, cut: frozenset[int]
) -> Ranking:
    """The order of ``n`` passages from an answer that was asked for the first ``wanted``."""
    written = text_of(template.prefill) + answer.text
    parsed = parse_permutation(written, n, template.alphabet, reasoning=template.reasoning)
    order = parsed.completed(n) if wanted == n else parsed.first(wanted).completed(n)
    missing = frozenset(parsed.missing(n)) if len(parsed.positions) < wanted else frozenset[int]()
    # An answer that was to stop early has not been cut by stopping.
    unfinished = answer.finish_reason == "length" and len(parsed.positions) < wanted
    report = Report(
        malformed=int(not parsed.positions),
        missing=missing if parsed.positions else frozenset(),
        duplicates=parsed.duplicates,
        out_of_range=parsed.out_of_range,
        cut_answers=int(unfinished),
        truncated=cut,
    )
    return Ranking(order, report=report)


def fitted(
    template: ListwisePrompt,
    query: str,
    passages: Sequence[str],
    call: Callable[[Prompt], Call[A]],
) -> Plan[Fitted[A]]:
    """Ask about a window, with shorter passages each time the prompt does not fit.

    Raises:
        PromptTooLongError: It does not fit with one word of each passage either.
    """
    return (
        yield from ask_fitted(
            lambda words: template.render(query, passages, words),
            call,
            passages,
            template.most_words,
        )
    )


def check_identifiers(template: ListwisePrompt, n: int) -> None:
    """Refuse more passages than the prompt has identifiers of one token."""
    most = ONE_TOKEN[template.alphabet]
    if most is not None and n > most:
        raise InputError(
            f"{n} passages are more than {most} identifiers of one token",
            hint=f"Use SlidingWindow(inner=..., size={min(20, most)}, ...), or the prompt "
            "'full-list-tokens.v1'.",
        )


def label_scores(answer: LabelLogprobs, names: Sequence[str]) -> list[float]:
    """The log-probability of each label, an unreported one at the floor.

    Raises:
        ModelOutputError: A value is not a number.
        LogprobsError: No label was reported.
    """
    logprobs = [answer.seen.get(name, answer.floor) for name in names]
    if any(map(math.isnan, logprobs)):
        raise ModelOutputError(
            "the model's log-probabilities are not numbers", hint="Try dtype='float32'."
        )
    if not any(name in answer.seen for name in names):
        raise LogprobsError(
            "the backend reported none of the labels",
            hint="Use a backend that answers by token id, policy='generate', or Permutation.",
        )
    return [max(value, LOWEST_LOGPROB) for value in logprobs]


def answer_tokens(n: int, wanted: int, template: ListwisePrompt) -> int:
    """Room for the first ``wanted`` identifiers of ``[1] > [2] > ...``.

    For a whole list, each may need a token for every character of itself and of `` > []``. One that
    is to stop early gets what the usual tokenizers need, or it would go on for half as long again.
    """
    between = 5 if wanted == n else 3
    longest = sorted(map(len, labels(template.alphabet, n)), reverse=True)[:wanted]
    reasoning = REASONING_TOKENS if template.reasoning else 0
    return reasoning + sum(length + between for length in longest)
