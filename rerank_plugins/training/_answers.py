"""What a model should write about a list: the target of a written answer, from the labels."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..calls import text_of
from ..errors import InputError
from ..prompts import ListwisePrompt, load_prompt, require
from ..ranking import Strategy
from ..registry import from_spec
from ..strategies import FullList, Groupwise, Permutation, SingleToken
from ..text import labels
from .data import TrainingList


def one_question(strategy: Strategy) -> Strategy:
    """The strategy that asks about one training list: groups do not overlap within it."""
    if isinstance(strategy, Groupwise):
        return replace(strategy, interval=strategy.size, repeats=1)
    return strategy


def built(strategy: Strategy | str | Mapping[str, Any]) -> Strategy:
    """The strategy of a name or a spec, with whole prompts in place of the user's files.

    What is trained must rank without those files.
    """
    if isinstance(strategy, str | Mapping):
        made: Strategy = from_spec("strategies", strategy)
        return built(made)
    changes: dict[str, Any] = {}
    prompt, inner = (getattr(strategy, name, None) for name in ("prompt", "inner"))
    if str(prompt).endswith(".toml"):
        changes["prompt"] = load_prompt(str(prompt))
    if inner is not None:
        changes["inner"] = built(inner)
    changed: Strategy = replace(strategy, **changes) if changes else strategy  # type: ignore[type-var]  # a dataclass
    return changed


def innermost(strategy: Strategy) -> Strategy:
    """The strategy that makes the prompt, inside of schedules and combinations."""
    inner = getattr(strategy, "inner", None)
    return strategy if inner is None else innermost(inner)


def written_order(strategy: Strategy, row: TrainingList) -> str:
    """The permutation that the labels give, as it continues the prompt: ``B] > [A]``.

    Passages with the same label stand in the order in which they are shown.

    Raises:
        InputError: The strategy's prompt asks for reasoning, which no label teaches.

    Examples:
        >>> from rerank_plugins.strategies import Permutation, SingleToken
        >>> row = TrainingList("flea", ("a dog", "a flea", "the flea's life"), (0, 1, 2))
        >>> written_order(SingleToken(), row), written_order(Permutation(), row)
        ('C] > [B] > [A]', '[3] > [2] > [1]')
    """
    template = _listwise(strategy)
    names = labels(template.alphabet, len(row))
    order = sorted(range(len(row)), key=lambda i: -row.labels[i])
    whole = " > ".join(f"[{names[i]}]" for i in order)
    begun = text_of(template.prefill)
    if not whole.startswith(begun):
        raise InputError(
            f"an answer that begins with {begun!r} cannot go on as a permutation",
            hint="Use a prompt whose prefill is '[' or nothing.",
        )
    return whole.removeprefix(begun)


def written_grades(strategy: Groupwise, row: TrainingList) -> str:
    """The grades that the labels give, as JSON in the order in which the group is shown.

    Raises:
        InputError: A label is no whole number on the strategy's scale.

    Examples:
        >>> written_grades(Groupwise(seed=1), TrainingList("flea", ("a dog", "a flea"), (0, 9)))
        '<answer>{"[1]": 9, "[2]": 0}</answer>'
    """
    for label in row.labels:
        if label != int(label) or not 0 <= label <= strategy.top_grade:
            raise InputError(
                f"the label {label:g} is no grade from 0 to {strategy.top_grade}",
                hint="Give whole numbers on the scale that the prompt asks for.",
            )
    shown = one_question_order(strategy, len(row))
    grades = {f"[{place}]": int(row.labels[i]) for place, i in enumerate(shown, start=1)}
    return f"<answer>{json.dumps(grades)}</answer>"


def one_question_order(strategy: Strategy, n: int) -> Sequence[int]:
    """Positions of a list in the order in which the prompt shows them."""
    if isinstance(strategy, Groupwise):
        return strategy.groups(n)[0]
    return range(n)


def _listwise(strategy: Strategy) -> ListwisePrompt:
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
    return template
