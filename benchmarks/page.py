"""docs/benchmarks.md, from the results of every section that was run."""

import json
from pathlib import Path

NAMES = {
    "ours_cross_encoder": "this library, `CrossEncoderBackend`",
    "sentence_transformers": "sentence-transformers, `CrossEncoder.rank`",
    "haystack": "Haystack, `SentenceTransformersSimilarityRanker`",
    "llama_index": "LlamaIndex, `SentenceTransformerRerank`",
    "rerankers": "rerankers, `Reranker(model_type='cross-encoder')`",
    "ours_vllm_first": "this library, FIRST, `VLLMBackend`",
    "rankllm_first": "RankLLM, FIRST (`use_logits`)",
    "ours_vllm_written": "this library, written order, `VLLMBackend`",
    "rankllm_written": "RankLLM, written order",
}

HEAD = """# Benchmarks

What this library costs, and where it stands beside others: on one machine, with the same model and
texts, in turns within one run. Ratios are of one query's times; seconds mean little elsewhere.

    make bench                                  # everything: an hour on two cores, mostly vLLM
    python benchmarks/run.py engine             # one section; needs nothing but this library

Effectiveness and calls of every strategy are in [Strategies](strategies.md), of feedback in
[Feedback](feedback.md); `rerank-plugins bench --reranker ...` times a reranker of yours.
"""


def page(results: Path) -> str:
    """The whole page."""
    parts = [HEAD]
    for name, write in (("engine", engine), ("cross-encoder", pairs), ("vllm", vllm)):
        file = results / f"{name}.json"
        if file.exists():
            found = json.loads(file.read_text())
            parts += [write(found), f"\n{found['date']}, {found['machine']}.\n"]
    return "\n".join(parts)


def engine(found: dict) -> str:
    calls = table(
        ["strategy, 100 passages of 60 words", "calls", "µs per call", "µs per passage"],
        [
            [r["strategy"], r["calls"], f"{r['us_per_call']:.0f}", f"{r['us_per_passage']:.0f}"]
            for r in found["per_call"]
        ],
    )
    growth = found["growth"]
    candidates = table(
        ["candidates", "pairs, ms", "FIRST, ms"],
        [[n, f"{1e3 * a:.2f}", f"{1e3 * b:.2f}"] for n, a, b in growth["candidates"]],
    )
    words = table(
        ["words of a passage", "pairs, ms", "FIRST, ms"],
        [[n, f"{1e3 * a:.2f}", f"{1e3 * b:.2f}"] for n, a, b in growth["words"]],
    )
    queries = table(
        ["queries of 100 passages", "seconds", "ms per query"],
        [[n, f"{s:.3f}", f"{1e3 * s / n:.2f}"] for n, s in growth["queries"]],
    )
    memory = ", ".join(f"{mb} MB for {n} queries" for n, mb in found["memory_mb"].items())
    return f"""## The engine

With a model that answers at once (`rerank_plugins.testing.Constant`), what is left is this library:
making prompts, escaping what could be taken for an identifier, reading answers, counting,
checking. Medians of 7.

{calls}

A call that holds 20 passages costs the making of 20 passages, not of one.

{candidates}

{words}

{queries}

Peak memory of `rerank-plugins rank` over 100 passages a query: {memory}.
"""


def pairs(found: dict) -> str:
    return f"""## Cross-encoders

The same 22.7 M weights (MiniLM with a random head), 256 tokens, one thread;
{found["texts"]}. Time is that of the call a user makes.

{peers(found["rows"])}
"""


def vllm(found: dict) -> str:
    rows = [
        [
            NAMES[r["name"]] + f" {r['version']}",
            *(
                [f"cannot run here: {r['failed']}", "", "", ""]
                if r["failed"]
                else [
                    f"{r['median_s']:.2f}",
                    f"{r['ratio']:.2f} ({r['ratio_low']:.2f}-{r['ratio_high']:.2f})",
                    f"{r['nDCG@10']:.4f}",
                    "yes" if r["kept"] else "no",
                ]
            ),
        ]
        for r in found["rows"]
    ]
    header = ["", "median s", "time, ours = 1 (range)", "nDCG@10", "every passage kept"]
    return f"""## FIRST and written orders on vLLM

SmolLM2-135M on vLLM's CPU build, one window of 20; {found["texts"]} (first stage
{found["first stage"]:.4f}). SmolLM2 was not trained to rerank: the orders say nothing of a method,
only that nothing is lost.

{table(header, rows)}
"""


def peers(rows: list[dict]) -> str:
    lines = []
    for r in rows:
        name = f"{NAMES[r['name']]} {r['version']}"
        if r["failed"]:
            lines.append([name, f"cannot run here: {r['failed']}", "", "", ""])
            continue
        ratio = f"{r['ratio']:.2f} ({r['ratio_low']:.2f}-{r['ratio_high']:.2f})"
        lines.append([name, f"{r['median_s']:.2f}", ratio, r["same_order"], r["peak_mb"]])
    header = ["", "median s", "time, ours = 1 (range)", "orders as ours", "peak MB"]
    return table(header, lines)


def table(header: list, rows: list[list]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(str(c).replace("|", "/") for c in row) + " |" for row in lines
    )


if __name__ == "__main__":
    here = Path(__file__).parent
    (here.parent / "docs" / "benchmarks.md").write_text(page(here / "results"), "utf-8")
