"""Rankings by a server on the loopback that finds long passages relevant."""

import random
import threading
import time
from contextlib import contextmanager

from openai_server import MODEL

from rerank_plugins.backends import OpenAIBackend

PROBES = 2
"""Requests by which a backend without a tokenizer probes a server."""


def of(server, **options):
    return OpenAIBackend(MODEL, base_url=server.url, **options)


def passages(n, seed=0):
    """Of different lengths, in random order. The server likes long ones."""
    lengths = random.Random(seed).sample(range(10, 10 + 3 * n), n)
    return ["x" * length for length in lengths]


def best_first(texts):
    return tuple(sorted(range(len(texts)), key=lambda i: -len(texts[i])))


def moods_in_turn(*moods):
    left = list(moods)
    return lambda: left.pop(0) if left else None


@contextmanager
def dying_and_returning(server, *, up_s, down_s):
    """Inside, the server refuses connections now and then; yields the times it came back."""
    over, returns = threading.Event(), []

    def fate():
        while not over.wait(up_s):
            server.die()
            over.wait(down_s)
            server.come_back()
            returns.append(time.monotonic())

    thread = threading.Thread(target=fate)
    thread.start()
    try:
        yield returns
    finally:
        over.set()
        thread.join()
