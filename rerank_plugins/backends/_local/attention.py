"""The attention that a query pays to the passages before it, read from a causal model's layers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...calls import Attend, PassageAttention, Reply
from ...errors import CallError, ConfigurationError, ModelOutputError, UnsupportedCallError
from .._prompts.renderer import Encoded, Renderer
from .forward import Forward, Prefix

if TYPE_CHECKING:
    import torch

Span = tuple[int, int]
"""The first token, and the one after the last."""


@dataclass(frozen=True, slots=True)
class Attended:
    """An `Attend` call as the model sees it: the same passages with two queries.

    Args:
        call: The call.
        encoded: The prompt with the query, and with the one without content.
        passages: The tokens of each passage and its label.
        queries: The tokens after the passages, in both prompts.
    """

    call: Attend
    encoded: tuple[Encoded, Encoded]
    passages: Sequence[Span]
    queries: tuple[Span, Span]

    @classmethod
    def prepare(cls, call: Attend, renderer: Renderer) -> "Attended":
        """Encode a call.

        Raises:
            CallError: The query does not stand after the passages, or these are not found.
        """
        asked, passages, start = renderer.passages(call.prompt)
        plain, _, other = renderer.passages(call.calibrated)
        queries = ((start, len(asked.ids)), (other, len(plain.ids)))
        return cls(call, (asked, plain), passages, queries)

    @property
    def tokens(self) -> int:
        """Tokens of the longer prompt."""
        return max(len(encoded.ids) for encoded in self.encoded)

    @property
    def shared(self) -> int:
        """Tokens that both prompts begin with, all passages among them."""
        first, second = (encoded.ids for encoded in self.encoded)
        most = min(start for start, _ in self.queries)
        return next((i for i in range(most) if first[i] != second[i]), most)

    def reply(self, forward: Forward, shareable: int) -> Reply[PassageAttention] | CallError:
        """Read the passages once and then both queries.

        Args:
            forward: The model.
            shareable: Tokens of the longest prompt whose beginning may be computed once.

        Raises:
            UnsupportedCallError: The model has layers without attention.
            ConfigurationError: It has no such head.
        """
        stop = max((stop for _, stop in self.passages), default=0)
        shared = self.shared if self.tokens <= shareable else 0
        prefix = forward.prefix(self.encoded[0].ids[:shared]) if shared else None
        read = _Sum(self.call.heads, stop, each=self.call.each_head)
        for sign, encoded, query in zip((1, -1), self.encoded, self.queries, strict=True):
            layers = _attended(forward, encoded.ids, query, prefix, read.adding(sign))
            if layers < forward.model.config.get_text_config().num_hidden_layers:
                raise UnsupportedCallError(
                    f"{type(forward.model).__name__} has layers without attention weights",
                    hint="Use a model whose layers are all of attention, or another strategy.",
                )
        try:
            answer = read.answer(self.passages)
        except CallError as error:
            return error
        cost = sum(len(encoded.ids) for encoded in self.encoded) - shared
        cut = sorted({i for encoded in self.encoded for i in encoded.truncated})
        return Reply(answer, cost, 0, tuple(cut))


@dataclass(slots=True)
class _Sum:
    """Attention to the first tokens of a prompt, summed over the heads that count.

    Args:
        heads: Layer and head of those that count; all when empty.
        tokens: How many tokens.
        each: Whether every head's own is kept.
    """

    heads: Sequence[tuple[int, int]]
    tokens: int
    each: bool
    total: Any = 0
    own: dict[int, Any] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)

    def adding(self, sign: int) -> "Callable[[int, torch.Tensor], None]":
        """A function that adds a layer's attention, ``(heads, all tokens)``, by its number."""

        def add(layer: int, weights: "torch.Tensor") -> None:
            found = sign * weights[:, : self.tokens].cpu()
            self.sizes[layer] = len(found)
            if self.each:
                self.own[layer] = found + self.own.get(layer, 0)
            chosen = [head for n, head in self.heads if n == layer and head < len(found)]
            self.total = self.total + (found[chosen] if self.heads else found).sum(0)

        return add

    def answer(self, passages: Sequence[Span]) -> PassageAttention:
        """The values of each passage.

        Raises:
            ConfigurationError: The model has no such head.
            ModelOutputError: A value is not a number.
        """
        if absent := [(n, head) for n, head in self.heads if head >= self.sizes.get(n, 0)]:
            raise ConfigurationError(
                f"the model has no head {absent[0][0]}-{absent[0][1]}: it has {len(self.sizes)} "
                f"layers of {max(self.sizes.values())} heads",
                hint="Another model has other heads: find them with `rerank-plugins heads`.",
            )
        [whole] = _by_passage(self.total[None], passages)
        own = [_by_passage(self.own[layer], passages) for layer in sorted(self.own)]
        if any(value != value for value in whole):
            raise ModelOutputError("the attention is not a number", hint="Try dtype='float32'.")
        return PassageAttention(tuple(whole), tuple(tuple(map(tuple, rows)) for rows in own))


def _by_passage(values: "torch.Tensor", passages: Sequence[Span]) -> list[list[float]]:
    """Each row summed over every passage, without the tokens far below the passage's mean."""
    columns = []
    for start, stop in passages:
        tokens = values[:, start:stop]
        if stop - start > 1:
            limit = tokens.mean(1, keepdim=True) - 2 * tokens.std(1, keepdim=True)
            tokens = tokens * ((tokens > limit) | (tokens == tokens.amax(1, keepdim=True)))
        columns.append(tokens.sum(1).tolist())
    return [list(row) for row in zip(*columns, strict=True)]


def _attended(
    forward: Forward,
    ids: Sequence[int],
    query: Span,
    prefix: Prefix | None,
    take: "Callable[[int, torch.Tensor], None]",
) -> int:
    """Run a prompt, and give away each layer's mean attention of the query's tokens.

    A layer's weights are reduced to one row a head before the next layer runs, and after a prefix
    they are those of the remaining tokens alone.

    Returns:
        How many layers there were.
    """
    before = 0 if prefix is None else prefix.length
    start, stop = query[0] - before, query[1] - before
    seen = list[int]()

    def reduce(module: Any, _inputs: Any, output: Any) -> Any:
        weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        if weights is None or getattr(weights, "ndim", 0) != 4:
            return output
        seen.append(module.layer_idx)
        take(module.layer_idx, weights[0, :, start:stop].float().mean(1))
        return (output[0], None, *output[2:])

    with _eager(forward.model), _hooked(forward.model, reduce):
        forward.logits([ids], keep=1, prefix=prefix)
    return len(set(seen))


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    """Let the model compute attention in the one way that has weights to read.

    Raises:
        UnsupportedCallError: It has no such way.
    """
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation("eager")
    except (AttributeError, ImportError, ValueError) as error:
        raise UnsupportedCallError(
            f"{type(model).__name__} has no attention weights to read ({error})",
            hint="Use another model or another strategy.",
        ) from error
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def _hooked(model: Any, hook: Callable[..., Any]) -> Iterator[None]:
    """Call ``hook`` after every layer's attention."""
    modules = [module for module in model.modules() if hasattr(module, "layer_idx")]
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
