"""docs/paradigms.md and its picture, from benchmarks/results/paradigms.json.

    python benchmarks/paradigms_page.py     # writes both again from the file

The figures are made by ``models/recipes/paradigms.py``, which trains and measures.
"""

import json
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "paradigms.json"
PAGE, PICTURE = ROOT / "docs" / "paradigms.md", ROOT / "docs" / "paradigms.svg"
HEAD = """# One model, every way to rank

FIRST, yes or no, query likelihood, written grades, a cross-encoder and late interaction: one
small model (SmolLM2-135M-Instruct), the same training lists and the same minutes of one core for
each, then BM25's first ten passages of three collections whose queries it has
not seen. Cost and gain of each way of asking, without a second model in between.

    make paradigms  # lists, training, figures, this page: some hours of one core, and it resumes

The rows differ in what the model is asked:

| row | strategy | what is trained |
|---|---|---|
| FIRST | `SingleToken(prompt="short-letters.v1")` | ten letters' logits after one prompt |
| yes or no | `Pointwise(prompt="yes-no.v1")` | the log-odds of Yes, a prompt for each passage |
| query likelihood | `QueryLikelihood()` | the query's mean log-probability after each passage |
| written grades | `Groupwise(weight=1)` | grades from 0 to 10 as text, ten passages in one prompt |
| cross-encoder | `PairScore()` | a new head on the model, which reads query and passage |
| late interaction | `PairScore()` | its tokens' vectors (`late_interaction=True`) |

Lists: `models/recipes/group_data.py --hard 300`. Ten passages of at most 60 words, one and its
question's nine nearest by BM25, and the questions of all of them (COVID-QA, PubMedQA, SciFact's
train claims), each passage with the score of a fused teacher: MiniLM's late interaction, BM25, the
judgement. Loss: weighted RankNet on the teacher's order, and
for grades the language model's on the teacher's scores. A LoRA adapter of rank 16 each, bfloat16.
Everyone reads the same first 60 words of a passage; the last rows are models that ship, for
comparison.

FIRST reads ten passages once for all their questions (`share_prefix`): per list it is about six
times cheaper to train than alone, which is why it reads more lists in the same minutes.

![mean nDCG@10 against seconds a query](paradigms.svg)

"""
READ = "2026-11-26"
BELOW = ("minilm-late",)  # labels under their points, where others stand above them
LABEL = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
NOTES = """How to read it:

* **Query likelihood ranks without training**, at BM25's level or above it on all three; six
  minutes change nothing beyond noise. It is what a language model was trained for: to predict a
  text.
* **Yes or no learns most**: from far below BM25 to its level on Cranfield and DL19, from 48
  lists.
* **Six minutes are too few for FIRST.** Untrained it prefers places: the first two of a window in
  random order win 40 of 43 times on DL19. After 42 steps no place wins more than 8 times, but it
  does not judge the texts yet, and BM25's order, which the preference for places kept in part, is
  lost. FIRST and written grades read one prompt where the others read ten.
* **FIRST learns with more training**: the adapter that ships, `smollm2-first`, had 16 minutes of an
  H100 and 23,200 harder lists, with a prompt that has the question first and last. It has the
  highest mean of this page, for one call a query. Its card has whole collections.
* **Written grades cost most and change least**: untrained, not one of 129 answers can be read, so
  BM25's order stays; after 37 steps every answer can, but it gives all passages nearly the same
  grades: nDCG@10 changes in 9 of 129 queries, and falls in 8.
* A cross-encoder starts from a new head, and 42 steps are not enough for one. Late interaction
  starts from vectors that were never meant for it, and changes within noise.
* **MiniLM, six times smaller, is ahead of every row that had six minutes but likelihood**, and late
  interaction of it costs a tenth of the cheapest. Its encoder saw a billion pairs; the
  cross-encoder had 72 minutes of a core and ten of an H100, with SciFact's train claims among its
  lists, as FIRST's.

Six minutes of one core are 24 to 42 steps: this is what each way of asking can do with almost
nothing, and not where it ends. With 43 queries, intervals reach one to four points to each side on
DL19, and five to ten on SciFact. Written grades were trained and measured some hours after the
others, by the same command, and the FIRST and the cross-encoder that ship on the next day. An
adapter is merged before it runs, so a trained row costs what the untrained one costs: where the
seconds differ, other work on the machine is in them, and the picture has the lower.
"""
"""What the figures of that day say; another run has others."""
NAMES = {"scifact": "SciFact", "cranfield": "Cranfield", "dl19": "DL19"}


def main() -> None:
    write(json.loads(RESULTS.read_text("utf-8")))


def write(found: dict) -> None:
    """Write the figures' file, the page, and the picture."""
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    PAGE.write_text(page(found), "utf-8")
    draw(found, PICTURE)


def page(found: dict) -> str:
    """The whole page."""
    queries = ", ".join(
        f"{NAMES[name]} {one['queries']}" for name, one in measured(found, "minilm-late").items()
    )
    return f"""{HEAD}
nDCG@10 of BM25's first ten, in brackets the 95 % interval of the difference from BM25, over queries
({queries}):

{effectiveness(found)}

Mean cost of a query over these collections, from the same rankings; seconds are those of the
processor, on one core:

{costs(found)}

Training, {found["minutes"]:g} minutes of one core a row:

{training(found)}

{NOTES if found["date"] == READ else ""}
{found["date"]}, {found["machine"]}; `{found["command"]}`.
"""


def rows(found: dict) -> list[tuple[str, str]]:
    """The keys and titles of all rows that were measured, the untrained before the trained."""
    listed = [
        (f"{name}{end}", f"{title}{', trained' if end else ''}")
        for name, title in found["titles"].items()
        for end in ("", "+")
    ]
    return [(key, title) for key, title in listed if measured(found, key)]


def measured(found: dict, key: str) -> dict[str, dict]:
    """A row's figures by collection."""
    every = found["measured"]
    return {name: every[f"{key} {name}"] for name in NAMES if f"{key} {name}" in every}


def effectiveness(found: dict) -> str:
    first = measured(found, "minilm-late")
    lines = [["BM25", *(decimal(first[name]["first"]) for name in NAMES), mean(first, "first")]]
    for key, title in rows(found):
        own = measured(found, key)
        lines.append([title, *(cell(own.get(name)) for name in NAMES), mean(own, "ndcg")])
    return table(["", *NAMES.values(), "mean"], lines)


def cell(one: dict | None) -> str:
    if one is None:
        return ""
    low, high = one["interval"]
    return f"{decimal(one['ndcg'])} [{signed(low)}, {signed(high)}]"


def costs(found: dict) -> str:
    names = ("calls", "prompt_tokens", "generated_tokens", "seconds")
    lines = []
    for key, title in rows(found):
        own = measured(found, key).values()
        calls, read, wrote, seconds = (fmean(one[name] for one in own) for name in names)
        lines.append([title, f"{calls:.0f}", f"{read:,.0f}", f"{wrote:,.0f}", f"{seconds:.2f}"])
    return table(["", "calls", "tokens read", "tokens written", "seconds"], lines)


def training(found: dict) -> str:
    lines = []
    for name, one in found["trained"].items():
        loss, n = one["loss"], max(1, len(one["loss"]) // 4)
        ends = f"{fmean(loss[:n]):.2f}", f"{fmean(loss[-n:]):.2f}"
        lines.append([found["titles"][name], str(one["steps"]), str(one["lists"]), *ends])
    return table(["", "steps", "lists read", "loss, first quarter", "last quarter"], lines)


def mean(own: dict[str, dict], name: str) -> str:
    return decimal(fmean(one[name] for one in own.values())) if len(own) == len(NAMES) else ""


def decimal(value: float) -> str:
    return f"{value:.4f}".lstrip("0")


def signed(value: float) -> str:
    return f"{value:+.3f}".replace("0.", ".", 1)


def table(head: list[str], lines: list[list[str]]) -> str:
    made = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in made)


def draw(found: dict, path: Path) -> None:
    """Mean nDCG@10 against seconds a query; an arrow leads from an untrained row to the trained."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "rerank-plugins", "font.size": 9})
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(8, 4.6))
    for number, (name, title) in enumerate(found["titles"].items()):
        points = both_points(found, name)
        color = f"C{number}"
        for at, marker in zip(points, ("o", "s"), strict=True):
            if at:
                axis.scatter(*at, color=color, marker=marker, s=28, zorder=3)
        if all(points):
            arrow = {"arrowstyle": "->", "color": color, "shrinkA": 4, "shrinkB": 4}
            axis.annotate("", points[1], points[0], arrowprops=arrow)
        if at := points[1] or points[0]:
            side = (6, -11) if name in BELOW else (6, 4)
            axis.annotate(
                title, at, xytext=side, textcoords="offset points", color=color, bbox=LABEL
            )
    first = measured(found, "minilm-late").values()
    axis.axhline(fmean(one["first"] for one in first), color="grey", linewidth=0.8, linestyle="--")
    axis.set_xscale("log")
    axis.set_xlabel("seconds a query on one core (log)")
    axis.set_ylabel("mean nDCG@10 (dashed: BM25)")
    axis.grid(visible=True, alpha=0.25)
    axis.margins(x=0.2, y=0.1)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def both_points(found: dict, name: str) -> list[tuple[float, float] | None]:
    """A row's points, untrained and trained: they cost the same, so both have the lower seconds."""
    points = [point(found, f"{name}{end}") for end in ("", "+")]
    fastest = min((at[0] for at in points if at), default=0.0)
    return [at and (fastest, at[1]) for at in points]


def point(found: dict, key: str) -> tuple[float, float] | None:
    own = measured(found, key)
    if len(own) < len(NAMES):
        return None
    return fmean(one["seconds"] for one in own.values()), fmean(one["ndcg"] for one in own.values())


if __name__ == "__main__":
    main()
