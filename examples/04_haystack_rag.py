"""A Haystack RAG pipeline with a reranker: built in Python, saved as YAML, loaded by a stranger.

make test                                 # once: installs the frameworks and small models
.venv/bin/python examples/04_haystack_rag.py
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from haystack import Document, Pipeline
from haystack.components.builders import ChatPromptBuilder
from haystack.dataclasses import ChatMessage
from haystack_integrations.components.embedders.sentence_transformers import (
    SentenceTransformersDocumentEmbedder,
    SentenceTransformersTextEmbedder,
)
from haystack_integrations.components.generators.transformers import TransformersChatGenerator
from haystack_integrations.components.rankers.rerank_plugins import PluginRanker
from haystack_integrations.components.retrievers.faiss import FAISSEmbeddingRetriever
from haystack_integrations.document_stores.faiss import FAISSDocumentStore
from offline import MINILM, SMOLLM2_GGUF, abstracts, smollm2_folder

QUESTION = "Which drug treats lymphatic filariasis?"
PROMPT = """Answer in one sentence, from these abstracts alone.
{% for document in documents %}
{{ document.content[:400] }}
{% endfor %}
Question: {{ query }}"""

# What runs in the fresh process. It imports Haystack and nothing of this project.
STRANGER = """
import sys
from haystack import Pipeline
pipeline = Pipeline.load(open(sys.argv[1]))
question = sys.argv[2]
result = pipeline.run(
    {"embedder": {"text": question}, "ranker": {"query": question}, "builder": {"query": question}},
    include_outputs_from={"ranker"},
)
print([d.id for d in result["ranker"]["documents"]])
"""


def store_of_abstracts(path: str) -> FAISSDocumentStore:
    """A FAISS store on disk."""
    store = FAISSDocumentStore(index_path=path, embedding_dim=384)
    documents = [Document(id=id_, content=text) for id_, text in abstracts().items()]
    embedder = SentenceTransformersDocumentEmbedder(
        model=MINILM, progress_bar=False, normalize_embeddings=True
    )
    store.write_documents(embedder.run(documents)["documents"])
    store.save(path)
    return store


def rag_pipeline(store: FAISSDocumentStore) -> Pipeline:
    """Embed, retrieve ten, rerank to three, answer."""
    ranker = PluginRanker(
        # A small model that was never trained to rerank: its opinion, fused with the retriever's.
        strategy={"name": "blend", "inner": "query-likelihood"},
        model=SMOLLM2_GGUF,
        top_k=3,
    )
    # With a GPU: FirstRanker(model="castorini/first_mistral", top_k=3)
    pipeline = Pipeline()
    pipeline.add_component(
        "embedder",
        SentenceTransformersTextEmbedder(
            model=MINILM, progress_bar=False, normalize_embeddings=True
        ),
    )
    pipeline.add_component("retriever", FAISSEmbeddingRetriever(document_store=store, top_k=10))
    pipeline.add_component("ranker", ranker)
    pipeline.add_component(
        "builder",
        ChatPromptBuilder(
            [ChatMessage.from_user(PROMPT)], required_variables=["query", "documents"]
        ),
    )
    pipeline.add_component(
        "llm",
        TransformersChatGenerator(
            model=smollm2_folder(), task="text-generation", generation_kwargs={"max_new_tokens": 40}
        ),
    )
    pipeline.connect("embedder.embedding", "retriever.query_embedding")
    pipeline.connect("retriever.documents", "ranker.documents")
    pipeline.connect("ranker.documents", "builder.documents")
    pipeline.connect("builder.prompt", "llm.messages")
    return pipeline


def main() -> None:
    """Ask here, then in a process that loads the YAML; both rank the same."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline = rag_pipeline(store_of_abstracts(f"{folder}/abstracts"))
        inputs = {
            "embedder": {"text": QUESTION},
            "ranker": {"query": QUESTION},
            "builder": {"query": QUESTION},
        }
        result = pipeline.run(inputs, include_outputs_from={"ranker"})
        for document in result["ranker"]["documents"]:
            print(f"{document.score:.4f}  {document.id}: {document.content[:60]}...")
        print("meta:", result["ranker"]["meta"])
        print("answer:", result["llm"]["replies"][0].text)

        file = Path(folder) / "rag.yaml"
        with file.open("w") as stream:
            pipeline.dump(stream)
        there = subprocess.run(
            [sys.executable, "-c", STRANGER, str(file), QUESTION],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        here = str([d.id for d in result["ranker"]["documents"]])
        print("a fresh process ranks the same:", there.splitlines()[-1] == here)
        assert there.splitlines()[-1] == here


if __name__ == "__main__":
    main()
