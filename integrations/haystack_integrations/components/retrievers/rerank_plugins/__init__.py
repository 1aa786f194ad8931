# SPDX-License-Identifier: Apache-2.0
"""Relevance feedback as Haystack components: the reranker teaches the embedding retriever."""

from .feedback_retriever import FeedbackRetriever
from .query_feedback import QueryFeedback

__all__ = ["FeedbackRetriever", "QueryFeedback"]
