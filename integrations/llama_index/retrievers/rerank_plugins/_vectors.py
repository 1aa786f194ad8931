"""The vectors of nodes, which LlamaIndex' retrievers do not return with them."""

from typing import Any, Dict, List, Mapping, Sequence

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.indices.utils import async_embed_nodes, embed_nodes
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.simple import SimpleVectorStore

from rerank_plugins.components import off_loop

Vectors = Dict[str, Sequence[float]]


def node_vectors(
    retriever: BaseRetriever, nodes: List[BaseNode], embed_model: BaseEmbedding | None
) -> Vectors:
    """Get vectors by node id: the nodes' own, the store's, or new ones of the embedding model."""
    found = _own(nodes)
    store = _store(retriever)
    found |= _direct(retriever, store, _missing(nodes, found))
    if wanted := _missing(nodes, found):
        found |= _of_nodes(_try(store, "get_nodes", node_ids=wanted))
    if embed_model is not None and (wanted := _missing(nodes, found)):
        found |= embed_nodes([n for n in nodes if n.node_id in wanted], embed_model)
    return found


async def anode_vectors(
    retriever: BaseRetriever, nodes: List[BaseNode], embed_model: BaseEmbedding | None
) -> Vectors:
    """`node_vectors`, without blocking the event loop."""
    found = _own(nodes)
    store = _store(retriever)
    wanted = _missing(nodes, found)
    found |= await off_loop(lambda: _direct(retriever, store, wanted))
    if wanted := _missing(nodes, found):
        found |= _of_nodes(await _atry(store, "aget_nodes", node_ids=wanted))
    if embed_model is not None and (wanted := _missing(nodes, found)):
        found |= await async_embed_nodes([n for n in nodes if n.node_id in wanted], embed_model)
    return found


def _own(nodes: List[BaseNode]) -> Vectors:
    return {n.node_id: n.embedding for n in nodes if n.embedding is not None}


def _missing(nodes: List[BaseNode], found: Mapping[str, Any]) -> List[str]:
    return [n.node_id for n in nodes if n.node_id not in found]


def _store(retriever: BaseRetriever) -> Any:
    return getattr(retriever, "_vector_store", None)


def _direct(retriever: BaseRetriever, store: Any, wanted: List[str]) -> Vectors:
    """Get vectors from stores that can be read in place: the simple one, and FAISS."""
    if isinstance(store, SimpleVectorStore):
        known = store.data.embedding_dict
        return {key: known[key] for key in wanted if key in known}
    client: Any = getattr(store, "client", None)
    if not hasattr(client, "reconstruct"):
        return {}
    struct = getattr(getattr(retriever, "_index", None), "index_struct", None)
    nodes: Dict[str, str] = getattr(struct, "nodes_dict", {})
    places = {node_id: place for place, node_id in nodes.items()}
    found: Vectors = {}
    for key in wanted:
        try:
            found[key] = client.reconstruct(int(places[key]))
        except (KeyError, ValueError, RuntimeError):  # compressed, or with other ids
            return {}
    return found


def _of_nodes(nodes: Any) -> Vectors:
    return {n.node_id: n.embedding for n in nodes or [] if n.embedding is not None}


def _try(store: Any, method: str, **inputs: Any) -> Any:
    """Call a store's method; None if it has no such method."""
    try:
        return getattr(store, method)(**inputs)
    except (AttributeError, NotImplementedError):
        return None


async def _atry(store: Any, method: str, **inputs: Any) -> Any:
    try:
        return await getattr(store, method)(**inputs)
    except (AttributeError, NotImplementedError):
        return None
