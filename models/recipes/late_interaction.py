"""Export the encoder of the default reranker into the library.

python models/recipes/late_interaction.py MINILM rerank_plugins/presets/minilm-late-interaction

MINILM is the folder of all-MiniLM-L6-v2, or its hub id.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from huggingface_hub import snapshot_download

from rerank_plugins.backends._onnx.export import export_weights

BASE = "sentence-transformers/all-MiniLM-L6-v2"
BESIDE = (
    "1_Pooling/config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
)
"""How the encoder is read: parts of 256 tokens, and means for the cosine."""


def main(source: str, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        kind, distance = export_weights(source, Path(made), "int8")
        for path in Path(made).iterdir():
            shutil.copyfile(path, target / path.name)
    folder = Path(source) if Path(source).is_dir() else Path(snapshot_download(source))
    for name in BESIDE:
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(folder / name, target / name)
    config = json.loads((target / "config.json").read_text("utf-8"))
    stated = {"_name_or_path": BASE} | config  # what torch loads where onnxruntime is absent
    (target / "config.json").write_text(json.dumps(stated, indent=2) + "\n", "utf-8")
    print(f"{kind}: numbers move by {distance:.1%} of their spread")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
