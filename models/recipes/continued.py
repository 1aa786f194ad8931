"""Train an adapter further: merge it into its base, and join the two adapters afterwards.

python models/recipes/continued.py merge BASE.gguf ADAPTER FOLDER     # train a second one on FOLDER
python models/recipes/continued.py join ADAPTER SECOND BASE.gguf TARGET   # one adapter of BASE

The sum of two low-rank changes is a change whose rank is the sum of theirs: the factors are put
side by side, so that nothing is lost.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from commands import execute
from peft import PeftModel
from safetensors.torch import load_file, save_file

from rerank_plugins.backends._local.loading import load_language_model

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=("merge", "join"))
    parser.add_argument("paths", type=Path, nargs="+")
    given = parser.parse_args()
    {"merge": merge, "join": join}[given.command](*given.paths)


def merge(base: Path, adapter: Path, target: Path) -> None:
    """Write the base with the adapter's change in its weights."""
    model, tokenizer = load_language_model(str(base), device="cpu", dtype="float32")
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    merged.save_pretrained(target)
    tokenizer.save_pretrained(target)


def join(first: Path, second: Path, base: Path, target: Path) -> None:
    """Write one adapter that changes the base as both do, one after the other."""
    configs = [json.loads((folder / CONFIG).read_text("utf-8")) for folder in (first, second)]
    ranks = [config["r"] for config in configs]
    rank = sum(ranks)
    config = configs[1] | {"r": rank, "lora_alpha": rank, "base_model_name_or_path": str(base)}
    scales = [config["lora_alpha"] / config["r"] for config in configs]
    tensors = [load_file(folder / WEIGHTS) for folder in (first, second)]
    target.mkdir(parents=True, exist_ok=True)
    save_file(joined(tensors, scales), target / WEIGHTS, {"format": "pt"})
    (target / CONFIG).write_text(json.dumps(config, indent=1) + "\n", "utf-8")
    shutil.copy(second / "reranker.json", target)
    spec = json.loads((target / "reranker.json").read_text("utf-8"))
    spec["backend"]["model"] = str(base)
    (target / "reranker.json").write_text(json.dumps(spec, indent=1) + "\n", "utf-8")


def joined(tensors: list[dict[str, torch.Tensor]], scales: list[float]) -> dict[str, torch.Tensor]:
    """The factors side by side; the scale of an adapter goes into its second one."""
    found = {}
    for name in tensors[0]:
        both = [one[name].float() for one in tensors]
        if ".lora_B." in name:
            both = [b * scale for b, scale in zip(both, scales, strict=True)]
        found[name] = torch.cat(both, dim=0 if ".lora_A." in name else 1).contiguous()
    return found


if __name__ == "__main__":
    execute(main)
