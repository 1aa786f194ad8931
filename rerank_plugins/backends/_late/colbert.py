"""ColBERT and its relatives, through sentence-transformers' multi-vector encoder.

The library knows what each was trained with: the markers of queries and passages, the masks that
expand a query, and the words that are skipped.
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from ..._extras import extra
from ...errors import BackendError, ModelLoadError
from .._local.loading import chosen_device, chosen_dtype, quiet
from .._prompts.renderer import Renderer
from .encoding import Encoded, Role, in_parts, unit
from .torch_encoder import tokenizer_digest, unloadable, weights_digest

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

_SEAMS = 2
"""Tokens that a part of a text may grow by where it was cut."""


class ColBERTEncoder:
    """A `TokenEncoder` of a multi-vector encoder.

    Args:
        model: The loaded model.
        max_tokens: Tokens of a passage that are read, without markers and special tokens.
        part_tokens: Tokens of a part, with them; the model's own document length when None.

    Raises:
        ModelLoadError: Its tokenizer does not tell where in a text its tokens are.
    """

    def __init__(
        self, model: "MultiVectorEncoder", *, max_tokens: int, part_tokens: int | None
    ) -> None:
        self._model = cast(Any, model)  # its keyword arguments are untyped
        self._max_tokens = max_tokens
        self._renderer = Renderer(model.tokenizer)
        if not model.tokenizer.is_fast:
            raise ModelLoadError(
                f"the tokenizer {type(model.tokenizer).__name__} does not tell where in a text its "
                "tokens are",
                hint="Use a checkpoint with a tokenizer.json.",
            )
        stated = (self._model[0].document_length, self._model.max_seq_length)
        own = next((int(n) for n in stated if n), int(model.tokenizer.model_max_length))
        self._part_tokens = min(part_tokens or own, own)

    @cached_property
    def key(self) -> str:
        """See `TokenEncoder`."""
        model = self._model
        recipe: list[Any] = [getattr(module, "get_config_dict", dict)() for module in model]
        stated = (
            "colbert-1",
            weights_digest(model),
            tokenizer_digest(model.tokenizer),
            sorted(model.prompts.items()),
            [sorted(values.items()) for values in recipe],
            (self._max_tokens, self._part_tokens),
        )
        return hashlib.sha256(repr(stated).encode()).hexdigest()

    @property
    def dim(self) -> int:
        """See `TokenEncoder`."""
        return int(self._model.get_embedding_dimension())

    def encode(self, texts: Sequence[str], role: Role) -> list[Encoded]:
        """See `TokenEncoder`.

        A query is cut where the model cuts it. A passage is read in parts.
        """
        safe = [self._renderer.escape(text) for text in texts]
        if role == "query":
            encode, cuts = self._model.encode_query, [([text], self._over(text)) for text in safe]
        else:
            encode, cuts = self._model.encode_document, [self._parts(text) for text in safe]
        parts = [part for own, _ in cuts for part in own]
        found = iter(zip(*self._rows(encode, parts), strict=True))
        encoded = []
        for own, cut in cuts:
            rows, read = zip(*(next(found) for _ in own), strict=True)
            encoded.append(Encoded(unit(rows), sum(read), cut))
        return encoded

    def _rows(self, encode: Any, texts: Sequence[str]) -> tuple[list[Any], list[int]]:
        """The vectors that count of each text, and the number of tokens that were read."""
        import torch

        # On a CPU, padding saves no time and moves the vectors.
        together = 1 if torch.device(self._model.device).type == "cpu" else len(texts)
        options = {"output_value": None, "show_progress_bar": False, "batch_size": together}
        try:
            found = encode(list(texts), **options)
        except torch.OutOfMemoryError as error:
            raise BackendError(
                "the device ran out of memory", hint="Lower batch_size or max_tokens."
            ) from error
        padding = self._model.tokenizer.pad_token_id
        rows, read = list[Any](), list[int]()
        for one in found:
            counts = one["attention_mask"].bool()
            rows.append(one["token_embeddings"][counts].float().cpu().numpy())
            read.append(int((counts | (one["input_ids"] != padding)).sum()))
        return rows, read

    def _parts(self, text: str) -> tuple[list[str], bool]:
        """The parts of a passage, and whether its end was cut."""
        places = self._places(text)
        read = places[: self._max_tokens]
        size = max(1, self._part_tokens - self._around("document") - _SEAMS)
        if len(places) <= min(size, self._max_tokens):
            return [text], False
        cuts = in_parts(range(len(read)), size)
        return [text[read[c[0]][0] : read[c[-1]][1]] for c in cuts], len(read) < len(places)

    def _over(self, text: str) -> bool:
        """Whether the model cuts a query."""
        module = self._model[0]
        expansion = module.query_expansion or {}
        fixed = expansion.get("length") if expansion.get("strategy") == "fixed" else None
        room = fixed or module.query_length or self._model.max_seq_length
        return room is not None and len(self._places(text)) + self._around("query") > room

    def _around(self, task: str) -> int:
        """The tokens of an empty text: markers and special tokens."""
        prompt = self._model.prompts.get(task) or ""
        tokenizer = self._model.tokenizer
        return len(tokenizer(prompt, verbose=False)["input_ids"])

    def _places(self, text: str) -> list[tuple[int, int]]:
        """The start and the end of each token in a text."""
        tokenizer = self._model.tokenizer
        options = {"add_special_tokens": False, "verbose": False}
        return list(tokenizer(text, return_offsets_mapping=True, **options)["offset_mapping"])


def load_colbert(
    name: str, *, device: str, dtype: str, revision: str | None, token: str | None
) -> "MultiVectorEncoder":
    """Load a checkpoint that states that it is one.

    Raises:
        MissingExtraError: sentence-transformers is not installed, or has no such encoder.
        ConfigurationError: ``dtype`` or ``device`` is not known.
        ModelLoadError: The files are missing or damaged.
    """
    extra("torch", "transformers")
    transformers = extra("transformers", "transformers")
    library = extra("sentence_transformers", "cross-encoder")
    place = chosen_device(device)
    weights = {"use_safetensors": True, "dtype": chosen_dtype(dtype, place)}
    try:
        with quiet(transformers):
            found: MultiVectorEncoder = library.MultiVectorEncoder(
                name,
                device=place,
                trust_remote_code=False,
                model_kwargs=weights,
                revision=revision,
                token=token,
            )
    except Exception as error:
        raise unloadable(name, error) from error
    return found
