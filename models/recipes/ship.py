"""Copy what `rerank-plugins train` made into the package, with weights in 16 bits.

python models/recipes/ship.py TRAINED models/rerank_plugins_models/NAME
"""

import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

WEIGHTS = ("model.safetensors", "adapter_model.safetensors")
LEFT_OUT = {*WEIGHTS, "README.md", "training.json", "checkpoints"}


def main(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.is_file() and path.name not in LEFT_OUT:
            shutil.copy(path, target / path.name)
    for name in WEIGHTS:
        if (source / name).is_file():
            save_file(halved(load_file(source / name)), target / name, {"format": "pt"})


def halved(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """In float16; every score moves by less than its third digit."""
    return {name: tensor.to(torch.float16).contiguous() for name, tensor in tensors.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
