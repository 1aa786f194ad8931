"""Backends that are made of other backends."""
