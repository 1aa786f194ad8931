"""Encoders: texts become vectors, one a token or one a part of the text.

`TokenEncoder` is what late interaction needs. An engine that runs plain encoders (BERT and its
relatives) gives `HiddenStates`, and `PlainEncoder` makes a `TokenEncoder` of it: the recipe is
written once, whatever runs the model.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

from ..._checks import at_least, one_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float32]

Role = Literal["query", "passage"]
Pooling = Literal["mean", "first"]


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A text as an encoder sees it.

    Args:
        vectors: Shape ``(n, dim)``, float32, each row of length 1. One row a token that counts, or
            one a part of the text where vectors are pooled; at least one row.
        tokens: Tokens that the model read for it, with special tokens.
        truncated: Whether the end of the text was not read.
    """

    vectors: "Floats"
    tokens: int
    truncated: bool = False


class TokenEncoder(Protocol):
    """Gives the vectors of queries and passages."""

    @property
    def key(self) -> str:
        """A digest of the weights and the recipe: other vectors, another key."""

    @property
    def dim(self) -> int:
        """The length of a vector."""

    def encode(self, texts: Sequence[str], role: Role) -> list[Encoded]:
        """The vectors of texts, in their order. No control token comes from a text.

        The caller gives as many texts as may run together, and asks between two calls whether it
        was cancelled. Vectors of a text do not depend on the others, but for rounding.
        """


class HiddenStates(Protocol):
    """A plain encoder in some engine: token ids in, the last hidden state of each token out."""

    @property
    def key(self) -> str:
        """A digest of the weights, the tokenizer and the arithmetic."""

    @property
    def dim(self) -> int:
        """The length of a hidden state."""

    @property
    def around(self) -> "tuple[Sequence[int], Sequence[int]]":
        """The special tokens before and after a text, such as those of ``[CLS]`` and ``[SEP]``."""

    def ids(self, text: str) -> Sequence[int]:
        """The tokens of a text without special ones; none of them is a control token."""

    def states(self, sequences: Sequence[Sequence[int]]) -> "Sequence[Floats]":
        """The last hidden states, shape ``(len(sequence), dim)`` for each sequence, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The way in which a plain encoder reads texts.

    Args:
        part_tokens: Tokens of a part, with special ones: what the encoder was trained to read.
            Longer texts are read in parts of equal length.
        max_tokens: Tokens of a text that are read, without special ones.
        pooling: None for one vector a token; else one a part: the ``"mean"`` of its tokens, special
            ones too, or the ``"first"``.
        query_prefix: What the encoder was trained to read before a query.
        passage_prefix: What it was trained to read before a passage.
    """

    part_tokens: int = 256
    max_tokens: int = 512
    pooling: Pooling | None = None
    query_prefix: str = ""
    passage_prefix: str = ""

    def __post_init__(self) -> None:
        at_least(8, part_tokens=self.part_tokens)
        at_least(1, max_tokens=self.max_tokens)
        if self.pooling is not None:
            one_of("pooling", self.pooling, get_args(Pooling))


class PlainEncoder:
    """A `TokenEncoder` of a plain encoder.

    Without pooling, all tokens of a query count, special ones too, and of a passage all but the
    special ones: of the nine ways to count them, this ranked best by a hair.

    Args:
        hidden: The encoder.
        recipe: How it reads texts.
    """

    def __init__(self, hidden: HiddenStates, recipe: Recipe) -> None:
        self._hidden, self._recipe = hidden, recipe

    @cached_property
    def key(self) -> str:
        """See `TokenEncoder`."""
        stated = f"plain-1 {self._hidden.key} {astuple(self._recipe)!r}"
        return hashlib.sha256(stated.encode()).hexdigest()

    @property
    def dim(self) -> int:
        """See `TokenEncoder`."""
        return self._hidden.dim

    def encode(self, texts: Sequence[str], role: Role) -> list[Encoded]:
        """See `TokenEncoder`."""
        parts = [self.sequences(text, role) for text in texts]
        states = iter(self._hidden.states([part for own, _ in parts for part in own]))
        encoded = []
        for own, cut in parts:
            rows = [self._rows(next(states), role) for _ in own]
            encoded.append(Encoded(unit(rows), sum(map(len, own)), cut))
        return encoded

    def sequences(self, text: str, role: Role) -> tuple[list[Sequence[int]], bool]:
        """The tokens of each part of a text with special ones, and whether its end is not read."""
        recipe = self._recipe
        prefix = recipe.query_prefix if role == "query" else recipe.passage_prefix
        ids = self._hidden.ids(prefix + text)
        before, after = self._hidden.around
        size = max(1, recipe.part_tokens - len(before) - len(after))
        parts = in_parts(ids[: recipe.max_tokens], size)
        return [[*before, *part, *after] for part in parts], len(ids) > recipe.max_tokens

    def counted(self, length: int, role: Role) -> slice:
        """The tokens that count, of a part of so many."""
        before, after = map(len, self._hidden.around)
        special = role == "passage" and length > before + after
        return slice(before, length - after) if special else slice(0, length)

    def _rows(self, states: "Floats", role: Role) -> "Floats":
        """The rows of a part that count, before they get the length 1."""
        match self._recipe.pooling:
            case "mean":
                pooled: Floats = states.mean(axis=0, keepdims=True)
                return pooled
            case "first":
                return states[:1]
        return states[self.counted(len(states), role)]


def in_parts(ids: Sequence[int], size: int) -> list[Sequence[int]]:
    """Cut tokens into as few parts as possible, of equal length but for one token.

    Examples:
        >>> in_parts([1, 2, 3, 4, 5], size=3), in_parts([], size=3)
        ([[1, 2, 3], [4, 5]], [[]])
    """
    n = max(1, ceil(len(ids) / size))
    ends = [ceil(len(ids) * i / n) for i in range(n + 1)]
    return [ids[a:b] for a, b in pairwise(ends)]


def unit(rows: "Sequence[Floats]") -> "Floats":
    """Join rows, and give each the length 1; a row of zeros stays."""
    import numpy as np

    table = np.concatenate([np.asarray(r, dtype=np.float32) for r in rows])
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    return np.ascontiguousarray(table / np.where(lengths > 0, lengths, 1), dtype=np.float32)
