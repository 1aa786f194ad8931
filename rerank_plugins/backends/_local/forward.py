"""Forward passes of a causal language model over sequences that may begin alike."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..._extras import extra
from ...calls import Reply
from ...errors import BackendError, CallError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@contextmanager
def within_memory(
    replies: dict[int, Reply[Any] | CallError], chosen: Sequence[int], hint: str
) -> Iterator[None]:
    """Compute the replies to calls that run together, without gradients.

    Args:
        replies: Where an error is put for each of the calls if the device runs out of memory.
        chosen: The calls' positions.
        hint: Advice for that error.
    """
    import torch

    try:
        with torch.inference_mode():
            yield
    except torch.OutOfMemoryError:
        for i in chosen:
            replies[i] = BackendError("the device ran out of memory", hint=hint)


@dataclass(frozen=True, slots=True)
class Prefix:
    """The keys and values of the tokens that several sequences begin with.

    Args:
        length: How many tokens.
        layers: Keys and values of each layer, ``(1, heads, length, width)``.
    """

    length: int
    layers: "tuple[tuple[torch.Tensor, torch.Tensor], ...]"


class Forward:
    """A model and how sequences become its tensors."""

    def __init__(self, model: "PreTrainedModel", pad_id: int) -> None:
        self.model: Any = model  # its methods are untyped
        self.pad_id = pad_id
        # transformers 5.24 gave the argument a new name, and the old one warns.
        known = inspect.signature(type(model).forward).parameters
        self._cache_argument = "cache" if "cache" in known else "past_key_values"

    def logits(
        self, rows: Sequence[Sequence[int]], keep: int, prefix: Prefix | None = None
    ) -> "torch.Tensor":
        """Compute the logits of the last ``keep`` positions, in float32.

        Args:
            rows: The tokens of each sequence, the prefix's among them.
            keep: At most the tokens of the shortest sequence after the prefix.
            prefix: The beginning of all of them, already computed.

        Returns:
            ``(rows, keep, vocabulary)``.
        """
        import torch

        if prefix is None:
            inputs = self.inputs(rows)
        else:  # the padding is between the prefix and the rest of a sequence
            ids, place = self._padded([row[prefix.length :] for row in rows])
            seen = place.new_ones((len(rows), prefix.length))
            # A new cache, because the forward pass changes it.
            state = [tuple(x.expand(len(rows), -1, -1, -1) for x in kv) for kv in prefix.layers]
            library = extra("transformers", "transformers")
            inputs = {
                "input_ids": ids,
                "attention_mask": torch.cat([seen, (place >= 0).long()], dim=1),
                "position_ids": prefix.length + place.clamp(min=0),
                self._cache_argument: library.DynamicCache(state, config=self.model.config),
            }
        output = self.model(**inputs, logits_to_keep=keep, use_cache=prefix is not None)
        logits: torch.Tensor = output.logits
        return logits.float()

    def states(self, rows: Sequence[Sequence[int]]) -> "torch.Tensor":
        """Compute the states of the last layer, of a model without a language-model head.

        Returns:
            ``(rows, tokens, width)``, the padding first.
        """
        states: torch.Tensor = self.model(**self.inputs(rows), use_cache=False).last_hidden_state
        return states

    def prefix(self, ids: Sequence[int]) -> Prefix:
        """Compute the beginning of several sequences.

        Raises:
            ValueError: A layer does not keep the keys of every token.
        """
        import torch

        cache = extra("transformers", "transformers").DynamicCache(config=self.model.config)
        tokens = torch.tensor([ids], device=self.model.device)
        # One row of the vocabulary: no logits are needed here.
        self.model(
            input_ids=tokens, use_cache=True, logits_to_keep=1, **{self._cache_argument: cache}
        )
        if any(x.keys is None or x.keys.shape[-2] != len(ids) for x in cache.layers):
            raise ValueError("not every layer keeps the keys of every token")
        return Prefix(len(ids), tuple((layer.keys, layer.values) for layer in cache.layers))

    def inputs(self, rows: Sequence[Sequence[int]], *, positions: bool = True) -> dict[str, Any]:
        """Left-padded tensors on the model's device; no mask where there is no padding."""
        ids, place = self._padded(rows)
        if bool((place[:, 0] == 0).all()):
            return {"input_ids": ids}
        inputs = {"input_ids": ids, "attention_mask": (place >= 0).long()}
        return {**inputs, "position_ids": place.clamp(min=0)} if positions else inputs

    def _padded(self, rows: Sequence[Sequence[int]]) -> "tuple[torch.Tensor, torch.Tensor]":
        """Tokens, and the place of each in its own sequence: negative where it is padding."""
        import torch

        longest = max(map(len, rows))
        filled = [[self.pad_id] * (longest - len(row)) + list(row) for row in rows]
        ids = torch.tensor(filled, device=self.model.device)
        lengths = torch.tensor([[len(row)] for row in rows], device=self.model.device)
        return ids, torch.arange(longest, device=self.model.device)[None] - (longest - lengths)
