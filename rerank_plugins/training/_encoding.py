"""From training lists to token ids, by the code that renders prompts when serving."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..backends._late.encoding import PlainEncoder, Role
from ..backends._prompts.renderer import Renderer
from ..calls import Call, Generate, Likelihood, NextToken, Prompt, ScorePair, Untrusted, text_of
from ..errors import InputError, PromptTooLongError
from ..prompts import ListwisePrompt, require
from ..ranking import Strategy
from ..strategies import FullList, Groupwise, Permutation, SingleToken
from ._questions import innermost, questions
from .data import TrainingList, permutation_text


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence that the model reads.

    Attributes:
        ids: Tokens of the prompt and, at their end, of the target.
        target: The number of tokens of the target: what the model should have written.
        labels: The tokens that may come next after the prompt, where their logits are scores.
        ranks: For each token of the target the 1-based place of the passage that it names, 0 for a
            separator.
        token_types: Segment of each token, for models that tell query and passage apart by it.
        counted: Where the tokens whose vectors count begin and end, for late interaction.
    """

    ids: tuple[int, ...]
    target: int = 0
    labels: tuple[int, ...] = ()
    ranks: tuple[int, ...] = ()
    token_types: tuple[int, ...] = ()
    counted: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class EncodedList:
    """A training list as the model reads it: one row about all passages, or one about each.

    Attributes:
        rows: The sequences. For late interaction the query's, then each passage's.
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
        strategy: The strategy to train for.
        renderer: Renders with the model's tokenizer.
        context_tokens: The most tokens of prompt and target together.
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
            PromptTooLongError: The list does not fit, even with one word of each passage.
        """

        def fits(call: Call[Any]) -> PromptTooLongError | None:
            excess = len(self._encoded(call, row).ids) - self.context_tokens
            return PromptTooLongError(excess, limit=self.context_tokens) if excess > 0 else None

        asked = questions(self.strategy, row, fits)
        rows = tuple(self._encoded(call, row) for call in asked)
        return EncodedList(rows, row.labels, row.teacher or row.labels)

    def _encoded(self, call: Call[Any], row: TrainingList) -> Row:
        match call:
            case NextToken():
                encoded = self.renderer.encode(call.prompt)
                found = self.renderer.labels(call.prompt, call.labels, encoded.text)
                labels = tuple(found.values())
                if not self.write or len(call.labels) != len(row):
                    return Row(tuple(encoded.ids), labels=labels)
                # FIRST: the identifiers' logits, and the whole order as text after them
                written = self._written(call.prompt, written_order(self.strategy, row))
                return replace(written, labels=labels)
            case Likelihood():
                whole, new = self.renderer.split(call.prompt, call.continuation)
                return Row(tuple(whole.ids), target=new)
            case Generate():
                inner = innermost(self.strategy)
                if isinstance(inner, Groupwise):
                    return self._written(call.prompt, written_grades(inner, row))
                return self._written(call.prompt, written_order(inner, row))
        raise InputError(f"{type(call).__name__} is not a question to a language model")

    def _written(self, prompt: Prompt, answer: str) -> Row:
        """The prompt, the answer, and the token that ends it."""
        whole, new = self.renderer.split(prompt, Untrusted(answer))
        tokenizer = self.renderer.tokenizer
        place, ranks = 1, []
        for token in whole.ids[len(whole.ids) - new :]:
            separates = ">" in str(tokenizer.decode([token]))
            ranks.append(0 if separates else place)
            place += separates
        end = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
        ids, ended = (*whole.ids, *end), (*ranks, *(0 for _ in end))
        return Row(ids, new + len(end), ranks=ended)


@dataclass(frozen=True)
class PairEncoder:
    """Encodes query and passage as a pair for a classifier.

    Args:
        strategy: The strategy to train for: it says how a title and a passage are joined.
        renderer: Escapes control tokens of the model's tokenizer in texts.
        context_tokens: The most tokens of both texts; longer pairs are cut as when serving.
    """

    strategy: Strategy
    renderer: Renderer
    context_tokens: int

    def __call__(self, row: TrainingList) -> EncodedList:
        """Encode one list.

        Raises:
            InputError: The strategy asks for no pairs.
        """
        rows = tuple(self.pair(call) for call in questions(self.strategy, row))
        return EncodedList(rows, row.labels, row.teacher or row.labels)

    def pair(self, call: Call[Any]) -> Row:
        """Encode one pair."""
        if not isinstance(call, ScorePair):
            raise InputError(f"{type(call).__name__} is not a question to a classifier")
        texts = [self.renderer.escape(str(text)) for text in (call.query, call.passage)]
        tokenizer: Any = self.renderer.tokenizer
        found = tokenizer(*texts, truncation=True, max_length=self.context_tokens)
        types = tuple(found.get("token_type_ids", ()))
        return Row(tuple(found["input_ids"]), token_types=types)


@dataclass(frozen=True)
class TokenVectorEncoder:
    """Encodes query and passages each alone, for late interaction.

    Args:
        strategy: The strategy to train for: it says how a title and a passage are joined.
        encoder: Reads texts as when serving, but in one part: what follows it is cut.
        context_tokens: The most tokens of a text, special ones counted.
    """

    strategy: Strategy
    encoder: PlainEncoder
    context_tokens: int

    def __call__(self, row: TrainingList) -> EncodedList:
        """Encode one list.

        Raises:
            InputError: The strategy asks for no pairs.
        """
        calls = [call for call in questions(self.strategy, row) if isinstance(call, ScorePair)]
        if not calls:
            raise InputError("late interaction is trained for pairs", hint="Train PairScore.")
        passages = (self._row(call.passage, "passage") for call in calls)
        rows = (self._row(calls[0].query, "query"), *passages)
        return EncodedList(rows, row.labels, row.teacher or row.labels)

    def _row(self, text: str, role: Role) -> Row:
        [ids], _ = self.encoder.sequences(text, role)
        counted = self.encoder.counted(len(ids), role)
        return Row(tuple(ids), counted=(counted.start, counted.stop))


def written_order(strategy: Strategy, row: TrainingList) -> str:
    """The permutation that the labels give, as it continues the prompt: ``B] > [A]``.

    Passages with the same label stand in the order in which they are shown.

    Raises:
        InputError: The strategy's prompt asks for reasoning, which no label teaches, or its answer
            is not a permutation.

    Examples:
        >>> from rerank_plugins.strategies import Permutation, SingleToken
        >>> row = TrainingList("flea", ("a dog", "a flea", "the flea's life"), (0, 1, 2))
        >>> written_order(SingleToken(), row), written_order(Permutation(), row)
        ('C] > [B] > [A]', '[3] > [2] > [1]')
    """
    inner = innermost(strategy)
    if not isinstance(inner, FullList | Permutation | SingleToken):
        raise InputError(
            f"{type(inner).__name__} writes no permutation, so labels do not train it as text",
            hint="Use SingleToken, Permutation, FullList, Groupwise, Pointwise, QueryLikelihood or "
            "PairScore; or a ranking loss alone (lm_weight=0) for one that chooses labels.",
        )
    template = require(inner.prompt or "", ListwisePrompt)
    if template.reasoning:
        raise InputError(
            "this prompt asks for reasoning, and labels do not say what to think",
            hint="Train it with rewards (rerank_plugins.training.rewards).",
        )
    whole, prefill = permutation_text(row, template.alphabet), text_of(template.prefill)
    if not whole.startswith(prefill):
        raise InputError(
            f"an answer that starts with {prefill!r} cannot continue as a permutation",
            hint="Use a prompt whose prefill is '[' or nothing.",
        )
    return whole.removeprefix(prefill)


def written_grades(strategy: Groupwise, row: TrainingList) -> str:
    """The grades that the labels give, as JSON in the order in which the group is shown.

    Raises:
        InputError: A label is not a whole number on the strategy's scale.

    Examples:
        >>> written_grades(Groupwise(seed=1), TrainingList("flea", ("a dog", "a flea"), (0, 9)))
        '<answer>{"[1]": 9, "[2]": 0}</answer>'
    """
    for label in row.labels:
        if label != int(label) or not 0 <= label <= strategy.top_grade:
            raise InputError(
                f"the label {label:g} is not a grade from 0 to {strategy.top_grade}",
                hint="Give whole numbers on the scale that the prompt asks for.",
            )
    shown = enumerate(shown_order(strategy, len(row)), start=1)
    grades = {f"[{place}]": int(row.labels[i]) for place, i in shown}
    return f"<answer>{json.dumps(grades)}</answer>"


def shown_order(strategy: Strategy, n: int) -> Sequence[int]:
    """Positions of the passages of a list in the order in which the prompt shows them."""
    inner = innermost(strategy)
    return inner.groups(n)[0] if isinstance(inner, Groupwise) else range(n)
