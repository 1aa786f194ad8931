"""``rerank-plugins serve``: a reranker behind HTTP."""

import os
from pathlib import Path
from typing import Any

from ..errors import InputError
from ._specs import is_spec, named_reranker


def command() -> Any:
    """``rerank-plugins serve``."""
    import click

    @click.command()
    @click.argument("reranker")
    @click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0: every network.")
    @click.option("--port", default=8000, show_default=True, help="0: any free one.")
    @click.option("--model", help="Its name in requests.  [default: RERANKER]")
    @click.option("--alias", "aliases", multiple=True, help="Another name; may be repeated.")
    @click.option("--api-key-env", metavar="NAME", help="The variable that holds the key.")
    @click.option("--api-key-file", metavar="FILE", help="The file that holds the key.")
    @click.option("--max-concurrency", default=4, show_default=True, help="Rankings at once.")
    @click.option("--max-queue", default=64, show_default=True, help="Requests that may wait.")
    @click.option("--timeout", "timeout_s", default=60.0, show_default=True, help="In seconds.")
    def serve(
        reranker: str,
        host: str,
        port: int,
        model: str | None,
        api_key_env: str | None,
        api_key_file: str | None,
        **limits: Any,
    ) -> None:
        """Answer /v1/rerank in the shape of Jina's and Cohere's, until SIGTERM or Ctrl-C.

        RERANKER is a spec (a .json, .yaml or .yml file) or a checkpoint that `rerank-plugins
        models` lists. Without a key, whoever reaches the port may ask.
        """
        from .. import serving

        name = model or (Path(reranker).stem if is_spec(reranker) else reranker)
        settings = serving.ServiceSettings(model=name, **limits)
        key = _key(api_key_env, api_key_file)
        app = serving.create_app(named_reranker(reranker), api_key=key, settings=settings)
        serving.serve(app, host=host, port=port)

    return serve


def _key(variable: str | None, file: str | None) -> str | None:
    """The key; on the command line itself every user of the machine could read it.

    Raises:
        InputError: There is none where it should be.
    """
    if variable and file:
        raise InputError("give --api-key-env or --api-key-file, not both")
    if variable:
        if variable not in os.environ:
            raise InputError(f"--api-key-env: there is no variable {variable!r}")
        return os.environ[variable]
    if file:
        try:
            return Path(file).read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            raise InputError(f"--api-key-file: cannot read {file!r}") from error
    return None
