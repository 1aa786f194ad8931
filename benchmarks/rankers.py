"""Rankers of several libraries behind one shape: a function of a query and texts.

Each is imported where it is made, so that each runs in an environment of its own. What they return
is the order, best first, as positions in the texts.
"""

from collections.abc import Callable, Sequence

Rank = Callable[[str, Sequence[str]], list[int]]
TOKENS = 256  # of a pair, for every cross-encoder
WINDOW, STRIDE, CONTEXT = 20, 10, 4096


def ours_cross_encoder(model: str) -> Rank:
    from rerank_plugins import Reranker
    from rerank_plugins.backends import CrossEncoderBackend
    from rerank_plugins.strategies import PairScore

    reranker = Reranker(PairScore(), CrossEncoderBackend(model, max_tokens=TOKENS))
    return lambda query, texts: list(reranker.rank(query, texts).order)


def sentence_transformers(model: str) -> Rank:
    from sentence_transformers import CrossEncoder

    encoder = CrossEncoder(model, max_length=TOKENS, device="cpu")

    def rank(query, texts):
        return [hit["corpus_id"] for hit in encoder.rank(query, list(texts))]

    return rank


def rerankers(model: str) -> Rank:
    from rerankers import Reranker

    ranker = Reranker(model, model_type="cross-encoder", device="cpu", dtype="float32", verbose=0)
    ranker.tokenizer.model_max_length = TOKENS

    def rank(query, texts):
        found = ranker.rank(query, list(texts), doc_ids=list(range(len(texts))))
        return [result.document.doc_id for result in found.results]

    return rank


def haystack(model: str) -> Rank:
    from haystack import Document
    from haystack_integrations.components.rankers.sentence_transformers import (
        SentenceTransformersSimilarityRanker,
    )

    ranker = SentenceTransformersSimilarityRanker(
        model=model, top_k=10_000, tokenizer_kwargs={"model_max_length": TOKENS}
    )
    ranker.warm_up()

    def rank(query, texts):
        documents = [Document(content=text, id=str(i)) for i, text in enumerate(texts)]
        return [int(d.id) for d in ranker.run(query=query, documents=documents)["documents"]]

    return rank


def llama_index(model: str) -> Rank:
    from llama_index.core.postprocessor import SentenceTransformerRerank
    from llama_index.core.schema import NodeWithScore, TextNode

    ranker = SentenceTransformerRerank(model=model, top_n=10_000, device="cpu")
    ranker._model.max_length = TOKENS

    def rank(query, texts):
        nodes = [NodeWithScore(node=TextNode(text=t, id_=str(i))) for i, t in enumerate(texts)]
        return [int(n.node.node_id) for n in ranker.postprocess_nodes(nodes, query_str=query)]

    return rank


def ours_vllm_first(model: str) -> Rank:
    return _ours_on_vllm(model, "single-token", "first.v1")


def ours_vllm_written(model: str) -> Rank:
    return _ours_on_vllm(model, "permutation", "rankllm-letters.v1")


def rankllm_first(model: str) -> Rank:
    return _rankllm(model, use_logits=True)


def rankllm_written(model: str) -> Rank:
    return _rankllm(model, use_logits=False)


def _ours_on_vllm(model: str, inner: str, prompt: str) -> Rank:
    from rerank_plugins import Reranker
    from rerank_plugins.backends import VLLMBackend

    strategy = {
        "name": "sliding-window",
        "size": WINDOW,
        "stride": STRIDE,
        "inner": {"name": inner, "prompt": prompt},
    }
    reranker = Reranker(strategy, VLLMBackend(model, context_tokens=CONTEXT))
    reranker.warm_up()
    return lambda query, texts: list(reranker.rank(query, texts).order)


def _rankllm(model: str, *, use_logits: bool) -> Rank:
    """RankLLM, with what it needs to run on a CPU and more than once.

    Its engine gets what `VLLMBackend` takes on a CPU: no compilation, 32 bits, as much cache, as
    small blocks. And every call gets the same event loop: its engine does not outlive one.
    """
    import asyncio

    import vllm
    from rank_llm.data import Candidate, Query, Request
    from rank_llm.rerank.listwise.rank_listwise_os_llm import RankListwiseOSLLM

    arguments = vllm.AsyncEngineArgs
    loop = asyncio.new_event_loop()
    asyncio.run = loop.run_until_complete

    def on_a_cpu(**given):
        cpu = {"enforce_eager": True, "dtype": "float32", "block_size": 32}
        return arguments(**given | cpu | {"kv_cache_memory_bytes": 2 << 30})

    vllm.AsyncEngineArgs = on_a_cpu
    agent = RankListwiseOSLLM(
        model=model,
        context_size=CONTEXT,
        window_size=WINDOW,
        stride=STRIDE,
        use_logits=use_logits,
        use_alpha=True,
        variable_passages=True,
        device="cpu",
    )

    def rank(query, texts):
        candidates = [
            Candidate(docid=str(i), score=-float(i), doc={"text": text})
            for i, text in enumerate(texts)
        ]
        request = Request(query=Query(text=query, qid="q"), candidates=candidates)
        (result,) = agent.rerank_batch([request], rank_end=len(texts))
        return [int(candidate.docid) for candidate in result.candidates]

    return rank
