"""Listwise embeddings: query and passages of one prompt, compared by their states."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from .._checks import at_least
from ..calls import Embed, Plan, Prompt
from ..errors import CallError, InputError, PromptTooLongError
from ..plans import gather
from ..prompts import EmbeddingPrompt, require
from ..ranking import Ranking, Report
from ._attempt import Attempt, Scored, rank_scored
from ._fit import ask_fitted, ask_whole
from ._instructed import check_instruction
from ._vectors import Vector, cosine, rows_of


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockEmbedding:
    """Read the query and a block of passages in one forward pass, and compare their states.

    A mark follows each passage and the query, which stands before and after the passages. The
    scores are cosines of the states at these marks (``score_kind="similarity"``). The passages are
    read together, so a score depends on the others of the block.

    Longer lists are several blocks, side by side. Their query vectors are averaged, each with the
    weight ``(1 + c) / 2`` for the highest cosine ``c`` of its block, and every passage is compared
    with the average. A block that does not fit the model is halved until it does.

    Args:
        prompt: An embedding prompt with marks, or its versioned name.
        size: Passages in a block at most; 125 as in the code of jina-reranker-v3.
        instruction: The meaning of relevance, instead of the prompt's own words.

    Raises:
        InputError: The prompt has no marks, or no place for an instruction where there is one; or
            ``size`` is not positive.

    References:
        Wang, Li and Xiao, jina-reranker-v3: Last but Not Late Interaction for Listwise Document
        Reranking, arXiv:2509.25085, 2025.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.testing import Oracle
        >>> overlap = Oracle(key=lambda query, passage: float(query in passage))
        >>> ranking = Reranker(BlockEmbedding(), overlap).rank("flea", ["a dog", "a flea"])
        >>> ranking.order, ranking.score_kind, ranking.usage.calls
        ((1, 0), 'similarity', 1)
    """

    prompt: str | EmbeddingPrompt = "jina-reranker-v3.v1"
    size: int = 125
    instruction: str | None = None

    def __post_init__(self) -> None:
        at_least(1, size=self.size)
        if not require(self.prompt, EmbeddingPrompt).marks:
            raise InputError(
                f"{self.prompt!r} has no marks after its passages",
                hint="Use PseudoQuery with it.",
            )
        check_instruction(self.prompt, self.instruction)

    def with_instruction(self, instruction: str) -> "BlockEmbedding":
        """A copy with an instruction; the strategy itself if its prompt has no place for one."""
        takes = require(self.prompt, EmbeddingPrompt).takes_instruction
        return replace(self, instruction=instruction) if takes else self

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan one call per block, all in one batch. One passage gets its score too."""
        return (yield from self.attempt_rank(query, passages)).result()

    def attempt_rank(self, query: str, passages: Sequence[str]) -> Plan[Attempt]:
        """Plan `rank`; if a call fails, keep the ranking of the passages that have scores."""
        n = len(passages)
        blocks = [range(i, min(i + self.size, n)) for i in range(0, n, self.size)]
        found = yield from gather([self._read(query, passages, block) for block in blocks])
        answers: dict[int, Scored | CallError] = {}
        read: list[_Block] = []
        for where, block in (pair for pairs in found for pair in pairs):
            if isinstance(block, CallError):
                answers |= dict.fromkeys(where, block)
            else:
                read.append(block)
        meant = _mean(read)
        for block in read:
            for place, vector in enumerate(block.passages):
                cut = frozenset({0} if place in block.cut else ())
                score = cosine(meant, vector)
                answers[block.where[place]] = Scored(score, Report(truncated=cut))
        return rank_scored([answers[i] for i in range(n)], "similarity")

    def _read(
        self, query: str, passages: Sequence[str], where: range
    ) -> Plan[list[tuple[range, "_Block | CallError"]]]:
        """Read a block; its halves, where it is too long for the model."""
        try:
            return [(where, (yield from self._block(query, passages, where)))]
        except PromptTooLongError as error:
            if len(where) == 1:  # no fewer words would do
                return [(where, error)]
        except CallError as error:
            return [(where, error)]
        middle = (len(where) + 1) // 2
        halves = [self._read(query, passages, half) for half in (where[:middle], where[middle:])]
        return [pair for pairs in (yield from gather(halves)) for pair in pairs]

    def _block(self, query: str, passages: Sequence[str], where: range) -> Plan["_Block"]:
        template = require(self.prompt, EmbeddingPrompt)
        shown = [passages[i] for i in where]
        render = partial(template.render, query, shown, instruction=self.instruction)

        def call(prompt: Prompt) -> Embed:
            return Embed(prompt, template.marks)

        if len(where) == 1:
            found = yield from ask_fitted(render, call, shown, template.most_words)
        else:
            found = yield from ask_whole(render(), call)
        *vectors, own = rows_of(found.answer, len(where) + 1)
        return _Block(where, own, vectors, found.cut)


@dataclass(frozen=True, slots=True)
class _Block:
    """The vectors of a block.

    Args:
        where: The passages' positions.
        query: The vector of the query.
        passages: Those of the passages.
        cut: Which of them were shortened.
    """

    where: range
    query: Vector
    passages: Sequence[Vector]
    cut: frozenset[int]


def _mean(blocks: Sequence[_Block]) -> Vector:
    """The mean of the blocks' query vectors, by the best passage of each."""
    if len(blocks) == 1:
        return blocks[0].query
    weights = [
        (1 + max(cosine(block.query, vector) for vector in block.passages)) / 2 for block in blocks
    ]
    total = math.fsum(weights) or 1.0
    # Of different lengths only where several models answered: then no cosine is possible.
    columns = zip(*(block.query for block in blocks), strict=False)
    return tuple(
        math.fsum(w * value for w, value in zip(weights, column, strict=True)) / total
        for column in columns
    )
