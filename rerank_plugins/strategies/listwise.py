"""Strategies that put one window of passages into one prompt."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..calls import Call, Generate, LabelLogprobs, NextToken, Plan, Prompt, Reply
from ..data import Ranking, Report, by_score, input_order
from ..errors import InputError, ModelOutputError, PromptTooLongError
from ..parsing import parse_permutation
from ..plans import ask_replies
from ..prompts import ListwisePrompt, require
from ..text import labels
from .fitting import shorter

A = TypeVar("A")

LOWEST_LOGPROB = -1e9
"""Stands for a probability of zero, so that every score is a finite number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleToken:
    """Order one window by the log-probabilities of its identifiers (FIRST).

    The prompt ends where the answer's first identifier would stand. One forward pass gives the
    log-probability of every identifier there, and their order is the ranking: no text is
    generated. Scores are those log-probabilities in nats (``score_kind="logprob"``); they can be
    compared within one window only, so wrap the strategy in `SlidingWindow` for longer lists.

    Args:
        prompt: A listwise prompt or its versioned name. ``first.v1`` for
            rryisthebest/First_Model and for models without such training,
            ``rankllm-letters.v1`` for castorini/first_mistral.

    Raises:
        InputError: More passages than identifiers (26 letters, or 9 numbers that are one token).

    References:
        Reddy et al., FIRST: Faster Improved Listwise Reranking with Single Token Decoding,
        arXiv:2406.15657, 2024.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.testing import Oracle
        >>> prefers_short = Oracle(key=lambda query, passage: -len(passage))
        >>> Reranker(SingleToken(), prefers_short).rank("q", ["long one", "short"]).order
        (1, 0)
    """

    prompt: str | ListwisePrompt = "first.v1"

    def __post_init__(self) -> None:
        require(self.prompt, ListwisePrompt)

    @property
    def max_passages(self) -> int:
        """How many identifiers there are that a model can write as one token."""
        return {"letters": 26, "numbers": 9}[require(self.prompt, ListwisePrompt).alphabet]

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan one call for two or more passages, none for fewer."""
        template = require(self.prompt, ListwisePrompt)
        if len(passages) < 2:
            return input_order(len(passages))
        if len(passages) > self.max_passages:
            raise InputError(
                f"{len(passages)} passages are more than {self.max_passages} identifiers of one "
                "token",
                hint=f"Use SlidingWindow(inner=..., size={min(20, self.max_passages)}, ...).",
            )
        names = labels(template.alphabet, len(passages))
        reply, cut = yield from fitted(
            template, query, passages, lambda prompt: NextToken(prompt, names)
        )
        logprobs = label_scores(reply.answer, names)
        unseen = sum(name not in reply.answer.seen for name in names)
        return by_score(logprobs, "logprob", report=Report(unseen_labels=unseen, truncated=cut))


@dataclass(frozen=True, slots=True, kw_only=True)
class Permutation:
    """Order one window by the permutation that the model writes: ``[2] > [1] > [3]``.

    Whatever the model writes, every passage comes back exactly once: repeated and impossible
    identifiers are ignored, passages that were left out follow in their input order, and an
    answer without identifiers keeps the window as it was. `Report` counts each of these.

    Args:
        prompt: A listwise prompt or its versioned name: ``rankzephyr.v1``, ``rankvicuna.v1``.
        max_tokens: The longest answer; by default enough for every identifier.

    References:
        Pradeep et al., RankVicuna, arXiv:2309.15088, and RankZephyr, arXiv:2312.02724, 2023.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.testing import Scripted
        >>> ranking = Reranker(Permutation(), Scripted(["[3] > [1]"])).rank("q", ["a", "b", "c"])
        >>> ranking.order, ranking.report.missing
        ((2, 0, 1), frozenset({1}))
    """

    prompt: str | ListwisePrompt = "rankzephyr.v1"
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        require(self.prompt, ListwisePrompt)
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InputError(f"max_tokens is {self.max_tokens}, expected at least 1")

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan one call for two or more passages, none for fewer."""
        template = require(self.prompt, ListwisePrompt)
        n = len(passages)
        if n < 2:
            return input_order(n)
        room = self.max_tokens or answer_tokens(n, template)
        reply, cut = yield from fitted(
            template, query, passages, lambda prompt: Generate(prompt, room)
        )
        parsed = parse_permutation(template.prefill + reply.answer.text, n, template.alphabet)
        report = Report(
            malformed=int(not parsed.positions),
            missing=frozenset(parsed.missing(n)) if parsed.positions else frozenset(),
            duplicates=parsed.duplicates,
            out_of_range=parsed.out_of_range,
            truncated=cut,
        )
        return Ranking(parsed.completed(n), report=report)


def fitted(
    template: ListwisePrompt,
    query: str,
    passages: Sequence[str],
    call: Callable[[Prompt], Call[A]],
) -> Plan[tuple[Reply[A], frozenset[int]]]:
    """Ask about a window, with shorter passages each time the prompt does not fit.

    Returns:
        The reply, and the positions of the passages that were shortened.

    Raises:
        PromptTooLongError: It does not fit with one word of each passage either.
    """
    limit = template.max_passage_words
    while True:
        prompt, cut = template.render(query, passages, limit)
        [reply] = yield from ask_replies([call(prompt)])
        if isinstance(reply, Reply):
            return reply, cut
        if not isinstance(reply, PromptTooLongError):
            raise reply
        limit = shorter(limit, reply, passages)


def label_scores(answer: LabelLogprobs, names: Sequence[str]) -> list[float]:
    """The log-probability of each label, an unreported one at the floor.

    Raises:
        ModelOutputError: A value is not a number, or a label was neither reported nor bounded.
    """
    logprobs = [answer.seen.get(name, answer.floor) for name in names]
    if any(map(math.isnan, logprobs)):
        raise ModelOutputError(
            "the model's log-probabilities are not numbers", hint="Try dtype='float32'."
        )
    if not any(name in answer.seen for name in names):
        raise ModelOutputError(
            "the backend reported none of the labels",
            hint="Use a backend that answers by token id, or Permutation instead.",
        )
    return [max(value, LOWEST_LOGPROB) for value in logprobs]


def answer_tokens(n: int, template: ListwisePrompt) -> int:
    """Room for ``[1] > [2] > ...``: a bracket, the identifier's characters, and " > "."""
    return sum(len(name) + 5 for name in labels(template.alphabet, n))
