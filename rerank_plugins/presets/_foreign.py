"""Checkpoints that users ask for by name, and that run only with code of their own."""

from collections.abc import Mapping
from typing import NamedTuple

from ..errors import UnknownNameError


class Foreign(NamedTuple):
    """A checkpoint that stock transformers cannot run.

    Attributes:
        needs: What its own code does.
        instead: Checkpoints that run here.
        served: A server that runs it and gives its scores; empty where none is known.
    """

    needs: str
    instead: str
    served: str = ""


# Sources: the configurations in FlagOpen/FlagEmbedding and NVIDIA-NeMo/Automodel; vLLM's list of
# supported cross-encoders; of Nemotron-3.5, its description alone.
FOREIGN: Mapping[str, Foreign] = {
    "BAAI/bge-reranker-v2-minicpm-layerwise": Foreign(
        "a score after every layer of MiniCPM", "bge-reranker-v2-gemma or bge-reranker-v2-m3"
    ),
    "BAAI/bge-reranker-v2.5-gemma2-lightweight": Foreign(
        "a score after every layer of Gemma 2, of merged tokens",
        "bge-reranker-v2-gemma or bge-reranker-v2-m3",
    ),
    "nvidia/llama-nemotron-rerank-1b-v2": Foreign(
        "a Llama whose tokens attend to those after them",
        "Qwen3-Reranker-0.6B or zerank-1-small",
        "vLLM (with its template nemotron-rerank.jinja)",
    ),
    "nvidia/Nemotron-3.5-Rerank-8B-BF16": Foreign(
        "a Mistral 3 whose tokens attend to those after them", "Qwen3-Reranker-8B or ERank-4B"
    ),
    "Alibaba-NLP/gte-multilingual-reranker-base": Foreign(
        "an encoder of its own", "bge-reranker-v2-m3 or gte-reranker-modernbert-base", "vLLM"
    ),
}
"""Checkpoints by hub id."""

_ALIASES = {"nvidia/nemotron-3.5-rerank-8b": "nvidia/Nemotron-3.5-Rerank-8B-BF16"}


def is_foreign(model: str) -> bool:
    """Whether a name is one of these, with or without its organisation, in any case.

    Examples:
        >>> is_foreign("bge-reranker-v2-minicpm-layerwise"), is_foreign("bge-reranker-v2-m3")
        (True, False)
    """
    return _named(model) is not None


def refuse_foreign(model: str) -> None:
    """Refuse one of these, where it would have to be loaded.

    Raises:
        UnknownNameError: It is one of these; the hint has what to use instead.
    """
    if (name := _named(model)) is None:
        return
    found = FOREIGN[name]
    served = f"Run it on {found.served} and give base_url=, or use" if found.served else "Use"
    raise UnknownNameError(
        f"{model!r} needs the code that comes with it ({found.needs}), and no model's code is run "
        "here",
        hint=f"{served} {found.instead}.",
    )


def _named(model: str) -> str | None:
    """The hub id of one of these; None for another name."""
    ids = {name.lower(): name for name in FOREIGN} | _ALIASES
    short = {full.rpartition("/")[2]: name for full, name in ids.items()}
    return (short | ids).get(model.lower())
