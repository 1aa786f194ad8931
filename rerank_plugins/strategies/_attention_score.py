"""Passages by the attention that the query pays to them, without any training."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

from .._checks import fits
from ..calls import Attend, PassageAttention, Plan, Prompt
from ..errors import InputError, ModelOutputError
from ..prompts import ListwisePrompt, require
from ..ranking import Ranking, Report, by_score, input_order
from ._fit import Fitted, ask_window

_HEAD = re.compile(r"(\d{1,4})-(\d{1,4})")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionScore:
    """Score passages by the attention that the question after them pays to them.

    All passages stand in one prompt, before the query; nothing is generated. The attention of a
    query without content is subtracted, which takes away what a passage gets for its place and
    length. One call, two forward passes, of which the second shares the first's passages. Scores
    are standard deviations above the list's mean (``score_kind="z-score"``): they compare within
    one list alone. A list that is too long for the model is shortened passage by passage; the
    authors advise against windows.

    Only `TransformersBackend` can answer. It takes a large model: with SmolLM2-135M the order is
    worse than the first stage's, also with chosen heads. ``rerank-plugins heads`` finds a model's
    heads, and says on other queries whether they help.

    Args:
        prompt: A listwise prompt whose query stands after the passages, or its versioned name:
            ``icr.v1``, or ``icr-llama.v1`` for Llama.
        heads: The heads that count, as ``"layer-head"`` from 0, such as ``"8-21"``; all when empty.
        calibration: The query without content.

    Raises:
        InputError: A head is not written so or is there twice, or the calibration is empty.

    References:
        Chen, Gutierrez and Su, Attention in Large Language Models Yields Efficient Zero-Shot
        Re-Rankers (ICR), arXiv:2410.02642, 2024; Zhang et al., Query-Focused Retrieval Heads
        (QRHead), EMNLP 2025.

    Examples:
        >>> from rerank_plugins import Reranker
        >>> from rerank_plugins.testing import Oracle
        >>> by_length = Oracle(key=lambda query, passage: len(passage))
        >>> Reranker(AttentionScore(), by_length).rank("q", ["a", "abc", "ab"]).order
        (1, 2, 0)
    """

    prompt: str | ListwisePrompt = "icr.v1"
    heads: Sequence[str] = ()
    calibration: str = "N/A"

    def __post_init__(self) -> None:
        require(self.prompt, ListwisePrompt)
        known = isinstance(self.heads, list | tuple) and all(isinstance(h, str) for h in self.heads)
        if not known or not all(map(_HEAD.fullmatch, self.heads)):
            raise InputError(
                f"heads is {self.heads!r:.80}, expected layers and heads from 0",
                hint='Write each as "8-21": layer 8, head 21.',
            )
        pairs = (head.partition("-") for head in self.heads)
        if len({(int(layer), int(head)) for layer, _, head in pairs}) < len(self.heads):
            raise InputError(f"heads is {self.heads!r:.80}, and one is there twice")
        object.__setattr__(self, "heads", tuple(self.heads))
        if not fits(self.calibration, str) or not self.calibration.strip():
            raise InputError(f"calibration is {self.calibration!r:.80}, expected a text")

    def rank(self, query: str, passages: Sequence[str]) -> Plan[Ranking]:
        """Plan one call for two or more passages, none for fewer."""
        n = len(passages)
        if n < 2:
            return input_order(n)
        found = yield from self.attention(query, passages)
        values = found.answer.passages
        if len(values) != n or not all(map(math.isfinite, values)):
            raise ModelOutputError(
                f"the model's attention is {values!r:.80}, not {n} finite numbers",
                hint="Try dtype='float32'.",
            )
        mean, spread = fmean(values), pstdev(values)
        scores = [(value - mean) / spread if spread else 0.0 for value in values]
        return by_score(scores, "z-score", report=Report(truncated=found.cut))

    def attention(
        self, query: str, passages: Sequence[str], *, each_head: bool = False
    ) -> Plan[Fitted[PassageAttention]]:
        """Plan the call of `rank`, and return its answer.

        Args:
            query: The query.
            passages: The passages.
            each_head: Whether every head's own values are wanted too.
        """
        pairs = (head.partition("-") for head in self.heads)
        heads = tuple((int(layer), int(head)) for layer, _, head in pairs)

        def call(prompt: Prompt) -> Attend:
            return Attend(prompt, self.calibration, heads, each_head)

        template = require(self.prompt, ListwisePrompt)
        return (yield from ask_window(template, query, passages, call))
