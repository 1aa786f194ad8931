"""Late interaction: encoders, the vectors of passages' tokens, and scores from both."""
