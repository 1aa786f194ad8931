"""Optional dependencies: imported where they are used, their absence one sentence."""

from importlib import import_module
from types import ModuleType

from .errors import MissingExtraError


def extra(module: str, name: str = "", *, package: str = "", or_extra: str = "") -> ModuleType:
    """Import an optional dependency.

    Args:
        module: The module to import.
        name: The extra of this library that installs it.
        package: The package that installs it, where no extra does.
        or_extra: Another extra that installs it, for GPUs.

    Raises:
        MissingExtraError: It is not installed: the message names the extra. Or it is installed and
            cannot be imported beside another package: the message is the package's own.
    """
    try:
        return import_module(module)
    except ImportError as error:
        if not isinstance(error, ModuleNotFoundError):
            raise MissingExtraError(f"{module} cannot be imported: {error}") from error
        wanted = package or f'"rerank-plugins[{name}]"'
        other = or_extra and f', or for GPUs "rerank-plugins[{or_extra}]"'
        raise MissingExtraError(
            f"{module.partition('.')[0]} is not installed",
            hint=f"Install it with: pip install {wanted}{other}.",
        ) from error
