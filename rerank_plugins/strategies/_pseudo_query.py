"""A query that has read its best passages: one more vector, compared with the passages' own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from .._checks import at_least
from ..calls import Embed, Plan, Vectors
from ..errors import CallError, InputError
from ..plans import gather, settle
from ..prompts import EmbeddingPrompt, require
from ..ranking import Ranking, Report, input_order
from ._attempt import Attempt, Scored, rank_scored
from ._fit import Fitted, ask_fitted
from ._instructed import check_instruction
from ._vectors import Vector, cosine, rows_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PseudoQuery:
    """Let an embedding model read the query with the best passages, and search with that vector.

    The prompt of the query and the first passages has one vector, and each passage by itself has
    its own. The scores are cosines between them (``score_kind="similarity"``). The passages'
    vectors do not depend on the query: a backend inside `rerank_plugins.middleware.cached` computes
    them once. In a search with feedback, the index has them; see
    `rerank_plugins.feedback.E2Rank`.

    Args:
        prompt: An embedding prompt with a form of a passage alone, or its versioned name.
        inputs: How many of the first passages the query reads.
        instruction: The task, instead of the prompt's own words.

    Raises:
        InputError: The prompt has marks, or no place for an instruction where there is one; or
            ``inputs`` is not positive.

    References:
        Liu et al., E2Rank: Your Text Embedding can Also be an Effective and Efficient Listwise
        Reranker, arXiv:2510.22733, 2025.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.testing import Oracle
        >>> overlap = Oracle(key=lambda query, passage: float(query in passage))
        >>> ranking = Reranker(PseudoQuery(), overlap).rank("flea", ["a dog", "a flea"])
        >>> ranking.order, ranking.usage.calls, ranking.usage.batches
        ((1, 0), 3, 1)
    """

    prompt: str | EmbeddingPrompt = "e2rank.v1"
    inputs: int = 20
    instruction: str | None = None

    def __post_init__(self) -> None:
        at_least(1, inputs=self.inputs)
        require_alone(self.prompt)
        check_instruction(self.prompt, self.instruction)

    def with_instruction(self, instruction: str) -> "PseudoQuery":
        """A copy with an instruction; the strategy itself if its prompt has no place for one."""
        takes = require(self.prompt, EmbeddingPrompt).takes_instruction
        return replace(self, instruction=instruction) if takes else self

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan one call per passage and one for the query, all in one batch."""
        return (yield from self.attempt_rank(query, passages)).result()

    def attempt_rank(self, query: str, passages: Sequence[str]) -> Plan[Attempt]:
        """Plan `rank`; if a call fails, keep the ranking of the passages that have scores."""
        if not passages:
            return Attempt(input_order(0))
        template = require_alone(self.prompt)
        read = passages[: self.inputs]
        asked = [
            ask_pseudo_query(template, query, read, self.instruction),
            *(_ask_alone(template, passage) for passage in passages),
        ]
        written, *found = yield from gather([settle(plan) for plan in asked])
        if isinstance(written, CallError):
            return Attempt(input_order(len(passages)), written)
        answers: list[Scored | CallError] = []
        for place, own in enumerate(found):
            if isinstance(own, CallError):
                answers.append(own)
            else:
                cut = own.cut or place in written.cut
                score = cosine(written.vector, own.vector)
                answers.append(Scored(score, Report(truncated=frozenset({0} if cut else ()))))
        return rank_scored(answers, "similarity")


@dataclass(frozen=True, slots=True)
class Written:
    """The vector of a prompt, and which of its passages were shortened."""

    vector: Vector
    cut: frozenset[int]


def require_alone(prompt: str | EmbeddingPrompt) -> EmbeddingPrompt:
    """The prompt of a pseudo-query.

    Raises:
        InputError: It has marks, and no form of a passage alone.
    """
    found = require(prompt, EmbeddingPrompt)
    if not found.alone:
        raise InputError(
            f"{prompt!r} has no form of a passage alone", hint="Use BlockEmbedding with it."
        )
    return found


def ask_pseudo_query(
    template: EmbeddingPrompt, query: str, passages: Sequence[str], instruction: str | None = None
) -> Plan[Written]:
    """Ask for the vector of a query that has read passages.

    Raises:
        CallError: The call failed, or its answer is not one vector.
    """
    render = partial(template.render, query, passages, instruction=instruction)
    return _written((yield from ask_fitted(render, Embed, passages, template.most_words)))


def _ask_alone(template: EmbeddingPrompt, passage: str) -> Plan[Written]:
    render = partial(template.render_alone, passage)
    return _written((yield from ask_fitted(render, Embed, [passage], template.most_words)))


def _written(found: Fitted[Vectors]) -> Written:
    [vector] = rows_of(found.answer, 1)
    return Written(vector, found.cut)
