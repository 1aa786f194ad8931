"""Options that several commands share, and what is loaded for their values."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from .._extras import extra
from ..errors import InputError
from ..evaluation import Run, Scores, load_run, load_scores
from ..presets import load_reranker
from ..reranker import Reranker

F = TypeVar("F", bound=Callable[..., Any])

SPECS = (".json", ".yaml", ".yml")
"""The suffixes of a spec file."""

AT_LEAST_ONE = click.IntRange(min=1)

reranker_option = click.option("--reranker", required=True, help="A checkpoint, or a spec file.")
split_option = click.option(
    "--split", default="test", show_default=True, help="The judgements: a split, or a .tsv file."
)
queries_option = click.option("--queries", type=AT_LEAST_ONE, help="Only the first N queries.")


def json_option(prints: str) -> Callable[[F], F]:
    """The option ``--json``, which prints for machines what its help names."""
    return click.option("--json", "as_json", is_flag=True, help=prints)


def named_reranker(name: str, *, strategy: Any = None) -> Reranker:
    """Load the reranker of a spec file, or of a checkpoint where the name has no spec's suffix.

    Args:
        name: The name.
        strategy: A strategy's spec, instead of the reranker's own.

    Raises:
        InputError: The file cannot be read.
        RerankError: The spec is wrong, or no checkpoint has this name.
    """
    if is_spec(name):
        spec = load_spec(name)
        return Reranker.from_spec(spec | {"strategy": strategy} if strategy else spec)
    return load_reranker(name, strategy=strategy)


def is_spec(name: str) -> bool:
    """Whether a name is that of a spec file."""
    return Path(name).suffix in SPECS


def load_spec(path: str) -> dict[str, Any]:
    """Read a spec from a JSON or YAML file.

    Raises:
        InputError: The file cannot be read, or is not a mapping.
        MissingExtraError: It is YAML, and PyYAML is not installed.
    """
    text = read_text(path, "the spec ")
    if Path(path).suffix == ".json":
        found = parse_json(text, repr(path))
    else:
        yaml = extra("yaml", "cli")
        try:
            found = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"{path!r} is not YAML: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path!r} is not a mapping", hint="Give one with strategy and backend.")
    return found


def strategy_spec(given: str) -> Any:
    """The spec of ``--strategy``: a name, or a mapping as JSON or in a spec file.

    Raises:
        InputError: The file cannot be read, or the JSON is wrong.
    """
    if is_spec(given):
        return load_spec(given)
    return parse_json(given, "--strategy") if given.lstrip().startswith("{") else given


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
