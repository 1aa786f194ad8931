"""The cost of refining a query, beside the published recipe and the matrix products that it needs.

    OMP_NUM_THREADS=1 python benchmarks/feedback_speed.py

One thread; all rows are measured in turns in one run, and the median and the minimum are shown.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and PyTorch are imported

import time
from collections.abc import Callable

import numpy as np
import torch

from rerank_plugins.feedback import refine_query

TURNS = 15
BATCH = 256
REPEATS = 32  # of what takes less than a millisecond: the published loops repeat themselves


def torch_loop(query: np.ndarray, passages: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The published recipe as it is published: 100 steps of torch.optim.Adam."""
    q = torch.tensor(query, requires_grad=True)
    vectors, teacher = torch.tensor(passages), torch.log_softmax(torch.tensor(scores), dim=0)
    student = passages @ query
    scale = float(np.ptp(scores) / np.ptp(student) / 2)
    loss = torch.nn.KLDivLoss(reduction="batchmean", log_target=True)
    optimiser = torch.optim.Adam([q], lr=0.005)
    for _ in range(100):
        optimiser.zero_grad()
        loss(torch.log_softmax(scale * (vectors @ q), dim=0)[None], teacher[None]).backward()
        optimiser.step()
    return q.detach().numpy()


def numpy_loop(query: np.ndarray, passages: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The same in NumPy with the closed-form gradient and nothing around it."""
    q, mean, square = query.copy(), np.zeros_like(query), np.zeros_like(query)
    target = np.exp(scores - scores.max())
    target /= target.sum()
    scale = np.ptp(scores) / np.ptp(passages @ query) / 2
    for step in range(1, 101):
        logits = scale * (passages @ q)
        softmax = np.exp(logits - logits.max())
        softmax /= softmax.sum()
        gradient = scale * ((softmax - target) @ passages)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient * gradient
        size = np.sqrt(square / (1 - 0.999**step)) + 1e-8
        q = q - 0.005 * (mean / (1 - 0.9**step)) / size
    return q


def products(query: np.ndarray, passages: np.ndarray) -> np.ndarray:
    """The products that any method with the passages' Gram matrix needs."""
    gram = passages @ passages.swapaxes(-1, -2)
    scores = passages @ query[..., None]
    return (gram @ scores).swapaxes(-1, -2) @ passages


def timed(jobs: dict[str, tuple[Callable[[], object], int]]) -> dict[str, tuple[float, float]]:
    """Median and minimum of each job, in milliseconds a query."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(TURNS + 1):
        for name, (job, queries) in jobs.items():
            start = time.process_time()
            job()
            if turn:  # the first turn warms up
                seconds[name].append((time.process_time() - start) / queries)
    return {n: (1e3 * float(np.median(s)), 1e3 * min(s)) for n, s in seconds.items()}


def measure(k: int, dim: int) -> dict[str, tuple[float, float]]:
    """Median and minimum of each way to refine, in milliseconds a query."""
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(BATCH, dim)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    passages = rng.normal(size=(BATCH, k, dim)).astype(np.float32)
    passages /= np.linalg.norm(passages, axis=2, keepdims=True)
    scores = np.einsum("bkd,bd->bk", passages, queries) * 20 + rng.normal(size=(BATCH, k))
    scores = scores.astype(np.float32)
    one = (queries[0], passages[0], scores[0])

    def each(method: str = "safe", n: int = BATCH) -> None:
        for i in range(n):
            refine_query(queries[i], passages[i], scores[i], method=method)

    def each_product(n: int = REPEATS) -> None:
        for i in range(n):
            products(queries[i], passages[i])

    return timed(
        {
            "published loop, PyTorch": (lambda: torch_loop(*one), 1),
            "published loop, NumPy": (lambda: numpy_loop(*one), 1),
            'refine_query, "refit"': (lambda: each("refit", 1), 1),
            'refine_query, "safe"': (lambda: each("safe", REPEATS), REPEATS),
            'refine_query, "bold"': (lambda: each("bold", REPEATS), REPEATS),
            "its matrix products": (each_product, REPEATS),
            f'{BATCH} queries, "safe", one at a time': (each, BATCH),
            f'{BATCH} queries, "safe", as a batch': (
                lambda: refine_query(queries, passages, scores),
                BATCH,
            ),
            f"{BATCH} queries, matrix products": (lambda: products(queries, passages), BATCH),
        }
    )


def main() -> None:
    for k in (20, 100):
        for dim in (384, 768):
            found = measure(k, dim)
            default, _ = found['refine_query, "safe"']
            print(f"\n{k} passages, {dim} dimensions, float32; ms a query")
            print(f"{'':<40} {'median':>8} {'min':>8}   safe is ... times faster (medians)")
            for name, (median, least) in found.items():
                print(f"{name:<40} {median:8.3f} {least:8.3f}   {median / default:6.1f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
