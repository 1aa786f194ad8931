"""A LlamaIndex query engine and a chat engine with a reranker, over a FAISS vector store.

make test                                 # once: installs the frameworks and small models
.venv/bin/python examples/06_llama_index.py
"""

import asyncio

import faiss
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.schema import TextNode
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.llms.huggingface import HuggingFaceLLM
from llama_index.postprocessor.rerank_plugins import PluginRerank
from llama_index.vector_stores.faiss import FaissVectorStore
from offline import MINILM, SMOLLM2_GGUF, abstracts, smollm2_folder

QUESTION = "Which drug treats lymphatic filariasis?"

embedding = HuggingFaceEmbedding(model_name=MINILM, device="cpu")
llm = HuggingFaceLLM(
    model_name=smollm2_folder(),
    tokenizer_name=smollm2_folder(),
    device_map="cpu",
    context_window=2048,
    max_new_tokens=40,
    generate_kwargs={"do_sample": False},
)
store = FaissVectorStore(faiss.IndexFlatIP(384))
nodes = [TextNode(text=text[:600], id_=id_) for id_, text in abstracts().items()]
index = VectorStoreIndex(
    nodes, storage_context=StorageContext.from_defaults(vector_store=store), embed_model=embedding
)

reranker = PluginRerank(
    # A small model that was never trained to rerank: its opinion, fused with the retriever's.
    strategy={"name": "blend", "inner": "query-likelihood"},
    model=SMOLLM2_GGUF,
    top_n=3,
)
# With a GPU: FirstRerank(model="castorini/first_mistral", top_n=3)

engine = index.as_query_engine(similarity_top_k=10, node_postprocessors=[reranker], llm=llm)
answer = engine.query(QUESTION)
for node in answer.source_nodes:
    print(f"{node.score:.4f}  {node.node.node_id}: {node.get_content()[:60]}...")
print("query engine:", str(answer).strip())

chat = ContextChatEngine.from_defaults(
    retriever=index.as_retriever(similarity_top_k=10),
    node_postprocessors=[reranker],
    llm=llm,
    memory=ChatMemoryBuffer.from_defaults(token_limit=1000),
)
reply = asyncio.run(chat.achat(QUESTION))
print("chat engine:", str(reply).strip())
assert [n.node.node_id for n in reply.source_nodes] == [n.node.node_id for n in answer.source_nodes]
