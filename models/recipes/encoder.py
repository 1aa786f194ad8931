"""Vectors of texts and of their tokens, and how alike two texts are by them."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

BATCH = 64


class Tokens(NamedTuple):
    """The tokens of a text without the special ones: ids, and unit vectors."""

    ids: np.ndarray
    vectors: np.ndarray


class Encoded(NamedTuple):
    """A unit vector for each text, and its tokens."""

    vectors: np.ndarray
    tokens: list[Tokens]


class Encoder:
    """A bi-encoder with mean pooling, such as all-MiniLM-L6-v2, on a GPU where there is one."""

    def __init__(self, source: Path | str, max_tokens: int):
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tokenizer = AutoTokenizer.from_pretrained(source)
        self.model = AutoModel.from_pretrained(source).to(self.device).eval()
        self.max_tokens = max_tokens

    def __call__(self, texts: Sequence[str]) -> Encoded:
        """Encode texts, those of similar length together."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found: dict[int, tuple[np.ndarray, Tokens]] = {}
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            found.update(zip(batch, self._batch([texts[i] for i in batch]), strict=True))
        both = [found[i] for i in range(len(texts))]
        return Encoded(np.stack([vector for vector, _ in both]), [tokens for _, tokens in both])

    @torch.inference_mode()
    def _batch(self, texts: list[str]) -> list[tuple[np.ndarray, Tokens]]:
        given = self.tokenizer(
            texts, truncation=True, max_length=self.max_tokens, padding=True, return_tensors="pt"
        ).to(self.device)
        with torch.autocast(self.device, dtype=torch.bfloat16):
            hidden = self.model(**given).last_hidden_state.float()
        mask = given["attention_mask"].unsqueeze(-1).float()
        pooled = normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1).cpu().numpy()
        # Half precision: thousands of passages' tokens are held at once.
        vectors = normalize(hidden, dim=-1).cpu().numpy().astype(np.float16)
        lengths, ids = given["attention_mask"].sum(1).tolist(), given["input_ids"].cpu().numpy()
        return [
            (
                pooled[i],
                Tokens(ids[i, 1 : n - 1], vectors[i][1 : n - 1].copy()),
            )
            for i, n in enumerate(lengths)
        ]


def rarity(texts: Sequence[Tokens]) -> Callable[[int], float]:
    """The inverse document frequency of a token among these texts."""
    frequency = Counter(token for text in texts for token in set(text.ids.tolist()))
    return lambda token: math.log(1 + len(texts) / (1 + frequency[token]))


def late_interaction(query: Tokens, passage: Tokens, idf: Callable[[int], float]) -> float:
    """ColBERT's MaxSim, the mean over the query's tokens weighted by their rarity."""
    weights = np.array([idf(token) for token in query.ids.tolist()])
    similar = query.vectors.astype(np.float32) @ passage.vectors.astype(np.float32).T
    return float((similar.max(1) * weights).sum() / weights.sum())
