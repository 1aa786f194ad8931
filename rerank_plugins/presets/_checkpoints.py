"""Public checkpoints by hub id: the strategy, the exact prompt and the backend of each."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from .._checks import nearest_of
from .._shipped import package_folder
from ..errors import UnknownNameError
from ._folder import is_saved, saved_parts
from ._foreign import refuse_foreign


def find_preset(model: str) -> Mapping[str, Any] | None:
    """The preset of a checkpoint or of a folder with a trained reranker; None if it is neither.

    A checkpoint goes by its hub id, with or without the organisation, and in any case. Its keys:
    ``id``, ``description``, ``licence``, ``source``, ``billions`` (of weights), the specs
    ``strategy`` and ``backend``, and ``unverified`` where something could not be checked against a
    source.

    Examples:
        >>> find_preset("castorini/first_mistral")["strategy"]["size"]
        20
        >>> find_preset("bge-reranker-v2-m3")["id"]
        'BAAI/bge-reranker-v2-m3'
        >>> find_preset("gpt2") is None
        True
    """
    known = _presets().get(model.lower())
    if (known is not None and not Path(model).is_dir()) or not is_saved(model):
        return known
    strategy, backend = saved_parts(model)
    return {"id": model, "description": "trained here", "strategy": strategy, "backend": backend}


def list_presets() -> dict[str, str]:
    """The checkpoints that `load_reranker` knows by name, each with one line about it."""
    return {spec["id"]: spec["description"] for n, spec in _presets().items() if "/" in n}


def preset_parts(name: str, model: str | None = None) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The specs of a checkpoint's strategy and backend.

    Args:
        name: A name that `find_preset` knows, or a folder with a trained reranker.
        model: What the backend loads instead of that checkpoint: a hub id, a folder or a file.

    Raises:
        UnknownNameError: There is no such preset.
        MissingExtraError: The checkpoint is in ``rerank-plugins-models``, which is not installed.
    """
    spec = find_preset(name)
    if spec is None:
        refuse_foreign(name)
        raise UnknownNameError(
            f"there is no preset {name!r}",
            hint=f"{nearest_of(name, list_presets())} `rerank-plugins models` lists all.",
        )
    backend = {"name": "transformers", "model": spec["id"], **spec["backend"]}
    if "package" in spec:
        package_folder(spec["package"], spec["id"])  # an error now and not when it is loaded
        backend[spec["package_holds"]] = spec["id"]
    return spec["strategy"], backend | ({} if model is None else {"model": model})


def size_of(preset: Mapping[str, Any]) -> str:
    """The size of a checkpoint in words: its weights, and their bytes in 16 bits.

    Examples:
        >>> size_of(find_preset("first_mistral"))
        '7.2 billion weights, 14.5 GB in 16 bits'
        >>> size_of(find_preset("ms-marco-MiniLM-L6-v2"))
        '23 million weights, 45 MB in 16 bits'
    """
    billions = preset.get("billions")
    if billions is None:
        return "of unknown size"
    large = billions >= 1
    weights = f"{billions:.1f} billion" if large else f"{1000 * billions:.0f} million"
    room = f"{2 * billions:.1f} GB" if billions >= 0.5 else f"{2000 * billions:.0f} MB"
    return f"{weights} weights, {room} in 16 bits"


@lru_cache
def _presets() -> dict[str, dict[str, Any]]:
    import tomllib  # imported here, like the next: a tenth of the library's import time
    from importlib import resources

    source = resources.files(__package__).joinpath("checkpoints.toml").read_text("utf-8")
    named = {name: {"id": name, **spec} for name, spec in tomllib.loads(source).items()}
    full = {a.lower(): s for n, s in named.items() for a in (n, *s.get("aliases", ()))}
    return {name.rpartition("/")[2]: spec for name, spec in full.items()} | full
