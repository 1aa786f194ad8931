"""Relevance feedback as a LlamaIndex retriever: the reranker teaches the query's embedding."""

from .base import FeedbackEvent, FeedbackRetriever

__all__ = ["FeedbackEvent", "FeedbackRetriever"]
