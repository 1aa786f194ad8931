"""Training rerankers: objectives, rewards, data, and the trainer."""
