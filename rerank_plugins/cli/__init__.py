"""The command line: ``rerank-plugins``."""

import errno
import sys
from typing import Any

from ..errors import MissingExtraError, RerankError


def main() -> None:
    """Run ``rerank-plugins``.

    Errors of the library, and a standard output that takes no more, end it with one line, without
    a traceback.
    """
    try:
        command = build()
    except MissingExtraError as error:
        sys.exit(f"rerank-plugins: {error}")
    try:
        command()
    except RerankError as error:
        sys.exit(f"rerank-plugins: {error}")
    except OSError as error:
        if error.errno not in _FULL:
            raise
        sys.exit(f"rerank-plugins: cannot write the output: {error}")


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def build() -> Any:
    """The command with its subcommands.

    Raises:
        MissingExtraError: ``click`` is not installed.
    """
    try:
        import click
    except ImportError as error:
        raise MissingExtraError(
            "click is not installed", hint='Install it with: pip install "rerank-plugins[cli]".'
        ) from error
    from . import (
        _bench as bench,
    )
    from . import (
        _compare as compare,
    )
    from . import (
        _evaluate as evaluate,
    )
    from . import (
        _explain as explain,
    )
    from . import (
        _feedback as feedback,
    )
    from . import (
        _models as models,
    )
    from . import (
        _rank as rank,
    )
    from . import (
        _ray as batch,
    )
    from . import (
        _serve as serve,
    )
    from . import (
        _train as train,
    )

    @click.group(help="LLM reranking for retrieval-augmented generation.")
    @click.version_option(package_name="rerank-plugins")
    def command() -> None:
        pass

    for module in (rank, evaluate, compare, explain, bench, models, feedback, batch, serve, train):
        command.add_command(module.command())
    return command
