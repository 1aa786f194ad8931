"""Measure every figure of the documents that depends on the default's weights.

    RERANK_PLUGINS_DATA=... python benchmarks/default_figures.py FOLDER [NAME ...]
    python benchmarks/default_figures.py --list

For the day on which the weights in ``rerank_plugins/presets`` are replaced: ``fit`` first, whose
numbers belong into ``checkpoints.toml``, then everything else. What the commands of a name print
goes into FOLDER/NAME.txt; where that is there, they are not run again. All of them keep vectors in
FOLDER, which so belongs to one set of weights, and may be interrupted. One thread takes two hours.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from rerank_plugins.presets import DEFAULT_PRESET

HERE = Path(__file__).parent
CLI = "-m rerank_plugins.cli"
BM25 = "bm25s_k0.9_b0.4.trec.gz"
MARGINS = (0.720, 0.639, 0.534, 0.446, 0.363)
"""Of SciFact's training claims (docs/strategies.md); they are BM25's alone."""
CHUNKED = {"cisi": "", "scifact": "--split train --queries 50", "cranfield": "--queries 80"}
SIZES = (180, 120, 90)
FIRST = "--first-stage bm25 --depth 20"


def commands(data: Path) -> Mapping[str, list[str]]:
    """The commands of each name, in order; ``{at}`` stands for the folder."""
    beir = data / "beir"
    return {
        "fit": [f"{HERE}/choose_default.py fit"],  # docs/default.md, checkpoints.toml
        "default": [f"{HERE}/default_reranker.py"],  # docs/default.md, README.md
        "forms": [f"{HERE}/choose_default.py forms"],  # docs/default.md
        "evaluate": [  # docs/evaluate.md, "from nothing"
            f"{CLI} evaluate {beir / name} --first-stage bm25 --first-stage dense --depth 20 "
            f"--reranker {{at}}/tokens.json --output {{at}}/evaluate-{name}"
            for name in ("scifact", "cranfield", "cisi")
        ],
        "calibrate": [  # docs/evaluate.md, "Scores that mean something"
            f"{CLI} calibrate {beir}/scifact --split train {FIRST} --queries 400 "
            "--reranker {at}/tokens.json --output {at}/calibrated.json",
            *(
                f"{CLI} calibrate {beir / name} {FIRST} --reranker {{at}}/{reranker}.json"
                for name in ("scifact", "cranfield", "cisi")
                for reranker in ("tokens", "calibrated")
            ),
            f"{CLI} calibrate {beir}/scifact --split train {FIRST} --queries 400 --places fit "
            "--reranker {at}/tokens.json --output {at}/placed.json",
            f"{CLI} calibrate {beir}/scifact {FIRST} --reranker {{at}}/placed.json",
        ],
        "cuts": [  # docs/strategies.md, "Fewer passages"
            f"{HERE}/cuts.py scifact cranfield",
            f"{HERE}/cuts.py scifact cranfield --reranker {{at}}/calibrated.json",
        ],
        "tune": [  # docs/strategies.md, "Where reranking cannot matter"; docs/tune.md
            f"{CLI} tune {beir / name}/runs/{BM25} --depth 20 --margin {margin} "
            f"--collection {beir / name} --reranked {{at}}/evaluate-{name}/runs/tokens.trec"
            for name in ("scifact", "cranfield")
            for margin in MARGINS
        ],
        "chunks": [  # docs/strategies.md, "Long passages"
            line
            for name, some in CHUNKED.items()
            for line in (
                f"{CLI} evaluate {beir / name} {FIRST} {some} --output {{at}}/chunks-{name} "
                + " ".join(f"--reranker {{at}}/chunks-{size}.json" for size in (0, *SIZES)),
                *(
                    f"{CLI} compare {{at}}/chunks-{name}/runs/chunks-0.trec "
                    f"{{at}}/chunks-{name}/runs/chunks-{size}.trec --collection {beir / name} "
                    + some.partition("--queries")[0]
                    for size in SIZES
                ),
            )
        ],
        "teacher": [f"{HERE}/feedback_teacher.py --cache {{at}}"],  # docs/feedback.md
        "teacher-tune": [f"{HERE}/feedback_teacher.py --cache {{at}} --tune"],
        "adaptive": [f"{HERE}/adaptive.py"],  # docs/feedback.md, README.md
        "words": [  # docs/feedback.md, "Words": the rows of "safe" and "bold"
            f"{CLI} feedback {beir / name} {FIRST} --method {method} --reranker {{at}}/tokens.json"
            for name in ("scifact", "cranfield", "cisi")
            for method in ("safe", "bold")
        ],
        "quality": [f"{HERE}/onnx_engine.py {of} 1000" for of in ("quality", "late-interaction")],
        "speed": [f"{HERE}/onnx_engine.py speed 4"],  # docs/engines.md, as is "quality"
        "late-interaction": [  # docs/engines.md
            f"{HERE}/late_interaction.py "
            f"{HERE.parent}/rerank_plugins/presets/{DEFAULT_PRESET.partition('/')[2]}"
        ],
        "demo": [f"{HERE.parent}/examples/demo.py"],  # README.md
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="show the commands, run none")
    given = parser.parse_args()
    every = commands(Path(os.environ.get("RERANK_PLUGINS_DATA", "DATA")))
    if given.list or given.folder is None:
        print("\n".join(f"{name}: {line}" for name, lines in every.items() for line in lines))
        return
    at = given.folder.resolve()
    at.mkdir(parents=True, exist_ok=True)
    write_specs(at)
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "CACHE": str(at)}
    for name in given.names or every:
        if not (at / f"{name}.txt").exists():
            measure(at, name, every[name], environment)


def write_specs(at: Path) -> None:
    """The default with a cache on disk, and what of it ranks chunks, without places."""
    kept = {"model": DEFAULT_PRESET, "cache_folder": str(at / "tokens"), "threads": 1}
    (at / "tokens.json").write_text(json.dumps(kept))
    for size in (0, *SIZES):
        chunks = {"chunk_words": size} if size else {}
        spec = {**kept, "strategy": "pair-score", **chunks}
        (at / f"chunks-{size}.json").write_text(json.dumps(spec))


def measure(at: Path, name: str, lines: list[str], environment: Mapping[str, str]) -> None:
    """Run the commands of one name; its file is there when all of them are done."""
    part = at / f"{name}.part"
    with part.open("w") as file:
        for line in lines:
            print(f"$ {line}", file=file, flush=True)
            command = [sys.executable, *line.format(at=at).split()]
            subprocess.run(command, stdout=file, env=environment, check=True)
    part.rename(at / f"{name}.txt")
    print(f"{name} is done", flush=True)


if __name__ == "__main__":
    main()
