"""``rerank-plugins models``: what the library knows, and what it would send."""

from collections.abc import Mapping
from typing import Any

from ..calls import Call, Generate, Identifier, Likelihood, NextToken, Prompt, ScorePair
from ..errors import RerankError
from ..plans import Done, step
from ..presets import find_preset, list_presets
from ..registry import from_spec
from ..text import Passage

EXAMPLE_QUERY = "how long does a flea live"
EXAMPLE_PASSAGES = (
    Passage("Adult fleas live for two to three months.", title="Flea"),
    Passage("Cats sleep for most of the day."),
    Passage("Most eggs hatch within a fortnight."),
)


def command() -> Any:
    """``rerank-plugins models``."""
    import click

    @click.command()
    @click.argument("name", required=False)
    @click.option("--show-prompt", is_flag=True, help="Print what would be sent, to the character.")
    def models(name: str | None, show_prompt: bool) -> None:
        """List the public checkpoints, or describe one of them.

        Every NAME works with load_reranker(NAME), and as model= or preset= of the components.
        """
        if name is None and show_prompt:
            raise click.UsageError("--show-prompt needs the NAME of a model")
        if name is None:
            click.echo(listing())
        else:
            click.echo(shown_prompt(name) if show_prompt else described(name))

    return models


def listing() -> str:
    """Every checkpoint with a line about it."""
    found = list_presets()
    width = max(map(len, found))
    return "\n".join(f"{name:<{width}}  {about}" for name, about in found.items())


def described(name: str) -> str:
    """What is known of a checkpoint."""
    preset = _preset(name)
    keys = ("id", "description", "licence", "source", "unverified", "strategy", "backend")
    return "\n".join(f"{key:<12} {preset[key]}" for key in keys if key in preset)


def shown_prompt(name: str) -> str:
    """The first question that a checkpoint's strategy asks about three example passages.

    Chat templates are the model's own, unless the preset brings one: what is printed is what the
    template gets.
    """
    preset = _preset(name)
    state = step(from_spec("strategies", preset["strategy"]).rank(EXAMPLE_QUERY, EXAMPLE_PASSAGES))
    if isinstance(state, Done):
        raise RerankError(f"the strategy of {name!r} asks nothing about three passages")
    return "\n".join(
        [
            f"{len(state)} call(s) for {len(EXAMPLE_PASSAGES)} passages; the first:",
            question(state[0], preset["backend"]),
        ]
    )


def question(call: Call[Any], backend: Mapping[str, Any] | None = None) -> str:
    """A call as people read it.

    Args:
        call: What is asked.
        backend: The spec of what it is asked of, where templates of its own are to be shown.
    """
    spec = backend or {}
    template = spec.get("chat_template")
    lines = [f"--- chat template\n{template}"] if template else []
    match call:
        case NextToken(prompt=prompt, labels=labels):
            lines += [
                _conversation(prompt),
                f"--- which comes next?\n{' '.join(map(repr, labels))}",
            ]
        case Generate(prompt=prompt):
            lines += [_conversation(prompt), f"--- then write\n{_decoding(call)}"]
        case Likelihood(prompt=prompt, continuation=text):
            lines += [_conversation(prompt), f"--- how likely is then\n{text.text}"]
        case ScorePair(query=query, passage=passage):
            pair = (
                spec.get("query_template", "{query}").replace("{query}", query),
                spec.get("passage_template", "{passage}").replace("{passage}", passage),
            )
            lines += [f"--- first text\n{pair[0]}", f"--- second text\n{pair[1]}"]
        case _:
            lines.append(repr(call))
    return "\n".join(lines)


def _conversation(prompt: Prompt) -> str:
    roles = [f"--- {m.role if prompt.chat else 'plain text'}\n{m.text}" for m in prompt.messages]
    begun = "".join(p.text if isinstance(p, Identifier) else p for p in prompt.prefill)
    return "\n".join([*roles, *([f"--- the answer begins\n{begun}"] if begun else [])])


def _decoding(call: Generate) -> str:
    how = (
        "greedily"
        if not call.temperature
        else (f"sampled: temperature {call.temperature}, top_p {call.top_p}, top_k {call.top_k}")
    )
    return f"up to {call.max_tokens} tokens, {how}"


def _preset(name: str) -> Any:
    from ..presets import preset_parts  # raises the error that names the command

    preset_parts(name)
    return find_preset(name)
