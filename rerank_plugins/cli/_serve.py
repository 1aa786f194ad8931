"""``rerank-plugins serve``: a reranker behind HTTP."""

import os
from pathlib import Path
from typing import Any

import click

from ..errors import InputError
from ..presets import DEFAULT_PRESET, is_spec
from ._arguments import (
    chunk_option,
    in_chunks,
    instruction_option,
    named_reranker,
    reranker_label,
    reranker_option,
)

PORT = click.IntRange(min=0, max=65535)


@click.command()
@click.argument("given", metavar="[NAME]", required=False)
@reranker_option
@chunk_option
@instruction_option
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0: every network.")
@click.option("--port", type=PORT, default=8000, show_default=True, help="0: any free one.")
@click.option("--model", help="Its name in requests.  [default: NAME]")
@click.option("--alias", "aliases", multiple=True, help="Another name; may be repeated.")
@click.option("--strict", is_flag=True, help="Refuse requests that name another model.")
@click.option("--page/--no-page", default=True, help="Pages for people: / and /docs.")
@click.option("--api-key-env", metavar="NAME", help="The variable that holds the key.")
@click.option("--api-key-file", metavar="FILE", help="The file that holds the key.")
@click.option("--max-concurrency", default=4, show_default=True, help="Rankings at once.")
@click.option("--max-queue", default=64, show_default=True, help="Requests that may wait.")
@click.option("--timeout", "timeout_s", default=60.0, show_default=True, help="In seconds.")
def serve(
    given: str | None,
    reranker: str | None,
    chunk_words: int | None,
    instruction: str | None,
    host: str,
    port: int,
    model: str | None,
    api_key_env: str | None,
    api_key_file: str | None,
    **limits: Any,
) -> None:
    """Answer /v1/rerank in the shape of Jina's and Cohere's, until SIGTERM or Ctrl-C.

    NAME is that of --reranker, which may be left out. A request's own instruction replaces that of
    --instruction. Without a key, everyone who can reach the
    port may send requests.
    """
    from .. import serving

    if given and reranker:
        raise InputError("give either NAME or --reranker NAME")
    short = reranker_label(reranker or given or DEFAULT_PRESET)
    name = model or (Path(short).stem if is_spec(short) else short)
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
    chosen = in_chunks(named_reranker(reranker or given, instruction=instruction), chunk_words)
    app = serving.create_app(chosen, api_key=key, settings=settings)
    serving.serve(app, host=host, port=port)
