"""A prompt becomes tokens or messages."""
