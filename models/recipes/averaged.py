"""Average an encoder's weights with those it was trained from (WiSE-FT, arXiv:2109.01903).

python models/recipes/averaged.py BASE TUNED SHARE TARGET

SHARE is the tuned weights' part, 0 to 1. What a small fine-tuning forgets comes back, and much of
what it learned stays; the share is chosen on held-out lists.
"""

import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

WEIGHTS = "model.safetensors"


def main(base: Path, tuned: Path, share: float, target: Path) -> None:
    if not 0 <= share <= 1:
        raise SystemExit(f"the share is {share}, expected a number from 0 to 1")
    target.mkdir(parents=True, exist_ok=True)
    for path in tuned.iterdir():
        if path.is_file() and path.name not in (WEIGHTS, "training.json", "training.lock"):
            shutil.copyfile(path, target / path.name)
    before, after = load_file(base / WEIGHTS), load_file(tuned / WEIGHTS)
    mixed = {
        name: (tensor + (after[name] - tensor) * share).contiguous()
        for name, tensor in before.items()
        if name in after
    }
    save_file(mixed, target / WEIGHTS, {"format": "pt"})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]))
