"""The numerical half of relevance feedback: pure functions on arrays."""
