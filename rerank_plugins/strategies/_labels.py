"""Identifiers as the next token of an answer, and their log-probabilities."""

import math
from collections.abc import Sequence

from ..calls import LabelLogprobs, NextToken, Plan
from ..errors import InputError, LogprobsError, ModelOutputError, UnsupportedCallError
from ..prompts import ListwisePrompt
from ..ranking import Report
from ._fit import ask_window

LOWEST_LOGPROB = -1e9
"""Stands for a probability of zero, so that every score is a finite number."""

ONE_TOKEN = {"letters": 26, "numbers": 9, "tokens": None}
"""The number of identifiers of each alphabet that are one token; None depends on the model."""


def check_identifiers(template: ListwisePrompt, n: int) -> None:
    """Refuse more passages than the prompt has identifiers of one token.

    Raises:
        InputError: There are more.
    """
    most = ONE_TOKEN[template.alphabet]
    if most is not None and n > most:
        raise InputError(
            f"{n} passages are more than the prompt's {most} identifiers of one token",
            hint=f"Use SlidingWindow(inner=..., size={min(20, most)}, ...), or the prompt "
            "'full-list-tokens.v1'.",
        )


def label_scores(answer: LabelLogprobs, names: Sequence[str]) -> list[float]:
    """Log-probabilities of labels, with the floor for those that were not reported.

    Raises:
        ModelOutputError: A value is not a number.
        LogprobsError: No label was reported.
    """
    logprobs = [answer.seen.get(name, answer.floor) for name in names]
    if any(map(math.isnan, logprobs)):
        raise ModelOutputError(
            "the model's log-probabilities are not numbers", hint="Try dtype='float32'."
        )
    if unseen_labels(answer, names) == len(names):
        raise LogprobsError(
            "the backend reported none of the labels",
            hint="Use a backend that answers by token id, policy='generate', or Permutation.",
        )
    return [max(value, LOWEST_LOGPROB) for value in logprobs]


def raw_logit(answer: LabelLogprobs, name: str) -> float:
    """The raw logit of a label, which a log-probability alone does not tell.

    Raises:
        UnsupportedCallError: The backend does not know it.
        ModelOutputError, LogprobsError: See `label_scores`.
    """
    [logprob] = label_scores(answer, [name])
    if answer.normaliser is None:
        raise UnsupportedCallError(
            "the score is the raw logit of one token, and the backend reports log-probabilities "
            "alone",
            hint="Use TransformersBackend: the table in docs/engines.md says who knows logits.",
        )
    return logprob + answer.normaliser


def unseen_labels(answer: LabelLogprobs, names: Sequence[str]) -> int:
    """The number of labels whose log-probability the backend did not report."""
    return sum(name not in answer.seen for name in names)


def ask_labels(
    template: ListwisePrompt, query: str, passages: Sequence[str]
) -> Plan[tuple[list[float], Report]]:
    """Ask which identifier comes next: a log-probability for each passage, and the report."""
    names = template.names(len(passages))
    found = yield from ask_window(template, query, passages, lambda p: NextToken(p, names))
    scores = label_scores(found.answer, names)
    unseen = unseen_labels(found.answer, names)
    return scores, Report(unseen_labels=unseen, truncated=found.cut)
