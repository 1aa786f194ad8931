"""Rerankers by name: `load_reranker`."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..middleware import Limits
from ..registry import resolve
from ..reranker import OnError, Reranker
from ._names import AnyStrategy, Key, chunked, find_named, refuse_keys

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_PRESET = "rerank-plugins/minilm-late-interaction"
"""The model that `load_reranker` loads by default."""


def load_reranker(
    model: "str | Path | Mapping[str, Any]" = DEFAULT_PRESET,
    *,
    base: "str | Path | None" = None,
    preset: str | None = None,
    strategy: AnyStrategy | None = None,
    base_url: str | None = None,
    api_key: Key = None,
    chunk_words: int | None = None,
    on_error: OnError | None = None,
    limits: Limits | None = None,
    **backend_options: Any,
) -> Reranker:
    """A reranker by its name: one name gives strategy, prompt and backend.

    The model is loaded at the first call.

    Args:
        model: One of these.

            - A checkpoint that `list_presets` knows: its hub id, with or without the organisation.
            - A folder that `rerank_plugins.training.train` made.
            - A ``.gguf`` or ``.onnx`` file, or a folder with a model. A classifier scores pairs
              (``pair-score``), in onnxruntime where there are no other weights than exported ones;
              an encoder of sentence-transformers does so by late interaction;
              a language model, which was trained for something else, ranks by
              ``query-likelihood`` unless ``strategy`` says otherwise.
            - Any hub id, together with ``strategy`` or ``preset``.
            - The address of a server, ``http://localhost:8000/v1``: it is asked for its model now.
            - A spec, or the name of a spec file (``.yaml``, ``.yml``, ``.json``):
              ``{"strategy": ..., "backend": ...}``, or these arguments, ``{"model": ..., ...}``.

            By default the small encoder that ships with the library: late interaction, and the
            places in the retriever's list where its scores say so, as probabilities (`Calibrated`).
        base: The model under an adapter, if it is not the one that the adapter names: a hub id, a
            folder or a ``.gguf`` file.
        preset: The known checkpoint that ``model`` is a copy of: a download, or a fine-tuned one.
        strategy: A strategy or its spec, instead of the checkpoint's. ``"first"`` is FIRST.
        base_url: The OpenAI-compatible server where ``model`` runs, by the name that it has there;
            without ``model``, the server is asked for its model now.
            One that is not a known checkpoint is asked as in FIRST, and its written order is read
            where the server reports no log-probabilities.
        api_key: The server's key, or a function that gives it. Never written into a spec; for one
            from the environment give ``api_key_env="NAME"``.
        chunk_words: For passages that are longer than what the model reads: cut them into chunks of
            so many words, and judge each by its best chunk (`rerank_plugins.strategies.BestChunk`).
        on_error: See `Reranker`; by default what the spec says, else ``"raise"``.
        limits: See `Reranker`.
        **backend_options: Arguments of the backend: ``device``, ``dtype``, ``context_tokens``, ...

    Raises:
        UnknownNameError: The model is not a known checkpoint and no strategy was given.
        InputError: The spec or an option is wrong (``top_k`` is one of `rank`), the folder holds no
            model, or ``base`` was given for a model without an adapter.
        ConfigurationError: Nothing answers at the address, or it has not exactly one model.
        MissingExtraError: The model is one of ``rerank-plugins-models``, which is not installed.
        ModelLoadError: The folder's ``reranker.json`` is damaged.

    Examples:
        >>> reranker = load_reranker("first_mistral", dtype="bfloat16")
        >>> reranker.strategy.inner
        SingleToken(prompt='rankllm-letters.v1', policy='keep_order')
        >>> load_reranker("first_mistral", base_url="http://localhost:8000/v1").backend
        OpenAIBackend('first_mistral', base_url='http://localhost:8000/v1')
    """
    if cut := sorted({"top_k", "top_n"} & set(backend_options)):
        raise InputError(
            f"load_reranker has no {cut[0]}",
            hint="Give it to each ranking: reranker.rank(query, passages, top_k=5).",
        )
    if api_key is not None:
        backend_options["api_key"] = api_key
    if base_url is not None and model == DEFAULT_PRESET:
        model, base_url = base_url, None
    named = find_named(
        model, preset=preset, strategy=strategy, base=base, base_url=base_url, api_key=api_key
    )
    chosen, backend = chunked(named.with_strategy(), chunk_words), named.backend
    if backend_options:
        backend = {"name": backend} if isinstance(backend, str) else backend
        if not isinstance(backend, Mapping):
            raise InputError("options are for a backend that is built here, and this one is")
        own = fields(cls) if is_dataclass(cls := resolve("backends", backend["name"])) else ()
        refuse_keys(backend["name"], backend_options, [field.name for field in own])
        backend = {**backend, **backend_options}
    return Reranker(
        chosen,
        backend,
        on_error=on_error or named.on_error or "raise",
        limits=named.limits if limits is None else limits,
    )
