"""Instructions: what relevance means for one request."""

from .._checks import not_blank
from ..errors import InputError
from ..prompts import EmbeddingPrompt, PointwisePrompt, load_prompt
from ..ranking import Strategy
from ._keep_order import map_inner

_HINT = "Leave it out, or use a checkpoint that takes one: the table of checkpoints says which do."


def instructed(strategy: Strategy, instruction: str) -> Strategy:
    """The strategy with an instruction where it, or one that it holds, has a place for one.

    Strategies are frozen, so an instruction for one request makes a copy. The copy equals the
    strategy that was made with the instruction, and so do its calls: nothing else has to know of
    instructions, neither what holds strategies, nor backends, caches and records of calls. In a
    cascade whose first stage has no place for it, the second stage gets it.

    Args:
        strategy: Any strategy. One that takes an instruction has a method ``with_instruction``,
            which returns a copy; or the strategy itself, where its prompt has no place for one.
        instruction: What relevance means.

    Raises:
        InputError: The instruction is blank or not a string, or there is no place for it.

    Examples:
        >>> from rerank_plugins.strategies import Head, PairScore, Pointwise
        >>> instructed(Head(Pointwise()), "Find code.").inner.instruction
        'Find code.'
        >>> instructed(PairScore(), "Find code.")
        Traceback (most recent call last):
        rerank_plugins.errors.InputError: PairScore has no place for an instruction. Leave it ...
    """
    not_blank(instruction=instruction)
    copies: dict[int, Strategy] = {}  # by the identity of the strategy: one that is held twice
    takers = 0

    def instruct(held: Strategy) -> Strategy:
        nonlocal takers
        if id(held) not in copies:
            copies[id(held)] = held  # while it is looked into: it may hold itself
            own = getattr(type(held), "with_instruction", None)
            found: Strategy = held if own is None else own(held, instruction)
            takers += found is not held
            copies[id(held)] = map_inner(found, instruct)
        return copies[id(held)]

    copy = instruct(strategy)
    if not takers:
        name = type(strategy).__name__
        raise InputError(f"{name} has no place for an instruction", hint=_HINT)
    return copy


def check_instruction(
    prompt: str | PointwisePrompt | EmbeddingPrompt, instruction: str | None
) -> None:
    """Refuse an instruction that is blank, not a string, or has no place in the prompt."""
    if instruction is None:
        return
    not_blank(instruction=instruction)
    found = load_prompt(prompt) if isinstance(prompt, str) else prompt
    if not getattr(found, "takes_instruction", False):
        named = f" {prompt!r}" if isinstance(prompt, str) else ""
        raise InputError(f"the prompt{named} has no place for an instruction", hint=_HINT)
