"""``rerank-plugins serve``: a reranker behind HTTP."""

import os
from pathlib import Path
from typing import Any

import click

from ..errors import InputError
from ._arguments import is_spec, named_reranker


@click.command()
@click.argument("reranker")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0: every network.")
@click.option("--port", default=8000, show_default=True, help="0: any free one.")
@click.option("--model", help="Its name in requests.  [default: RERANKER]")
@click.option("--alias", "aliases", multiple=True, help="Another name; may be repeated.")
@click.option("--strict", is_flag=True, help="Refuse requests that name another model.")
@click.option("--page/--no-page", default=True, help="Pages for people: / and /docs.")
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

    RERANKER is a spec (a .json, .yaml or .yml file) or a checkpoint that `rerank-plugins models`
    lists. Without a key, everyone who can reach the port may send requests.
    """
    from .. import serving

    name = model or (Path(reranker).stem if is_spec(reranker) else reranker)
    settings = serving.ServiceSettings(model=name, **limits)
    # A key on the command line could be read by every user of the machine.
    if api_key_env and api_key_file:
        raise InputError("give --api-key-env or --api-key-file, not both")
    if api_key_env and api_key_env not in os.environ:
        raise InputError(f"--api-key-env: there is no variable {api_key_env!r}")
    key = os.environ[api_key_env] if api_key_env else None
    if api_key_file:
        try:
            key = Path(api_key_file).read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            raise InputError(f"--api-key-file: cannot read {api_key_file!r}") from error
    app = serving.create_app(named_reranker(reranker), api_key=key, settings=settings)
    serving.serve(app, host=host, port=port)
