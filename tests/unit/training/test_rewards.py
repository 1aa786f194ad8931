"""Rewards against their formulas, and answers as models really write them."""

import itertools
import math
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_plugins.errors import InputError
from rerank_plugins.training.rewards import (
    answer_of,
    average_overlap,
    erank_reward,
    grouprank_reward,
    jensen_shannon,
    ndcg,
    reasonrank_reward,
    recall,
    text_of,
)


def group(answer, reason="why"):
    return f"<reason>{reason}</reason>\n<answer>{answer}</answer>"


def thought(answer):
    return f"<think>why</think> <answer>{answer}</answer>"


def grades(*values):
    return "{" + ", ".join(f'"[{i}]": {value}' for i, value in enumerate(values, 1)) + "}"


def permutation(order):
    return " > ".join(f"[{i + 1}]" for i in order)


def dcg(gains):
    return sum(gain / math.log2(place + 1) for place, gain in enumerate(gains[:10], 1))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_ndcg_is_one_for_the_best_of_all_orders_and_for_no_other(gains):
    best = max(dcg(order) for order in itertools.permutations(gains))
    assert ndcg(gains) == pytest.approx(dcg(gains) / best if best else 0)


def test_metrics_look_at_ten_places_and_know_what_is_missing():
    ranked = [0.0] * 10 + [1.0]
    assert ndcg(ranked) == recall(ranked) == 0
    assert recall([1.0] * 12) == 10 / 12
    assert recall([1.0, 0.0], missed=[1.0]) == 1 / 2
    assert ndcg([0.0, 1.0], missed=[1.0]) == (1 / math.log2(3)) / (1 + 1 / math.log2(3))
    assert ndcg([]) == recall([]) == 0


@given(st.permutations(range(5)), st.permutations(range(5)))
def test_average_overlap_is_the_mean_of_shares(one, other):
    shares = [sum(item in other[:d] for item in one[:d]) / d for d in range(1, 6)]
    assert average_overlap(one, other) == pytest.approx(sum(shares) / 5)
    assert average_overlap(one, one) == 1


def test_average_overlap_ends_with_the_shorter_ranking():
    assert average_overlap([0, 1, 2], [1]) == 0
    assert average_overlap([], [1]) == 0


weights = st.lists(st.integers(0, 10), min_size=4, max_size=4).filter(any)


@given(weights, weights)
def test_jensen_shannon_is_the_entropy_of_the_mean_less_the_mean_entropy(one, other):
    def entropy(values):
        return -sum(v * math.log2(v) for v in values if v)

    p, q = [v / sum(one) for v in one], [v / sum(other) for v in other]
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    expected = entropy(middle) - (entropy(p) + entropy(q)) / 2
    assert jensen_shannon(p, q) == pytest.approx(expected, abs=1e-12)
    assert jensen_shannon(p, q) == pytest.approx(jensen_shannon(q, p), abs=1e-12)


def test_a_completion_is_a_text_or_messages():
    messages = [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert [text_of("a"), text_of(messages), text_of([])] == ["a", "b", ""]
    assert text_of([{"role": "assistant", "content": None}]) == ""
    assert text_of([{"role": "assistant", "content": [{"type": "text", "text": "a"}]}]) == "a"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>a</think><answer>b</answer>", "b"),
        ("so: <think>a</think>\n\n<answer>b</answer> done", "b"),
        ("<think>a</think> b </think> <answer>c</answer>", "c"),
        ("<think></think><answer></answer>", ""),
        ("<think>a</think> then <answer>b</answer>", None),
        ("<think>a<answer>b</answer>", None),
        ("</think><answer>b</answer><think>", None),
        ("<think>a</think><answer>b", None),
        ("<answer>b</answer>", None),
        ("<reason>a</reason><answer>b</answer>", None),
        ("", None),
    ],
)
def test_all_four_tags_are_needed(text, answer):
    assert answer_of(text, "think") == answer


EVERY = {
    grouprank_reward: {"labels": [[1, 0]]},
    reasonrank_reward: {"labels": [[1, 0]], "order": [[0, 1]]},
    erank_reward: {"query_id": ["q"], "label": [1], "reference": [5.0]},
}


@pytest.mark.parametrize("reward", EVERY)
def test_the_trainer_s_call(reward):
    """As ``GRPOTrainer`` calls it, with columns of its own and a constant of the user's."""
    answers = ["nothing", [{"role": "assistant", "content": "nothing"}]]
    penalty = "malformed" if reward is erank_reward else "untagged"
    found = partial(reward, **{penalty: -7.0})(
        prompts=["p"] * 2,
        completions=answers,
        completion_ids=[[1], [2]],
        **{name: column * 2 for name, column in EVERY[reward].items()},
        another_column=["x", "y"],
        trainer_state=object(),
        log_extra=print,
        log_metric=print,
    )
    assert found == [-7.0, -7.0]
    assert reward([], **{name: [] for name in EVERY[reward]}) == []


@pytest.mark.parametrize("reward", EVERY)
def test_columns_are_as_long_as_completions(reward):
    for name, column in EVERY[reward].items():
        with pytest.raises(InputError, match=f"{name} has 2 entries for 1 completions"):
            reward(["x"], **{**EVERY[reward], name: column * 2})


pieces = st.sampled_from(
    [
        *("<think>", "</think>", "<reason>", "</reason>", "<answer>", "</answer>", " ", "7", "}"),
        *("[1]", "[2]", " > ", '{"[1]": 3, "[2]": 4}', '{"[1]": 3', "```json"),
    ]
)


texts = st.one_of(st.text(max_size=40), st.lists(pieces, max_size=9).map("".join))


@pytest.mark.parametrize("reward", EVERY)
@given(text=texts)
def test_whatever_the_model_writes_the_reward_is_a_number_in_its_range(reward, text):
    [found] = reward([text], **EVERY[reward])
    assert isinstance(found, float)
    assert -1 <= found <= 1.3 + 1e-9


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 5)), min_size=1, max_size=14))
def test_grouprank_is_its_formula(pairs):
    predicted, gold = zip(*pairs, strict=True)
    order = sorted(range(len(gold)), key=lambda i: (-predicted[i], i))
    ideal = dcg(sorted(gold, reverse=True))
    relevant = [i for i in order if gold[i] >= 1]
    found = [i for i in order[:10] if gold[i] >= 1]
    p = [v / sum(predicted) if any(predicted) else 1 / len(gold) for v in predicted]
    q = [v / sum(gold) if any(gold) else 1 / len(gold) for v in gold]
    expected = (
        (dcg([gold[i] for i in order]) / ideal if ideal else 0)
        + 0.2 * (len(found) / len(relevant) if relevant else 0)
        + 0.1 * (1 - jensen_shannon(p, q))
    )
    [reward] = grouprank_reward([group(grades(*predicted))], labels=[gold])
    assert reward == pytest.approx(expected)


def test_the_best_grades_have_the_highest_reward():
    labels = [0, 2, 4]
    every = [group(grades(*values)) for values in itertools.product(range(0, 5, 2), repeat=3)]
    rewards = grouprank_reward(every, labels=[labels] * len(every))
    assert max(rewards) == pytest.approx(1.3)
    assert rewards.index(max(rewards)) == every.index(group(grades(0, 2, 4)))


def test_ties_of_grades_are_in_the_order_of_the_prompt():
    worse, better = grouprank_reward([group(grades(5, 5))] * 2, labels=[[0, 3], [3, 0]])
    assert better - worse == pytest.approx(1 - 1 / math.log2(3))


@pytest.mark.parametrize(
    "answer",
    [
        "```json\n" + grades(1, 2) + "\n```",
        "\n ```json" + grades(1, 2) + "``` ",
        '{"1": 1, "2": 2}',
        '{"[1]": 1.0, "[2]": "2"}',
    ],
)
def test_json_may_be_fenced_and_keys_bare(answer):
    [plain, other] = grouprank_reward([group(grades(1, 2)), group(answer)], labels=[[1, 2]] * 2)
    assert plain == other


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "[1]",
        "7",
        '{"[1]": 1, "[2]": 2',  # the parser for serving repairs it
        '{"[1]]": 1, "[2]": 2,}',
        '{"[1]": 1}',  # one is missing
        '{"[1]": 1, "[3]": 2}',
        '{"[1]": 1, "[2]": 2, "[3]": 3}',
        '{"[1]": 1, "[2]": 11}',
        '{"[1]": 1, "[2]": 2.5}',
        '{"[1]": 1, "[2]": null}',
        '{"[1]": 1, "[2]": 2, "[1]": 3}',
        '{"[1]": 1, "1": 2}',
        '{"grades": {"[1]": 1, "[2]": 2}}',
        "Here it is: " + grades(1, 2),
        "[" * 100_000,
    ],
)
def test_other_json_than_every_grade_once_is_invalid(answer):
    assert grouprank_reward([group(answer)], labels=[[1, 2]]) == [-0.1]
    assert grouprank_reward([group(answer)], labels=[[1, 2]], invalid=-3.0) == [-3.0]


def test_without_tags_grades_earn_the_larger_penalty():
    assert (
        grouprank_reward([grades(1, 2), thought(grades(1, 2))], labels=[[1, 2]] * 2) == [-0.5] * 2
    )


def test_what_is_relevant_and_the_scale_are_arguments():
    answer, many = [group(grades(*[100] * 10, 99))], [[1] * 10 + [3]]
    low, high = (grouprank_reward(answer, labels=many, top_grade=100, relevant=r) for r in (1, 2))
    assert low[0] - high[0] == pytest.approx(0.2 * 10 / 11)  # the only relevant one is eleventh
    assert grouprank_reward(answer, labels=many) == [-0.1]


def test_a_negative_label_is_refused():
    with pytest.raises(InputError, match="a label is negative"):
        grouprank_reward([group(grades(1, 2))], labels=[[1, -1]])


@settings(max_examples=50)
@given(st.data())
def test_reasonrank_is_its_formula(data):
    n = data.draw(st.integers(1, 14))
    order, gold = (data.draw(st.permutations(range(n))) for _ in range(2))
    labels = data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))
    hits = [labels[i] for i in order]
    ideal = dcg(sorted(labels, reverse=True))
    overlap = sum(len({*order[:d]} & {*gold[:d]}) / d for d in range(1, n + 1)) / n
    expected = 0.1 * overlap
    if any(labels):
        expected += dcg(hits) / ideal + 0.2 * sum(hits[:10]) / sum(labels)
    found = reasonrank_reward([thought(permutation(order))], labels=[labels], order=[gold])
    assert found == [pytest.approx(expected)]


def test_reasonrank_knows_relevant_or_not_and_no_grades():
    answers, order = [thought("[1] > [2]")] * 2, [[0, 1]] * 2
    one, other = reasonrank_reward(answers, labels=[[1, 5], [1, 1]], order=order)
    assert one == other


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (thought("[2] > [1] > [3]"), 1.3),
        (thought("2 > 1 > 3"), 1.3),
        (thought("[2] > [1]"), 0.0),
        (thought("[2] > [2] > [1]"), 0.0),
        (thought("[2] > [1] > [3] > [3]"), 0.0),
        (thought("[2] > [1] > [4]"), 0.0),
        (thought("[2] > [1] > [0]"), 0.0),  # the published code takes it for the last passage
        (thought("[2] > [1] > [3] > [4]"), 0.0),
        (thought("3 passages: 2, 1"), 0.0),
        (thought(""), 0.0),
        ("[2] > [1] > [3]", -1.0),
        (group("[2] > [1] > [3]"), -1.0),
        ("<think>[2] > [1] > [3]", -1.0),
    ],
)
def test_reasonrank_of_incomplete_and_untagged_answers(answer, expected):
    found = reasonrank_reward([answer], labels=[[0, 1, 0]], order=[[1, 0, 2]])
    assert found == [pytest.approx(expected)]


def test_a_gold_order_of_some_passages_wants_as_many():
    columns = {"labels": [[0, 1, 1]], "order": [[1, 2]]}
    assert reasonrank_reward([thought("[2] > [3]")], **columns) == [pytest.approx(1.3)]
    assert reasonrank_reward([thought("[2] > [3] > [1]")], **columns) == [0.0]
    [missed] = reasonrank_reward([thought("[2] > [1]")], **columns)
    assert missed == pytest.approx(1 / (1 + 1 / math.log2(3)) + 0.2 / 2 + 0.1 * (1 + 1 / 2) / 2)


def erank(scores, labels, queries=None, reference=5.0, **options):
    answers = [thought(score) for score in scores]
    queries = queries or ["q"] * len(answers)
    columns = {"query_id": queries, "label": labels, "reference": [reference] * len(answers)}
    return erank_reward(answers, **columns, **options)


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 10), st.integers(0, 1)),
        min_size=1,
        max_size=12,
    )
)
def test_erank_is_its_formula(rows):
    queries, scores, labels = zip(*rows, strict=True)
    expected = []
    for query, score, label in rows:
        pool = sorted((s for q, s, _ in rows if q == query), reverse=True)
        positives = [pool.index(s) + 1 for q, s, y in rows if q == query and y]
        rank = pool.index(score) + 1  # the first of its equals: ties have the minimum
        if label:
            expected.append(1 / rank)
        elif positives and rank <= max(positives):
            expected.append(-1.0)
        else:
            expected.append(1 - ((score - 5) / 10) ** 2)
    assert erank(scores, labels, queries) == pytest.approx(expected)


def test_rollouts_of_all_passages_are_one_pool():
    """Two rollouts each of a relevant passage and another: ranks go over all four."""
    assert erank([9, 3, 4, 2], [1, 1, 0, 0]) == pytest.approx([1.0, 1 / 3, -1.0, 1 - 0.3**2])


def test_ties_have_the_best_rank_and_a_tie_with_a_relevant_passage_is_misplaced():
    assert erank([8, 8], [1, 0]) == [1.0, -1.0]
    assert erank([8, 8, 8, 1], [1, 1, 0, 1]) == pytest.approx([1.0, 1.0, -1.0, 1 / 4])


def test_penalties_of_erank_are_arguments():
    found = erank([9, 5, "high", 11], [0, 1, 1, 0], malformed=-2.0, misplaced=-3.0)
    assert found == pytest.approx([-3.0, 1 / 2, -2.0, -2.0])


@pytest.mark.parametrize(
    "answer", ["9", "<answer>9</answer>", thought(""), thought("nine"), thought("9.5"), "<think>9"]
)
def test_answers_without_a_grade_are_malformed_and_in_no_pool(answer):
    columns = {"query_id": ["q"] * 2, "label": [1, 1], "reference": [5, 5]}
    assert erank_reward([answer, thought("2")], **columns) == [-1.0, 1.0]


def test_a_query_without_a_relevant_passage_has_none_to_be_above():
    assert erank([5, 10], [0, 0]) == pytest.approx([1.0, 0.75])
    assert erank([2, 2], [0, 0], top_grade=2, reference=1.0) == pytest.approx([0.75, 0.75])
