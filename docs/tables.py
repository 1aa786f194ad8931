"""Writes what the documents take from the code: the table of checkpoints.

python docs/tables.py          # writes
python docs/tables.py --check  # fails where the committed table is not the code's
"""

import sys
from pathlib import Path

from rerank_plugins import InputError, Reranker
from rerank_plugins.cli._models import weights_of
from rerank_plugins.presets import find_preset, list_presets
from rerank_plugins.testing import Oracle

PAGE = Path(__file__).parent / "presets.md"
HEAD = """# Checkpoints

Each name works, with or without its organisation, with `load_reranker(name)`, as `model=` of the
components, as `--reranker NAME` of the commands ([Name a reranker](names.md)), and with
`rerank-plugins models NAME --show-prompt`, which prints what would be sent. Some take an
[instruction](python.md#an-instruction). Written by `python docs/tables.py` from `checkpoints.toml`.

| checkpoint | what it is | weights | strategy | instruction | licence | not verified |
|---|---|---|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    rows = []
    for name in list_presets():
        preset = find_preset(name)
        cells = [
            f"[{name}]({preset['source']})" if preset["source"].startswith("http") else name,
            preset["description"],
            weights_of(name),
            f"`{described(preset['strategy'])}`",
            "yes" if takes_instruction(preset["strategy"]) else "",
            preset["licence"],
            str(preset.get("unverified", "")),
        ]
        rows.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |\n")
    return HEAD + "".join(rows)


def described(spec) -> str:
    """A spec as an expression: ``sliding-window(single-token)``."""
    if isinstance(spec, str):
        return spec
    inner = [described(spec[key]) for key in ("inner", "first", "then") if key in spec]
    return spec["name"] + (f"({', '.join(inner)})" if inner else "")


def takes_instruction(spec) -> bool:
    """Whether a strategy has a place for an instruction."""
    try:
        Reranker(spec, Oracle()).with_instruction("Find code.")
    except InputError:
        return False
    return True


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(PAGE.read_text("utf-8") != page())
    PAGE.write_text(page(), "utf-8")
