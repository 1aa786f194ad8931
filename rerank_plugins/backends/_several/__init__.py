"""Backends made of several."""
