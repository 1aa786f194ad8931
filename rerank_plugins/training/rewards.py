"""The papers' rewards for reinforcement learning, as TRL's ``GRPOTrainer`` takes them.

``reward(completions, **columns)`` gets what the model wrote, as strings or as lists of chat
messages, and the columns of the data set, one entry for each completion; the trainer repeats rows
for every rollout and adds other columns, which are ignored (read in TRL 1.16). To change a
constant, give the trainer ``functools.partial(reward, malformed=-2.0)``.

The metrics are computed here and not by ``ir_measures``: rewards are of one completion at a time,
thousands an hour, without a run file, and must not need the evaluation extra. Gains are linear, as
in trec_eval.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from .._content import content_text
from ..errors import InputError
from ..parsing import parse_grade, parse_grades, parse_permutation

Completion: TypeAlias = str | Sequence[Mapping[str, Any]]
"""The output of a model: a text, or messages of which the last one counts."""

_CUT = 10


def grouprank_reward(
    completions: Sequence[Completion],
    *,
    labels: Sequence[Sequence[float]],
    relevant: float = 1.0,
    top_grade: int = 10,
    invalid: float = -0.1,
    untagged: float = -0.5,
    **_columns: object,
) -> list[float]:
    r"""GroupRank's reward of the grades that a model gives to a group.

    .. math:: R = \mathrm{NDCG@10} + 0.2 \, \mathrm{Recall@10} + 0.1 (1 - \mathrm{JS}(P, Q))

    where the answer is complete: ``<reason>``, ``<answer>``, and in it a JSON object that grades
    every passage once. Passages are ordered by their grades, ties by their place in the prompt.

    Args:
        completions: The model's outputs.
        labels: The gold score of each passage, in the order of the prompt, not negative.
        relevant: The lowest label of passages that count for the recall.
        top_grade: The highest grade of the prompt's scale.
        invalid: The reward of an answer with the right tags and other JSON.
        untagged: The reward of any other answer.

    Returns:
        A reward for each completion, at most 1.3.

    Raises:
        InputError: The columns are not as long as the completions, or a label is negative.

    References:
        GroupRank, arXiv:2511.11653v3: the weights and both penalties. Unverified: how scores become
        the distributions ``P`` (predicted) and ``Q`` (gold), here divided by their sum and uniform
        where that is 0; the logarithm of the Jensen-Shannon divergence, here of base 2, so that it
        is at most 1; whose labels make a passage relevant; and how ties are ordered.

    Examples:
        >>> good = '<reason>...</reason><answer>{"[1]": 0, "[2]": 10}</answer>'
        >>> chat = [{"role": "assistant", "content": "<reason>...</reason><answer>2</answer>"}]
        >>> rewards = grouprank_reward([good, chat, "[2]"], labels=[[0, 5]] * 3)
        >>> [round(reward, 4) for reward in rewards]
        [1.3, -0.1, -0.5]
    """
    rewards = []
    for completion, gold in _rows(completions, labels=labels):
        if any(label < 0 for label in gold):
            raise InputError(f"a label is negative: {list(gold)}")
        answer = answer_of(text_of(completion), "reason")
        if answer is None:
            rewards.append(untagged)
            continue
        grades = _every_grade(answer, len(gold), top_grade)
        if grades is None:
            rewards.append(invalid)
            continue
        order = sorted(range(len(gold)), key=lambda i: -grades[i])
        ranked = [gold[i] for i in order]
        alike = 1 - jensen_shannon(_distribution(grades), _distribution(gold))
        found = recall([float(label >= relevant) for label in ranked])
        rewards.append(ndcg(ranked) + 0.2 * found + 0.1 * alike)
    return rewards


def reasonrank_reward(
    completions: Sequence[Completion],
    *,
    labels: Sequence[Sequence[float]],
    order: Sequence[Sequence[int]],
    incomplete: float = 0.0,
    untagged: float = -1.0,
    **_columns: object,
) -> list[float]:
    r"""ReasonRank's multi-view reward of a ranking.

    .. math:: R = \mathrm{NDCG@10} + 0.2 \, \mathrm{Recall@10} + 0.1 \, \mathrm{RBO}

    where the answer has ``<think>`` and ``<answer>`` and names as many passages as the gold order,
    each once. NDCG and recall are of relevant or not; rank-biased overlap is with the gold order
    and ``p = 1``, which is the average overlap.

    Args:
        completions: The model's outputs, passages numbered from 1.
        labels: The label of each passage, in the order of the prompt; above 0 is relevant.
        order: The gold order: positions of passages from 0, the best first.
        incomplete: The reward of an answer with the right tags and other identifiers.
        untagged: The reward of any other answer.

    Returns:
        A reward for each completion, at most 1.3.

    Raises:
        InputError: The columns are not as long as the completions.

    References:
        Liu et al., ReasonRank, arXiv:2508.07050.

        Verified against the published code (``verl/utils/reward_score/ranking.py``). That code
        takes every digit of the answer for an identifier and counts them; one that no passage has
        is dropped, and ``[0]`` is the last passage. Here identifiers are read as in serving, and
        an answer with one that no passage has is incomplete.

    Examples:
        >>> good, short = "<think>.</think> <answer>[2] > [1]</answer>", "<answer>[2]</answer>"
        >>> columns = {"labels": [[0, 1]] * 3, "order": [[1, 0]] * 3}
        >>> reasonrank_reward([good, "<think></think>" + short, short], **columns)
        [1.3, 0.0, -1.0]
    """
    rewards = []
    for completion, relevance, gold in _rows(completions, labels=labels, order=order):
        answer = answer_of(text_of(completion), "think")
        if answer is None:
            rewards.append(untagged)
            continue
        read = parse_permutation(answer, len(relevance))
        if len(read.positions) != len(gold) or read.duplicates or read.out_of_range:
            rewards.append(incomplete)
            continue
        rest = read.missing(len(relevance))
        ranked = [float(relevance[i] > 0) for i in read.positions]
        missed = [float(relevance[i] > 0) for i in rest]
        rewards.append(
            ndcg(ranked, missed)
            + 0.2 * recall(ranked, missed)
            + 0.1 * average_overlap(read.positions, gold)
        )
    return rewards


def erank_reward(
    completions: Sequence[Completion],
    *,
    query_id: Sequence[object],
    label: Sequence[float],
    reference: Sequence[float],
    top_grade: int = 10,
    malformed: float = -1.0,
    misplaced: float = -1.0,
    **_columns: object,
) -> list[float]:
    r"""ERank's reward of a pointwise grade by its rank among all grades of its query.

    The grades of every passage and every rollout of a query are pooled and sorted; ties have the
    best rank of them, ``phi``. The reward is

    * ``malformed`` without ``<think>``, ``<answer>`` and a grade in it,
    * ``1 / phi`` for a relevant passage,
    * ``misplaced`` for another one that is not below all relevant ones of the pool,
    * ``1 - ((s - t) / top)^2`` for one that is, with the reference model's grade ``t``.

    Args:
        completions: The model's outputs about one passage each.
        query_id: The query of each completion. The pool is made within one call: all passages of a
            query have to be in one batch of one process.
        label: The label of the passage; above 0 is relevant.
        reference: The grade ``t`` that the model gave before this training.
        top_grade: The highest grade of the prompt's scale; the lowest is 0.
        malformed: The reward of an answer without a grade.
        misplaced: The reward of another passage that is not below all relevant ones.

    Returns:
        A reward for each completion, at most 1.

    Raises:
        InputError: The columns are not as long as the completions.

    References:
        Cai et al., ERank, arXiv:2509.00520: the pool, the ranks, ``1 / phi``, that both mistakes
        cost much, and that the last case is smooth in ``(s - t)^2``. Unverified: both penalties,
        the form of the smooth case, and the exact use of the relevant passages' ranks.

    Examples:
        >>> answers = [f"<think></think><answer>{grade}</answer>" for grade in (9, 7, 9, 4)]
        >>> query, labels, reference = ["q"] * 4, [1, 1, 0, 0], [5.0, 5.0, 5.0, 4.0]
        >>> rewards = erank_reward(answers, query_id=query, label=labels, reference=reference)
        >>> [round(reward, 2) for reward in rewards]
        [1.0, 0.33, -1.0, 1.0]
    """
    rows = list(_rows(completions, query_id=query_id, label=label, reference=reference))
    read = [parse_grade(answer_of(text_of(completion), "think") or "") for completion, *_ in rows]
    grades = [float(g[0]) if g is not None and g[0] <= top_grade else None for g in read]
    pools: dict[object, list[float]] = defaultdict(list)
    lowest: dict[object, float] = defaultdict(lambda: math.inf)  # of the relevant passages
    for (_, query, relevance, _), grade in zip(rows, grades, strict=True):
        if grade is not None:
            pools[query].append(grade)
            if relevance > 0:
                lowest[query] = min(lowest[query], grade)
    rewards = []
    for (_, query, relevance, before), grade in zip(rows, grades, strict=True):
        if grade is None:
            rewards.append(malformed)
        elif relevance > 0:
            rewards.append(1 / (1 + sum(other > grade for other in pools[query])))
        elif grade >= lowest[query]:
            rewards.append(misplaced)
        else:
            rewards.append(1 - ((grade - before) / top_grade) ** 2)
    return rewards


def text_of(completion: Completion) -> str:
    """The text of a completion; of messages, the last one's, also as a list of parts.

    Examples:
        >>> text_of([{"role": "assistant", "content": "[2] > [1]"}])
        '[2] > [1]'
    """
    if isinstance(completion, str):
        return completion
    return (content_text(completion[-1]["content"]) or "") if completion else ""


def answer_of(text: str, reason: str) -> str | None:
    """The text in ``<answer>`` right after a closed reasoning; None without all four tags.

    Examples:
        >>> answer_of("<think>why</think> <answer>[1]</answer>", "think")
        '[1]'
    """
    start = text.find(f"<{reason}>")
    opened = re.compile(rf"</{reason}>\s*<answer>").search(text, start) if start >= 0 else None
    if opened is None:
        return None
    answer, closed, _ = text[opened.end() :].partition("</answer>")
    return answer if closed else None


def ndcg(ranked: Sequence[float], missed: Sequence[float] = ()) -> float:
    """nDCG@10 with linear gains; 0 where nothing has a gain.

    Args:
        ranked: Gains, in the order of the ranking.
        missed: Gains of the passages that the ranking leaves out.

    Examples:
        >>> ndcg([0.0, 1.0]) == 1 / math.log2(3)
        True
    """
    best = _dcg(sorted((*ranked, *missed), reverse=True))
    return _dcg(ranked) / best if best > 0 else 0.0


def _dcg(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains[:_CUT]))


def recall(ranked: Sequence[float], missed: Sequence[float] = ()) -> float:
    """Recall@10 of gains that are 0 or 1; 0 where nothing is relevant."""
    every = sum(ranked) + sum(missed)
    return sum(ranked[:_CUT]) / every if every else 0.0


def average_overlap(one: Sequence[int], other: Sequence[int]) -> float:
    """The mean over depths of the share that two rankings have in common up to there.

    It is rank-biased overlap with ``p = 1`` down to the depth of the shorter one.

    Examples:
        >>> average_overlap([0, 1, 2], [1, 0, 2]) == (0 / 1 + 2 / 2 + 3 / 3) / 3
        True
    """
    depth = min(len(one), len(other))
    shares = [len({*one[:d]} & {*other[:d]}) / d for d in range(1, depth + 1)]
    return sum(shares) / depth if depth else 0.0


def jensen_shannon(p: Sequence[float], q: Sequence[float]) -> float:
    """The Jensen-Shannon divergence of two distributions, in bits: from 0 to 1.

    Examples:
        >>> jensen_shannon([1.0, 0.0], [0.0, 1.0]), jensen_shannon([0.5, 0.5], [0.5, 0.5])
        (1.0, 0.0)
    """
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return (_kl(p, middle) + _kl(q, middle)) / 2


def _kl(p: Sequence[float], q: Sequence[float]) -> float:
    return sum(a * math.log2(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def _distribution(values: Sequence[float]) -> list[float]:
    total = sum(values)
    return [value / total if total else 1 / len(values) for value in values]


def _every_grade(answer: str, n: int, top: int) -> list[float] | None:
    """The grade of each passage; None unless the answer is a JSON object with them and no more.

    The parser for serving repairs damaged JSON. A reward for such JSON would teach it.
    """
    try:
        written = json.loads(answer.strip().removeprefix("```json").removesuffix("```"))
    except (ValueError, RecursionError):
        return None
    read = parse_grades(answer, n, top, reasoning=False)
    if not isinstance(written, dict) or not len(written) == len(read.by_position) == n:
        return None
    return [float(read.by_position[i]) for i in range(n)] if not read.duplicates else None


def _rows(completions: Sequence[Completion], **columns: Sequence[Any]) -> Sequence[Any]:
    """Each completion with its entries of the columns.

    Raises:
        InputError: A column has another length.
    """
    for name, column in columns.items():
        if len(column) != len(completions):
            raise InputError(f"{name} has {len(column)} entries for {len(completions)} completions")
    return list(zip(completions, *columns.values(), strict=True))


__all__ = ["erank_reward", "grouprank_reward", "reasonrank_reward"]
