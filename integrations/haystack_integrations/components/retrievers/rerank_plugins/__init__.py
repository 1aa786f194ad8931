# SPDX-License-Identifier: Apache-2.0
"""Relevance feedback as Haystack components: a ranker refines the query's embedding."""

from .feedback_retriever import FeedbackRetriever
from .query_feedback import QueryFeedback

__all__ = ["FeedbackRetriever", "QueryFeedback"]
