"""Relevance feedback as a LlamaIndex retriever: the reranker teaches the query's embedding."""

from ._base import FeedbackEvent, FeedbackRetriever

__all__ = ["FeedbackEvent", "FeedbackRetriever"]
