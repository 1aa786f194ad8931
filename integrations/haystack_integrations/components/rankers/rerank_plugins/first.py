# SPDX-License-Identifier: Apache-2.0
"""`FirstRanker`: one forward pass orders a window."""

from typing import Any

from haystack import component
from haystack.components.generators.chat.types import ChatGenerator
from haystack.utils import ComponentDevice, Secret

from rerank_plugins.components import FIRST_MODEL, AnyBackend, first_strategy, usual_policy
from rerank_plugins.strategies import Policy

from ._base import HF_TOKEN, Ranker


@component
class FirstRanker(Ranker):
    """Ranks documents with FIRST: one forward pass orders a window, and no text is generated.

    The order of a window is that of the log-probabilities of its passages' identifiers in the
    model's next token; lists longer than a window are sorted by windows that slide from the bottom
    to the top. Scores are those log-probabilities (``score_kind="logprob"``) for lists that fit one
    window, else reciprocal ranks (``score_kind="rank"``), to which ``score_threshold`` is not
    applied.

    Paper: Reddy et al., FIRST: Faster Improved Listwise Reranking with Single Token Decoding,
    arXiv:2406.15657.

    ### Usage example

    ```python
    from haystack import Document
    from haystack_integrations.components.rankers.rerank_plugins import FirstRanker

    ranker = FirstRanker(model="castorini/first_mistral", top_k=5)
    documents = [Document(content="A flea lives for two months."), Document(content="Cats sleep.")]
    result = ranker.run(query="how long does a flea live?", documents=documents)
    print(result["documents"], result["meta"]["usage"])
    ```

    Or with the model that the application already talks to:

    ```python
    from haystack.components.generators.chat import OpenAIChatGenerator

    ranker = FirstRanker(chat_generator=OpenAIChatGenerator(model="gpt-4.1-mini"), top_k=5)
    ```

    In YAML it is stored inside the ranker, as in the framework's own components, and its keys by
    the names of their environment variables:

    ```yaml
    type: haystack_integrations.components.rankers.rerank_plugins.first.FirstRanker
    init_parameters:
      chat_generator:
        type: haystack.components.generators.chat.openai.OpenAIChatGenerator
        init_parameters:
          model: gpt-4.1-mini
          api_key: {type: env_var, env_vars: [OPENAI_API_KEY], strict: true}
    ```
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        backend: AnyBackend | str | dict[str, Any] | None = None,
        chat_generator: ChatGenerator | None = None,
        base_url: str | None = None,
        api_key: Secret | None = None,
        window: int = 20,
        stride: int = 10,
        prompt: str | None = None,
        policy: Policy | None = None,
        top_k: int | None = 10,
        score_threshold: float | None = None,
        scale_score: bool = False,
        cut_at_gap: bool = False,
        keep_at_least: int = 0,
        chunk_words: int | None = None,
        meta_fields_to_embed: list[str] | None = None,
        meta_data_separator: str = "\n",
        device: ComponentDevice | None = None,
        token: Secret | None = HF_TOKEN,
        backend_options: dict[str, Any] | None = None,
        limits: dict[str, Any] | None = None,
        raise_on_failure: bool = False,
    ) -> None:
        """
        Creates a FirstRanker. Nothing is loaded before `warm_up` or the first run.

        :param model: A causal language model: a hub id, a folder or a ``.gguf`` file.
        :param backend: Instead of ``model``: a backend, its registered name, or a plain dictionary.
        :param chat_generator: Instead of both: the application's own model. Log-probabilities
            are used if it reports them, and the order that it writes otherwise.
        :param base_url: The server where ``model`` runs, by its name there, such as
            ``http://localhost:8000/v1``; alone, it is asked for its model now.
        :param api_key: The server's key. In YAML it is the name of an environment variable.
        :param window: Documents in a window, 2 to 26.
        :param stride: How far the window moves, at least 1 and below ``window``.
        :param prompt: A prompt's versioned name or a TOML file. By default the one the checkpoint
            was trained with.
        :param policy: What to do with documents whose identifiers are not reported:
            ``"keep_order"``, ``"ask_again"`` or ``"generate"``, as for `SingleToken`. By default
            ``"generate"`` with a chat generator, and with an unknown model on a server, which may
            report none at all, else ``"keep_order"``.
        :param top_k: How many documents to return at most; all when None.
        :param score_threshold: The lowest log-probability to return, in nats, for lists that fit
            one window.
        :param scale_score: Return scores from 0 to 1: the sigmoid of logits, ``exp`` of log-
            probabilities, grades over their range. ``rank`` scores and mixed ones have no such
            scale: they stay as they are, and a warning says so.
        :param cut_at_gap: Return what stands above the largest drop of the scores. Not applied to
            ``rank`` scores.
        :param keep_at_least: How many documents the threshold and the gap leave in any case.
        :param chunk_words: For documents that are longer than what the model reads: cut them into
            chunks of so many words, and judge each document by its best chunk.
        :param meta_fields_to_embed: Meta fields that are put before the content.
        :param meta_data_separator: The separator between them.
        :param device: Where the model runs. By default the best device of the machine that runs it.
        :param token: For private models on the Hugging Face hub.
        :param backend_options: Further arguments of the backend, such as ``{"dtype": "bfloat16"}``;
            ``{"max_concurrency": 4}`` for a chat generator.
        :param limits: What one query may cost, such as ``{"timeout_s": 30, "max_calls": 20}``.
        :param raise_on_failure: Raise when a call to the model fails, instead of keeping the order.
        :raises ValueError: Nothing names a model, an argument is out of range, or the model was
            trained for another way of ranking.
        """
        self._keep(
            model=model,
            backend=backend,
            chat_generator=chat_generator,
            base_url=base_url,
            api_key=api_key,
            window=window,
            stride=stride,
            prompt=prompt,
            policy=policy,
            top_k=top_k,
            score_threshold=score_threshold,
            scale_score=scale_score,
            cut_at_gap=cut_at_gap,
            keep_at_least=keep_at_least,
            chunk_words=chunk_words,
            meta_fields_to_embed=meta_fields_to_embed,
            meta_data_separator=meta_data_separator,
            device=device,
            token=token,
            backend_options=backend_options,
            limits=limits,
            raise_on_failure=raise_on_failure,
        )
        named = self._checkpoint(FIRST_MODEL)
        usual = usual_policy(named, chat=chat_generator is not None)
        self._connect(first_strategy(named.model, prompt, window, stride, policy or usual), named)
