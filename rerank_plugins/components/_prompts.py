"""The prompts inside a strategy, for frameworks that let their users change them."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

from ..prompts import AnyPrompt, load_prompt
from ..ranking import Strategy


def find_prompts(strategy: Strategy) -> dict[str, AnyPrompt]:
    """Find the prompts of a strategy and of those inside it, by their place.

    Examples:
        >>> from rerank_plugins.strategies import SingleToken, SlidingWindow
        >>> list(find_prompts(SlidingWindow(inner=SingleToken())))
        ['inner.prompt']
    """
    found: dict[str, AnyPrompt] = {}
    for name, value in _fields(strategy).items():
        if name == "prompt":
            found[name] = load_prompt(value) if isinstance(value, str) else value
        elif is_dataclass(value):
            inside = find_prompts(value)  # type: ignore[arg-type]  # a strategy's parts are strategies
            found |= {f"{name}.{place}": prompt for place, prompt in inside.items()}
    return found


def with_prompt(strategy: Strategy, place: str, prompt: AnyPrompt) -> Strategy:
    """Exchange a strategy's prompt in a place that `find_prompts` named.

    Raises:
        ConfigurationError: The strategy needs a prompt of another kind.
    """
    name, _, rest = place.partition(".")
    new: Any = with_prompt(_fields(strategy)[name], rest, prompt) if rest else prompt
    return replace(strategy, **{name: new})  # type: ignore[type-var]


def _fields(strategy: object) -> dict[str, Any]:
    if not is_dataclass(strategy):
        return {}
    return {f.name: getattr(strategy, f.name) for f in fields(strategy) if f.init}
