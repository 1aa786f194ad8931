"""Training: the papers' objectives as plain functions."""
