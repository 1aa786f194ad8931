"""The folders of two small rerankers. `rerank_plugins.load_reranker` opens them by name."""
