"""``rerank-plugins models``: the public checkpoints, and the prompts that they are sent."""

from collections.abc import Mapping
from typing import Any

import click

from ..errors import RerankError
from ..plans import Done, step
from ..presets import find_preset, list_presets, preset_parts, size_of
from ..registry import from_spec
from ..text import Passage
from ._arguments import json_option
from ._terminal import call_text, counted, to_json

EXAMPLE_QUERY = "how long does a flea live"
EXAMPLE_PASSAGES = (
    Passage("Adult fleas live for two to three months.", title="Flea"),
    Passage("Cats sleep for most of the day."),
    Passage("Most eggs hatch within a fortnight."),
)


@click.command()
@click.argument("name", required=False)
@click.option("--show-prompt", is_flag=True, help="Print the exact prompt that an example sends.")
@json_option("Print the list, or the facts about one, as JSON.")
def models(name: str | None, show_prompt: bool, as_json: bool) -> None:
    """List the public checkpoints, or describe one of them.

    Every NAME works with load_reranker(NAME), as --reranker NAME, and as model= of the components;
    with or without its organisation. Weights are in millions or billions (M, B).
    """
    if name is None and show_prompt:
        raise click.UsageError("--show-prompt needs the NAME of a model")
    if as_json:
        if show_prompt:
            raise click.UsageError("give either --show-prompt or --json")
        click.echo(to_json(model_facts(name) if name else model_list()))
    elif name is None:
        click.echo(listing())
    else:
        click.echo(example_prompt(name) if show_prompt else description(name))


def listing() -> str:
    """Every checkpoint with its weights and its description, one on each line."""
    found = list_presets()
    width = max(map(len, found))
    return "\n".join(
        f"{name:<{width}}  {weights_of(name):>6}  {about}" for name, about in found.items()
    )


def weights_of(name: str) -> str:
    """The number of a checkpoint's weights, in millions or billions.

    Examples:
        >>> weights_of("castorini/first_mistral"), weights_of("ms-marco-MiniLM-L6-v2")
        ('7.2 B', '23 M')
    """
    billions = (find_preset(name) or {}).get("billions")
    if billions is None:
        return ""
    return f"{billions:.1f} B" if billions >= 1 else f"{1000 * billions:.0f} M"


def description(name: str) -> str:
    """The facts about a checkpoint, one on each line.

    Raises:
        UnknownNameError: No checkpoint has this name.
    """
    return "\n".join(f"{key:<12} {value}" for key, value in model_facts(name).items())


def model_list() -> dict[str, Any]:
    """The values of `listing`, for JSON."""
    return {
        "models": [{"id": name, "description": about} for name, about in list_presets().items()]
    }


def model_facts(name: str) -> dict[str, Any]:
    """The values of `description`, for JSON.

    Raises:
        UnknownNameError: No checkpoint has this name.
    """
    preset = _preset(name)
    keys = ("id", "description", "size", "licence", "source", "unverified", "strategy", "backend")
    known = {**preset, "size": size_of(preset)}
    return {key: known[key] for key in keys if key in known}


def example_prompt(name: str) -> str:
    """The first call of a checkpoint's strategy for three example passages.

    Chat templates are the model's own unless the preset has one: the text shown is the input of
    the template.

    Raises:
        UnknownNameError: No checkpoint has this name.
        RerankError: The strategy makes no call for three passages.
    """
    preset = _preset(name)
    state = step(from_spec("strategies", preset["strategy"]).rank(EXAMPLE_QUERY, EXAMPLE_PASSAGES))
    if isinstance(state, Done):
        raise RerankError(f"the strategy of {name!r} makes no call for three passages")
    first = call_text(state[0], preset["backend"])
    calls = counted(len(state), "call")
    return f"{calls} for {len(EXAMPLE_PASSAGES)} passages; the first:\n{first}"


def _preset(name: str) -> Mapping[str, Any]:
    preset_parts(name)  # where the name is unknown, this error names the command that lists them
    return find_preset(name) or {}
