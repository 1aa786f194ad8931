"""The ranking losses by their definitions, in plain Python, and lists to compute them of."""

import itertools
import math
from functools import partial

import torch
from hypothesis import settings
from hypothesis import strategies as st


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def softmax(values):
    top = max(values)
    exponentials = [math.exp(v - top) for v in values]
    return [e / sum(exponentials) for e in exponentials]


def logsumexp(values):
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values))


def pairs(labels):
    n = range(len(labels))
    return [(i, j) for i in n for j in n if labels[i] > labels[j]]


def order(values):
    return sorted(range(len(values)), key=lambda i: -values[i])


def dense_ranks(labels):
    return [1 + len({other for other in labels if other > label}) for label in labels]


def one_ranknet(s, labels, teacher):
    r = dense_ranks(labels)
    found = [softplus(s[j] - s[i]) / (r[i] + r[j]) for i, j in pairs(labels)]
    return sum(found) / len(found)


def one_lambda(s, labels, teacher):
    place = {item: at for at, item in enumerate(order(s), start=1)}
    ideal = sum((2**y - 1) / math.log2(1 + k) for k, y in enumerate(sorted(labels)[::-1], 1))
    found = []
    for i, j in pairs(labels):
        d = abs(place[i] - place[j])
        weight = abs(1 / math.log2(1 + d) - 1 / math.log2(2 + d))
        weight *= abs(2 ** labels[i] - 2 ** labels[j]) / ideal
        found.append(weight * softplus(s[j] - s[i]) / math.log(2))
    return sum(found) / len(found)


def one_lipo(s, labels, teacher):
    place = {item: at for at, item in enumerate(order(s), start=1)}
    return sum(
        abs(2 ** labels[i] - 2 ** labels[j])
        * abs(1 / math.log(1 + place[i]) - 1 / math.log(1 + place[j]))
        * softplus(s[j] - s[i])
        for i, j in pairs(labels)
    )


def one_margin_mse(s, labels, teacher):
    every = list(itertools.combinations(range(len(s)), 2))
    return sum((s[i] - s[j] - teacher[i] + teacher[j]) ** 2 for i, j in every) / len(every)


def one_listnet(s, labels, teacher):
    return -sum(p * (v - logsumexp(s)) for p, v in zip(softmax(labels), s, strict=True))


def choice(s, i, rest):
    return logsumexp([s[i], *(s[j] for j in rest)]) - s[i]


def worse(labels, i):
    return [j for j in range(len(labels)) if labels[j] < labels[i]]


def one_list_mle(s, labels, teacher):
    return sum(choice(s, i, worse(labels, i)) for i in range(len(s)))


def one_p_list_mle(s, labels, teacher):
    n = len(s)
    return sum(
        (2 ** (n - 1 - sum(other > labels[i] for other in labels)) - 1)
        / (2 ** (n - 1) - 1)
        * choice(s, i, worse(labels, i))
        for i in range(n)
    )


def one_cross_entropy(s, labels, teacher):
    best = [i for i in range(len(s)) if labels[i] == max(labels)]
    return sum(choice(s, i, worse(labels, i)) for i in best) / len(best)


def one_pld(s, labels, teacher):
    key = [(label == max(labels), t) for label, t in zip(labels, teacher, strict=True)]
    alpha = softmax(teacher)
    return sum(alpha[i] * choice(s, i, worse(key, i)) for i in range(len(s)))


def one_kl(s, labels, teacher, temperature=1.0):
    p = softmax([t / temperature for t in teacher])
    q = softmax([v / temperature for v in s])
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def one_dear(s, labels, teacher):
    return 0.9 * one_cross_entropy(s, labels, teacher) + 0.1 * 4 * one_kl(s, labels, teacher, 2)


def one_z_loss(s, labels, teacher, a=1.0, b=1.0):
    mean = sum(s) / len(s)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in s) / len(s))
    best = [i for i in range(len(s)) if labels[i] == max(labels)]
    each = [softplus(a * (b - (s[i] - mean) / deviation)) / a for i in best]
    return sum(each) / len(each)


def one_bce(s, labels, teacher):
    each = [softplus(-v if y > 0 else v) for v, y in zip(s, labels, strict=True)]
    return sum(each) / len(each)


DEFINITIONS = {
    "bce": one_bce,
    "cross-entropy": one_cross_entropy,
    "dear": one_dear,
    "kl": one_kl,
    "lambda": one_lambda,
    "lipo-lambda": one_lipo,
    "list-mle": one_list_mle,
    "listnet": one_listnet,
    "margin-mse": one_margin_mse,
    "p-list-mle": one_p_list_mle,
    "pld": one_pld,
    "ranknet": one_ranknet,
    "z-loss": one_z_loss,
}


some = settings(max_examples=30)


grades = st.integers(0, 3)


scores_of = partial(
    st.lists, st.floats(-8, 8, allow_nan=False).map(lambda x: round(x, 3)), unique=True
)


@st.composite
def lists(draw, least=3, most=6):
    """Scores without ties, grades that differ, a teacher whose scores do."""
    n = draw(st.integers(least, most))
    labels = draw(st.lists(grades, min_size=n, max_size=n).filter(lambda ys: len(set(ys)) > 1))
    scores = draw(scores_of(min_size=n, max_size=n).filter(lambda s: max(s) - min(s) > 0.1))
    return scores, labels, draw(scores_of(min_size=n, max_size=n))


def batched(items):
    """Lists of several lengths as tensors, padded with NaN."""
    n = max(len(scores) for scores, *_ in items)
    columns = [
        double([[*values, *[math.nan] * (n - len(values))] for values in column])
        for column in zip(*items, strict=True)
    ]
    return *columns, ~columns[0].isnan()
