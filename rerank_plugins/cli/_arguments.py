"""Options that several commands share, and what is loaded for their values."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from ..errors import InputError
from ..evaluation import Run, Scores, load_run, load_scores
from ..presets import DEFAULT_PRESET, is_address, is_spec, load_reranker, load_spec
from ..reranker import Reranker
from ..strategies import with_chunks

F = TypeVar("F", bound=Callable[..., Any])

NAME_HELP = "A checkpoint, a folder, a model file, a server's URL, a spec file, or a spec as JSON."
"""What `--reranker` takes, in every command."""

AT_LEAST_ONE = click.IntRange(min=1)

RERANKER_HELP = f"{NAME_HELP}  [default: {DEFAULT_PRESET}]"
reranker_option = click.option("--reranker", metavar="NAME", help=RERANKER_HELP)
chunk_option = click.option(
    "--chunk-words",
    type=AT_LEAST_ONE,
    help="Judge longer passages by their best chunk of so many words.",
)
instruction_option = click.option(
    "--instruction",
    metavar="TEXT",
    help="What relevance means, where the prompt has a place for it.",
)
split_option = click.option(
    "--split", default="test", show_default=True, help="The judgements: a split, or a .tsv file."
)
queries_option = click.option("--queries", type=AT_LEAST_ONE, help="Only the first N queries.")


def json_option(prints: str) -> Callable[[F], F]:
    """The option ``--json``, which prints for machines what its help names."""
    return click.option("--json", "as_json", is_flag=True, help=prints)


def named_reranker(
    name: str | None = None, *, strategy: Any = None, instruction: str | None = None
) -> Reranker:
    """Load a reranker by its name; the default one, and a line that says so, without a name.

    Args:
        name: A name as of `rerank_plugins.load_reranker`, or a spec as JSON.
        strategy: A strategy's spec, instead of the reranker's own.
        instruction: What relevance means, instead of the prompt's own words.

    Raises:
        InputError: The spec cannot be read, or is wrong, or the instruction has no place in it.
        RerankError: See `rerank_plugins.load_reranker`.
    """
    if name is None:
        click.echo(f"without --reranker, {DEFAULT_PRESET} ranks", err=True)
        name = DEFAULT_PRESET
    given = parse_json(name, "--reranker") if is_json(name) else name
    loaded = load_reranker(given, strategy=strategy)
    return loaded if instruction is None else loaded.with_instruction(instruction)


def in_chunks(reranker: Reranker, words: int | None) -> Reranker:
    """The same reranker on chunks of so many words; itself when None."""
    if words is None:
        return reranker
    strategy = with_chunks(reranker.strategy, words)
    return Reranker(strategy, reranker.backend, on_error=reranker.on_error, limits=reranker.limits)


def is_json(text: str) -> bool:
    """Whether the value of an option is a mapping as JSON, and not a name."""
    return text.lstrip().startswith("{")


def reranker_label(name: str) -> str:
    """A name of a reranker, short enough for tables and files, of what has none by itself.

    Examples:
        >>> reranker_label("http://localhost:8000/v1"), reranker_label('{"model": "a/b"}')
        ('localhost-8000', 'a/b')
        >>> reranker_label("castorini/first_mistral")
        'castorini/first_mistral'
    """
    if is_address(name):
        return urlsplit(name).netloc.replace(":", "-")
    if is_json(name):
        spec = parse_json(name, "--reranker")
        return str(spec.get("model", "reranker"))
    return name


def strategy_spec(given: str) -> Any:
    """The spec of ``--strategy``: a name, or a mapping as JSON or in a spec file.

    Raises:
        InputError: The file cannot be read, or the JSON is wrong.
    """
    if is_spec(given):
        return load_spec(given)
    return parse_json(given, "--strategy") if is_json(given) else given


def read_text(path: str, kind: str = "") -> str:
    """Read a file of UTF-8.

    Args:
        path: The file.
        kind: Stands before its name in the message, such as ``"the spec "``.

    Raises:
        InputError: It cannot be read, or is not UTF-8.
    """
    try:
        return Path(path).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {kind}{path!r}: {error}") from error


def parse_json(text: str, name: str) -> Any:
    """Parse JSON.

    Args:
        text: The JSON.
        name: The option or file that it comes from, for messages.

    Raises:
        InputError: It is not JSON.

    Examples:
        >>> parse_json('{"name": "pointwise"}', "--strategy")
        {'name': 'pointwise'}
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is not JSON: {error}") from error


def load_first_stage(path: str) -> tuple[Run, Scores | None]:
    """A run and its scores, higher is better.

    Scores that rise along the ranks of every query are distances, and are negated. The scores are
    None where neither they nor distances order the documents. A message says so in both cases.

    Raises:
        InputError: The run cannot be read.
    """
    try:
        scores = load_scores(path)
    except InputError as error:
        run = load_run(path)
        try:
            scores = load_scores(path, distances=True)
        except InputError:
            click.echo(f"{error}; they are left out", err=True)
            return run, None
        click.echo(f"the scores in {path} rise along the ranks: they are distances", err=True)
    return {query: list(found) for query, found in scores.items()}, scores
