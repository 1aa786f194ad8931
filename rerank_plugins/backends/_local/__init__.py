"""Models in this process, by transformers and sentence-transformers."""
