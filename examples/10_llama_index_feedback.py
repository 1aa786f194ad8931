"""Relevance feedback in a LlamaIndex query engine, over a FAISS vector store.

make test                                 # once: installs the frameworks and small models
.venv/bin/python examples/10_llama_index_feedback.py
"""

import faiss
from llama_index.core import StorageContext, VectorStoreIndex, get_response_synthesizer
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import TextNode
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.postprocessor.rerank_plugins import PluginRerank
from llama_index.retrievers.rerank_plugins import FeedbackRetriever
from llama_index.vector_stores.faiss import FaissVectorStore
from offline import MINILM, SMOLLM2_GGUF, cranfield

collection = cranfield(200)
QUERY = next(iter(collection.queries.values()))

store = FaissVectorStore(faiss.IndexFlatIP(384))
nodes = [TextNode(text=text[:300], id_=id_) for id_, text in collection.documents.items()]
index = VectorStoreIndex(
    nodes,
    storage_context=StorageContext.from_defaults(vector_store=store),
    embed_model=HuggingFaceEmbedding(model_name=MINILM, device="cpu"),
)

retriever = FeedbackRetriever(
    index.as_retriever(similarity_top_k=20),
    # With a GPU: FirstRerank(model="castorini/first_mistral")
    PluginRerank(strategy="query-likelihood", model=SMOLLM2_GGUF, top_n=None),
    depth=5,
    top_k=3,
)
# A model that repeats its prompt stands for yours.
engine = RetrieverQueryEngine(retriever, get_response_synthesizer(llm=MockLLM()))
answer = engine.query(QUERY)
for node in answer.source_nodes:
    print(f"{node.score:.3f}  {node.node.node_id}: {node.get_content()[:60]}...")
assert len(answer.source_nodes) == 3
