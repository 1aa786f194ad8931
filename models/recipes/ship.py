"""Copy what `rerank-plugins train` made into the package, with weights in 16 bits.

python models/recipes/ship.py TRAINED models/rerank_plugins_models/NAME BASE

BASE is the public name of the base model: the folder that it was loaded from exists on one machine
only.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

WEIGHTS = ("model.safetensors", "adapter_model.safetensors")
LEFT_OUT = {*WEIGHTS, "README.md", "training.json", "training.lock", "checkpoints"}


def main(source: Path, target: Path, base: str) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.is_file() and path.name not in LEFT_OUT:
            shutil.copy(path, target / path.name)
    for name in WEIGHTS:
        if (source / name).is_file():
            save_file(halved(load_file(source / name)), target / name, {"format": "pt"})
            (target / name).chmod(0o644)
    rename(target, base)


def halved(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert tensors to float16; every score changes by less than its third digit."""
    return {name: tensor.to(torch.float16).contiguous() for name, tensor in tensors.items()}


def rename(target: Path, base: str) -> None:
    """Give the base its public name."""
    path = target / "reranker.json"
    spec = json.loads(path.read_text("utf-8"))
    spec["about"]["base"]["name"] = base
    if "adapter" in spec["backend"]:
        spec["backend"]["model"] = base
        config = target / "adapter_config.json"
        adapter = json.loads(config.read_text("utf-8"))
        config.write_text(json.dumps(adapter | {"base_model_name_or_path": base}, indent=1) + "\n")
    path.write_text(json.dumps(spec, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
