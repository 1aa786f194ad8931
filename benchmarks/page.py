"""docs/benchmarks.md, from the results of every section that was run."""

import json
import statistics
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
texts. What is compared takes turns within one run, one thread each; a ratio is of two times for the
same query, and shown as the median with the range over the queries. Seconds are those that the
process had a processor, so that other work on the machine is not in them; except on vLLM, whose
engine is a process of its own: there they are of the clock. Seconds mean little elsewhere.

    make bench                                  # everything, with the peers' environments
    python benchmarks/run.py engine             # one section

Effectiveness and calls of every strategy are in [Strategies](strategies.md), of feedback in
[Feedback](feedback.md); `rerank-plugins bench --reranker ...` times a reranker of yours.
"""


def page(results: Path) -> str:
    """The whole page."""
    parts = [HEAD]
    for name, write in SECTIONS.items():
        file = results / f"{name}.json"
        if file.exists():
            found = json.loads(file.read_text())
            made = f"{found['date']}, {found['machine']}; `{found['command']}`."
            parts += [write(found), f"{made}\n"]
    return "\n".join(parts)


def engine(found: dict) -> str:
    calls = table(
        ["100 passages of 60 words", "calls", "µs per call: prompts", "the rest", "(lowest)"],
        [
            [
                r["strategy"],
                r["calls"],
                f"{r['prompt_us']:.0f}",
                f"{r['rest_us']:.0f}",
                f"{r['rest_us_low']:.0f}",
            ]
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

With a model that answers at once (`rerank_plugins.testing.Constant`), the rest is this library:
making prompts, which includes repairing, shortening and escaping every passage; and the rest, the
engine: plans, checks, counting, reading answers, sorting. Medians of 50.

{calls}

A call that shows 20 passages makes the text of 20 and sorts 20, which is what its microseconds are.

Growth with the number of candidates, the length of passages, and the number of queries (medians of
7; the last is one run):

{candidates}

{words}

{queries}

Peak memory of `rerank-plugins rank` over 100 passages a query: {memory}.
"""


def overhead(found: dict) -> str:
    rows = []
    for r in found["rows"]:
        shares = [q["outside"] / q["seconds"] for q in r["queries"]]
        each = [1e6 * q["outside"] / r["calls"] for q in r["queries"]]
        rows.append(
            [
                r["name"],
                r["calls"],
                f"{statistics.median(each):.0f}",
                f"{statistics.median(shares):.2%} ({min(shares):.2%}-{max(shares):.2%})",
            ]
        )
    return f"""## Around a real model

What of a ranking's time is outside the backend, prompts included, with the smallest real models;
{found["texts"]}. Larger models make it smaller.

{table(["", "calls", "µs per call outside", "share of the time (range)"], rows)}
"""


def first(found: dict) -> str:
    return f"""## FIRST against writing

One window of 20 on SmolLM2-135M in PyTorch, the same prompt; {found["texts"]}.

{turns(found["rows"], "FIRST")}
"""


def schedules(found: dict) -> str:
    return f"""## Schedules

FIRST over 100 passages on SmolLM2-135M in PyTorch; {found["texts"]}. Depth is how many rounds wait
for each other: on one core without batches it costs nothing, on a server it is the latency.

{turns(found["rows"], "SlidingWindow")}
"""


def turns(rows: list[dict], base: str) -> str:
    lines = [
        [
            r["name"],
            f"{r['median_s']:.2f}",
            times(r),
            r["usage"]["calls"],
            r["usage"]["batches"],
            r["usage"]["prompt_tokens"],
            r["usage"]["generated_tokens"],
        ]
        for r in rows
    ]
    header = ["", "median s", f"time, {base} = 1 (range)", "calls", "depth"]
    return table([*header, "tokens read", "written"], lines)


def pointwise(found: dict) -> str:
    names = list(found["rows"][0]["seconds"])
    rows = []
    for name in names:
        ratios = [r["seconds"][name] / r["seconds"]["CrossEncoder"] for r in found["rows"]]
        tokens = [r["forward_tokens"][name] for r in found["rows"]]
        rows.append(
            [
                {"CrossEncoder": "sentence-transformers, `CrossEncoder`"}.get(
                    name, f"this library, {name}"
                ),
                f"{statistics.median(r['seconds'][name] for r in found['rows']):.2f}",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
                f"{statistics.median(tokens):.0f}",
            ]
        )
    worst = max(r["largest_difference"] for r in found["rows"])
    header = ["", "median s", "time, `CrossEncoder` = 1 (range)", "tokens through the model"]
    return f"""## Yes or no, passage by passage

The prompt of Qwen3-Reranker on SmolLM2-135M, the same text for all, batches of 32;
{found["texts"]}. Scores differ by at most {worst:.0e}. `rerankers` has no ranker that asks a causal
language model of one's own for yes or no.

{table(header, rows)}
"""


def pairs(found: dict) -> str:
    rows = [
        [
            title(r),
            *(
                [f"cannot run here: {r['failed']}", "", "", ""]
                if r["failed"]
                else [f"{r['median_s']:.2f}", times(r), r["same_order"], r["peak_mb"]]
            ),
        ]
        for r in found["rows"]
    ]
    header = ["", "median s", "time, ours = 1 (range)", "orders as ours", "peak MB"]
    return f"""## Cross-encoders

The same 22.7 M weights (MiniLM with a random head), 256 tokens, one thread; {found["texts"]}.
Time is that of the call a user makes, memory the process's.

{table(header, rows)}
"""


def vllm(found: dict) -> str:
    rows = [
        [
            title(r),
            *(
                [f"cannot run here: {r['failed']}", "", "", "", "", ""]
                if r["failed"]
                else [
                    f"{r['median_s']:.2f}",
                    ratio(r["clock"]) if "clock" in r else times(r),
                    ratio(r["processor"]) if "processor" in r else "",
                    f"{r['nDCG@10']:.4f}",
                    "yes" if r["kept"] else "no",
                    r["unchanged"],
                ]
            ),
        ]
        for r in found["rows"]
    ]
    header = [
        "",
        "median s",
        "time, ours = 1",
        "processor, ours = 1",
        "nDCG@10",
        "every passage kept",
    ]
    return f"""## FIRST and written orders on vLLM

SmolLM2-135M on vLLM's CPU build, one window of 20; {found["texts"]} (first stage
{found["first stage"]:.4f}). The two of a kind take turns, each with an engine of its own. SmolLM2
was not trained to rerank: the orders say nothing of a method, only whether anything is lost.
Ratios are means over the queries with 95 % bootstrap intervals (a median with its range where a run
is older than that). The processor's time is that of all processes of a library; other work on the
machine is not in it.

{table([*header, "orders unchanged"], rows)}

RankLLM 0.26 gives every `rerank_batch` an event loop of its own, which its engine does not outlive:
from the second call on it fails, and the input order comes back without an error. To be timed at
all it is kept on one loop here, and its engine gets the arguments of ours: no compilation, 32 bits,
2 GB of cache, blocks of 32 tokens. SmolLM2 answers in prose, which may become an order until there
is no room, so both libraries let it write what one spelling of the whole order takes: 79 tokens for
twenty letters. If a model writes the order, this library ends the answer when the order is whole.
"""


def feedback(found: dict) -> str:
    names = {
        "published loop, PyTorch": "published loop, PyTorch",
        "published loop, NumPy": "the same in NumPy",
        'refine_query, "safe"': "`refine_query`",
        '256 queries, "safe", as a batch': "a batch of 256",
        "its matrix products": "matrix products alone",
    }
    rows = []
    for size, each in found["rows"].items():
        base, _ = each['refine_query, "safe"']
        cells = [each[name] for name in names]
        rows.append([size, *(f"{m:.3f} ({m / base:.1f})" for m, _ in cells)])
    return f"""## Relevance feedback

Refining a query, float32, milliseconds a query (and as a multiple of `refine_query`),
medians of 15.

{table(["passages x dimensions", *names.values()], rows)}
"""


def title(row: dict) -> str:
    return f"{NAMES[row['name']]} {row['version']}".strip()


def times(row: dict) -> str:
    """A ratio with its range."""
    if "ratio" not in row:
        return ""
    return f"{row['ratio']:.2f} ({row['ratio_low']:.2f}-{row['ratio_high']:.2f})"


def ratio(found: list[float]) -> str:
    """A mean ratio with its interval."""
    mean, low, high = found
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def table(header: list, rows: list[list]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(str(c).replace("|", "/") for c in row) + " |" for row in lines
    )


SECTIONS = {
    "engine": engine,
    "overhead": overhead,
    "first": first,
    "schedules": schedules,
    "pointwise": pointwise,
    "cross-encoder": pairs,
    "vllm": vllm,
    "feedback": feedback,
}

if __name__ == "__main__":
    here = Path(__file__).parent
    (here.parent / "docs" / "benchmarks.md").write_text(page(here / "results"), "utf-8")
