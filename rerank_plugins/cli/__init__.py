"""The command line: ``rerank-plugins``."""

import errno
import sys
from typing import TYPE_CHECKING

from .._extras import extra
from ..errors import RerankError

if TYPE_CHECKING:
    import click

__all__ = ["build", "main"]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main() -> None:
    """Run ``rerank-plugins``.

    Errors of this library, and a standard output that cannot be written, end it with one line
    instead of a traceback.
    """
    try:
        build()()
    except RerankError as error:
        sys.exit(f"rerank-plugins: {error}")
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        sys.exit(f"rerank-plugins: cannot write the output: {error}")


def build() -> "click.Group":
    """The command ``rerank-plugins`` with its subcommands.

    Raises:
        MissingExtraError: ``click`` is not installed.
    """
    extra("click", "cli")
    from ._commands import commands

    return commands
