"""Relevance feedback as a LlamaIndex retriever: a reranker refines the query's embedding."""

from ._base import FeedbackEvent, FeedbackRetriever

__all__ = ["FeedbackEvent", "FeedbackRetriever"]
