"""From training lists to token ids, by the code that renders prompts when serving."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..backends._prompts.renderer import Renderer
from ..calls import Call, Generate, Likelihood, NextToken, Prompt, ScorePair, Untrusted
from ..errors import InputError, PromptTooLongError
from ..ranking import Strategy
from ..strategies import Groupwise
from ._answers import innermost, one_question, one_question_order, written_grades, written_order
from ._questions import questions
from .data import TrainingList


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence that the model reads.

    Attributes:
        ids: Tokens of the prompt and, at their end, of the target.
        target: How many of them are the target: what the model should have written.
        labels: The tokens that may come next after the prompt, where their logits are scores.
        ranks: For each token of the target the 1-based place of the passage that it names, 0 for a
            separator.
        token_types: Segment of each token, where the model tells query and passage apart so.
    """

    ids: tuple[int, ...]
    target: int = 0
    labels: tuple[int, ...] = ()
    ranks: tuple[int, ...] = ()
    token_types: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class EncodedList:
    """A training list as the model reads it: one row about all passages, or one about each.

    Attributes:
        rows: The sequences.
        relevance: The label of each passage.
        teacher: The teacher's score of each; the labels where there is no teacher.
    """

    rows: tuple[Row, ...]
    relevance: tuple[float, ...]
    teacher: tuple[float, ...]


@dataclass(frozen=True)
class PromptEncoder:
    """Encodes what a strategy asks a causal language model.

    Args:
        strategy: What is trained.
        renderer: Of the model's tokenizer.
        context_tokens: Prompt and target together at most.
        write: Whether answers are trained as text too (the language-model half of FIRST).
    """

    strategy: Strategy
    renderer: Renderer
    context_tokens: int
    write: bool = True

    def __call__(self, row: TrainingList) -> EncodedList:
        """Encode one list.

        Raises:
            InputError: The strategy does not ask about this list in one round.
            LabelError: The identifiers are not distinct single tokens of this model.
            PromptTooLongError: It does not fit with one word of each passage either.
        """
        asked = questions(one_question(self.strategy), row, partial(self._too_long, row))
        rows = tuple(self._encoded(call, row) for call in asked)
        return EncodedList(rows, row.labels, row.teacher or row.labels)

    def _too_long(self, row: TrainingList, call: Call[Any]) -> PromptTooLongError | None:
        excess = len(self._encoded(call, row).ids) - self.context_tokens
        return PromptTooLongError(excess, limit=self.context_tokens) if excess > 0 else None

    def _encoded(self, call: Call[Any], row: TrainingList) -> Row:
        match call:
            case NextToken() if len(call.labels) == len(row) and self.write:
                return self._ordered(call, row)
            case NextToken():
                encoded = self.renderer.encode(call.prompt)
                return Row(tuple(encoded.ids), labels=self._label_ids(call, encoded.text))
            case Likelihood():
                whole, new = self.renderer.split(call.prompt, call.continuation)
                return Row(tuple(whole.ids), target=new)
            case Generate():
                return self._answered(call.prompt, row)
        raise InputError(f"{type(call).__name__} is not a question to a language model")

    def _label_ids(self, call: NextToken, text: str) -> tuple[int, ...]:
        return tuple(self.renderer.labels(call.prompt, call.labels, text).values())

    def _ordered(self, call: NextToken, row: TrainingList) -> Row:
        """FIRST: the identifiers' logits, and the whole order as text after them."""
        text = self.renderer.encode(call.prompt).text
        written = self._written(call.prompt, written_order(self.strategy, row))
        return Row(written.ids, written.target, self._label_ids(call, text), written.ranks)

    def _answered(self, prompt: Prompt, row: TrainingList) -> Row:
        strategy = innermost(self.strategy)
        if isinstance(strategy, Groupwise):
            return self._written(prompt, written_grades(strategy, row))
        return self._written(prompt, written_order(strategy, row))

    def _written(self, prompt: Prompt, answer: str) -> Row:
        """The prompt, the answer, and the token that ends it."""
        whole, new = self.renderer.split(prompt, Untrusted(answer))
        tokenizer = self.renderer.tokenizer
        end = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
        ids = [*whole.ids, *end]
        ranks = _ranks([str(tokenizer.decode([i])) for i in whole.ids[len(whole.ids) - new :]])
        return Row(tuple(ids), new + len(end), ranks=(*ranks, *(0 for _ in end)))


@dataclass(frozen=True)
class PairEncoder:
    """Encodes query and passage as a pair for a classifier.

    Args:
        strategy: What is trained: it says how a title and a passage are put together.
        renderer: Of the model's tokenizer: control tokens in texts are escaped with it.
        context_tokens: Both texts together at most; longer pairs are cut as when serving.
    """

    strategy: Strategy
    renderer: Renderer
    context_tokens: int

    def __call__(self, row: TrainingList) -> EncodedList:
        """Encode one list.

        Raises:
            InputError: The strategy asks no pairs.
        """
        asked = questions(self.strategy, row)
        rows = tuple(self.pair(call) for call in asked)
        return EncodedList(rows, row.labels, row.teacher or row.labels)

    def pair(self, call: Call[Any]) -> Row:
        """One pair."""
        if not isinstance(call, ScorePair):
            raise InputError(f"{type(call).__name__} is not a question to a classifier")
        texts = [self.renderer.escape(str(text)) for text in (call.query, call.passage)]
        tokenizer: Any = self.renderer.tokenizer
        found = tokenizer(*texts, truncation=True, max_length=self.context_tokens)
        types = tuple(found.get("token_type_ids", ()))
        return Row(tuple(found["input_ids"]), token_types=types)


def shown(strategy: Strategy, row: TrainingList) -> Sequence[int]:
    """Positions of the passages in the order in which the prompt shows them."""
    return one_question_order(innermost(strategy), len(row))


def _ranks(tokens: Sequence[str]) -> list[int]:
    """The place in the order that each token of ``[2] > [1]`` belongs to; 0 for separators."""
    place, found = 1, []
    for token in tokens:
        separates = ">" in token
        found.append(0 if separates else place)
        place += separates
    return found
