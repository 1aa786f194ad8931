"""The gain and cost of every strategy with a model that errs: the table and figure of docs/.

    python benchmarks/strategies.py            # prints the table
    python benchmarks/strategies.py --write    # and writes docs/strategies.md and its figure

A hundred passages of 60 words, ten of them relevant (grades 1 to 3), in the order of a first stage
that errs much. The model is an oracle whose judgement of a passage has a new error in every call, a
normal error that is as large as a fifth or half of the distance from irrelevant to grade 3. No
language model is involved, so the figures say how much error each way of asking lets through and
what it costs, and nothing about how well a real model answers it.
"""

import argparse
import random
from pathlib import Path
from statistics import fmean

from rerank_plugins import Reranker, Usage
from rerank_plugins.evaluation import evaluate
from rerank_plugins.strategies import (
    AcuRank,
    AttentionScore,
    Blend,
    BlitzRank,
    BlockEmbedding,
    Cascade,
    Consensus,
    FullList,
    Groupwise,
    Head,
    Hybrid,
    JointRank,
    KeepOrder,
    PairScore,
    Pairwise,
    Permutation,
    Pointwise,
    PointwiseGrade,
    QueryLikelihood,
    Setwise,
    SingleToken,
    SlidingWindow,
    TopDown,
    Tournament,
)
from rerank_plugins.testing import Oracle

DOCS = Path(__file__).parent.parent / "docs"
QUERIES = 40
NOISES = (0.2, 0.5)
FIRST_STAGE_NOISE = 0.6
GRADES = [3] * 2 + [2] * 3 + [1] * 5 + [0] * 90
FIRST = SingleToken()
STRATEGIES = {
    "first stage": None,
    "SlidingWindow(SingleToken)": SlidingWindow(FIRST),
    "SlidingWindow(SingleToken, passes=2)": SlidingWindow(FIRST, passes=2),
    "SlidingWindow(Permutation)": SlidingWindow(Permutation()),
    "SlidingWindow(Permutation, reasoning)": SlidingWindow(Permutation(prompt="reasonrank.v1")),
    "TopDown(SingleToken)": TopDown(FIRST),
    "Tournament(SingleToken)": Tournament(FIRST),
    "JointRank(SingleToken)": JointRank(FIRST),
    "JointRank(SingleToken, repeats=4)": JointRank(FIRST, repeats=4),
    "Cascade(JointRank, SingleToken, 20)": Cascade(first=JointRank(FIRST), then=FIRST, depth=20),
    "BlitzRank(SingleToken)": BlitzRank(FIRST),
    "AcuRank(SingleToken)": AcuRank(FIRST),
    "Consensus(TopDown, passes=5)": Consensus(TopDown(FIRST), passes=5),
    "Consensus(SlidingWindow, passes=3)": Consensus(SlidingWindow(FIRST), passes=3),
    "FullList(written)": FullList(),
    "FullList(written, top_m=10)": FullList(top_m=10),
    "FullList(constrained, top_m=10)": FullList(read="constrained", top_m=10),
    "FullList(single-token)": FullList(read="single-token"),
    "Groupwise(weight=1)": Groupwise(weight=1.0),
    "Groupwise(weight=0.6)": Groupwise(),
    "Groupwise(weight=1, repeats=3)": Groupwise(weight=1.0, repeats=3),
    "Setwise(heap)": Setwise(),
    "Setwise(bubble)": Setwise(method="bubble"),
    "Setwise(others=19, written)": Setwise(prompt="rank-r1.v1", answer="written", others=19),
    "Pointwise": Pointwise(),
    "PointwiseGrade": PointwiseGrade(),
    "PointwiseGrade(expectation)": PointwiseGrade(prompt="grades.v1", expectation=True),
    "PairScore": PairScore(),
    "BlockEmbedding": BlockEmbedding(),
    "AttentionScore": AttentionScore(),
    "QueryLikelihood": QueryLikelihood(),
    "Blend(Pointwise)": Blend(Pointwise()),
    "Hybrid(Pointwise)": Hybrid(Pointwise()),
    "Head(SlidingWindow, 50)": Head(SlidingWindow(FIRST), n=50),
    "Cascade(PairScore, Permutation, 30)": Cascade(
        first=PairScore(), then=SlidingWindow(Permutation())
    ),
    "Cascade(PairScore, Pairwise copeland, 20)": Cascade(
        first=PairScore(), then=Pairwise(), depth=20
    ),
    "Cascade(PairScore, Pairwise path, 20)": Cascade(
        first=PairScore(), then=Pairwise(aggregate="path"), depth=20
    ),
}
# The same as another row: what they add is not about order.
SAME = {KeepOrder: "its inner strategy, unless calls fail"}


def relevance(seed: int) -> dict[str, int]:
    """The grade of every passage of a query, in the first stage's order."""
    source = random.Random(seed)
    filler = " ".join(["word"] * 59)
    graded = {f"{filler} {seed}-{i}": grade for i, grade in enumerate(GRADES)}
    noise = {p: source.gauss(0, FIRST_STAGE_NOISE) for p in graded}
    return dict(sorted(graded.items(), key=lambda item: -(item[1] / 3 + noise[item[0]])))


def measure(strategy, noise: float) -> tuple[float, Usage]:
    """nDCG@10 over all queries, and the mean cost of one."""
    run, qrels, usages = {}, {}, []
    for seed in range(QUERIES):
        grades = relevance(seed)
        passages = list(grades)
        order = range(len(passages))
        if strategy is not None:
            oracle = Oracle(key=lambda q, p, g=grades: g[p] / 3, noise=noise, seed=seed)
            ranking = Reranker(strategy, oracle).rank("query", passages)
            order = ranking.order
            usages.append(ranking.usage)
        run[str(seed)] = [passages[i] for i in order]
        qrels[str(seed)] = grades
    ids = {p: str(i) for i, p in enumerate({p for ps in run.values() for p in ps})}
    run = {q: [ids[p] for p in ps] for q, ps in run.items()}
    qrels = {q: {ids[p]: g for p, g in judged.items()} for q, judged in qrels.items()}
    found = evaluate(run, qrels)["nDCG@10"]
    return found, mean_usage(usages)


def mean_usage(usages: list[Usage]) -> Usage:
    if not usages:
        return Usage()
    names = ("calls", "batches", "prompt_tokens", "generated_tokens")
    return Usage(**{n: round(fmean(getattr(u, n) for u in usages)) for n in names})


def table() -> list[tuple[str, list[float], Usage]]:
    rows = []
    for name, strategy in STRATEGIES.items():
        measured = [measure(strategy, noise) for noise in NOISES]
        rows.append((name, [score for score, _ in measured], measured[0][1]))
        print(f"{name:45} {rows[-1][1]} {rows[-1][2]}", flush=True)
    return rows


def as_markdown(rows) -> str:
    lines = [
        "| strategy | nDCG@10, small errors | large errors | calls | depth | prompt tokens | "
        "generated tokens |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (small, large), u in rows:
        cost = f"{u.calls} | {u.batches} | {u.prompt_tokens:,} | {u.generated_tokens:,}"
        lines.append(f"| {name} | {small:.3f} | {large:.3f} | {cost} |")
    return "\n".join(lines)


def draw(rows, path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "rerank-plugins", "font.size": 8})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 5.2), sharey=True)
    named = [row for row in rows if row[2].calls]
    for axis, (label, cost) in zip(
        axes,
        (
            ("prompt tokens (log)", lambda u: u.prompt_tokens),
            ("sequential depth (log)", lambda u: u.batches),
        ),
        strict=True,
    ):
        for i, (name, scores, usage) in enumerate(named, start=1):
            axis.scatter(cost(usage), scores[1], s=18, color=f"C{i % 10}", label=f"{i} {name}")
            axis.annotate(
                str(i), (cost(usage), scores[1]), xytext=(3, 2), textcoords="offset points"
            )
        axis.axhline(rows[0][1][1], color="grey", linewidth=0.8, linestyle="--")
        axis.set_xscale("log")
        axis.set_xlabel(label)
        axis.grid(visible=True, alpha=0.25)
    axes[0].set_ylabel("nDCG@10 with large errors (dashed: first stage)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, fontsize=7, frameon=False)
    figure.tight_layout(rect=(0, 0.30, 1, 1))
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write docs/strategies.md")
    arguments = parser.parse_args()
    rows = table()
    print(as_markdown(rows))
    if arguments.write:
        page = DOCS / "strategies.md"
        head, mark, _ = page.read_text(encoding="utf-8").partition("<!-- generated -->\n")
        page.write_text(head + mark + "\n" + as_markdown(rows) + "\n", encoding="utf-8")
        draw(rows, DOCS / "strategies.svg")


if __name__ == "__main__":
    main()
