"""Relevance feedback: an index to search in."""
