"""Let a small language model write questions about passages.

python models/recipes/asked.py DATA MODEL.gguf --wordnet DIR --manuals manuals.jsonl.gz \
    --out asked.jsonl.gz

Three examples, written for this recipe, show the model what a question looks like; two kinds of
them are asked for, questions as people type them and claims. What is too short, too long or about
"the passage" is left out here, and what another passage answers better by `asked_data`. The
answers are sampled: with the same seed, machine and number of rows at once they are the same.
"""

import argparse
import gzip
import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

import torch
import transformers
from commands import count, execute
from pools import KINDS, Source, sources
from text import first_words

from rerank_plugins import InputError
from rerank_plugins.backends import unpacked_gguf

SHOWN_WORDS = 80  # of a passage
NEW_TOKENS = 28
FEWEST, MOST = 3, 25  # words of a question
ABOUT_ITSELF = re.compile(
    r"\b(the|this) (passage|text|authors?|answer|question|study)\b", re.IGNORECASE
)
COPIED = 5  # words in a row

ABOUT = (
    "Wolves live in packs of five to nine animals. The pack is led by a breeding pair, and the "
    "young leave it when they are one to three years old to found packs of their own.",
    "Rust forms when iron reacts with oxygen and water. Salt speeds the reaction up because it "
    "makes water a better conductor, which is why cars corrode faster near the sea.",
    "The committee found that patients who walked thirty minutes a day had 18 percent fewer heart "
    "attacks than those who did not, while the dose of aspirin made no difference.",
)
EXAMPLES = {
    "Question": (
        "when do young wolves leave their pack",
        "why does salt make iron rust faster",
        "does daily walking lower the risk of heart attack",
    ),
    "Claim": (
        "Young wolves found packs of their own.",
        "Cars near the sea corrode faster because of salt.",
        "Aspirin lowers the number of heart attacks in patients who walk.",
    ),
}


def main() -> None:
    given = arguments()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    found = sources(given.data, given.wordnet, given.manuals, given.seed, given.only)
    if not found:
        raise InputError(
            "there are no passages of these kinds", hint="Give --manuals or --wordnet."
        )
    writer = Writer(given.model, given.rows, given.seed)
    written = 0
    with gzip.open(given.out, "wt", encoding="utf-8") as file:
        for row in asked(found, writer, given):
            written += 1
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"{written} questions")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with train/ and beir/")
    parser.add_argument("model", help="SmolLM2-135M-Instruct: a .gguf file, a folder or a hub id")
    parser.add_argument("--wordnet", type=Path, help="folder of data.noun, data.verb, data.adj")
    parser.add_argument("--manuals", type=Path, help="the file that manuals.py made")
    parser.add_argument("--out", type=Path, required=True, help="a file that ends with .jsonl.gz")
    parser.add_argument("--each", type=count, default=3, help="questions of a passage")
    parser.add_argument("--most", type=count, help="passages of a source")
    parser.add_argument("--only", nargs="+", choices=KINDS, help="kinds of sources")
    parser.add_argument("--rows", type=count, default=256, help="passages at once")
    parser.add_argument("--seed", type=int, default=5)
    return parser.parse_args()


def asked(
    found: Sequence[Source], writer: "Writer", given: argparse.Namespace
) -> Iterator[dict[str, str]]:
    """A row for each question: its text, its passage and the name of its source."""
    for source in found:
        chance = Random(f"{given.seed} {source.name}")
        keys = chance.sample(list(source.passages), len(source.passages))[: given.most]
        kinds = chance.choices(("Question", "Question", "Claim"), k=len(keys))
        for kind in EXAMPLES:
            chosen = [key for key, one in zip(keys, kinds, strict=True) if one == kind]
            shown = [part(source.passages[key], chance) for key in chosen]
            for key, texts in zip(chosen, writer(kind, shown, given.each), strict=True):
                for text in dict.fromkeys(filter(is_usable, map(cleaned, texts))):
                    yield {"text": text, "passage": key, "source": source.name}
        print(source.name, len(keys), "passages", flush=True)


def part(text: str, chance: Random) -> str:
    """A run of words that starts at a sentence, when the passage is long."""
    words = text.split()
    starts = [0] + [
        i
        for i in range(1, len(words) - SHOWN_WORDS // 2)
        if words[i - 1].endswith(".") and words[i][:1].isupper()
    ]
    return first_words(" ".join(words[chance.choice(starts) :]), SHOWN_WORDS)


def cleaned(text: str) -> str:
    """The first line, without quotes."""
    return text.strip().split("\n")[0].strip().strip('"')


def is_usable(text: str) -> bool:
    """Whether it can be a question to a search engine."""
    fits = FEWEST <= len(text.split()) <= MOST
    return fits and not ABOUT_ITSELF.search(text) and not is_copied(text)


def is_copied(text: str) -> bool:
    """Whether words of an example, or of what an example is about, stand in it."""
    return bool(runs(text) & SHOWN)


def runs(text: str) -> set[tuple[str, ...]]:
    """Each run of ``COPIED`` words."""
    words = re.findall(r"\w+", text.lower())
    return set(zip(*(words[i:] for i in range(COPIED)), strict=False))


SHOWN = {one for text in (*ABOUT, *chain(*EXAMPLES.values())) for one in runs(text)}


class Writer:
    """A language model that continues examples.

    Args:
        model: A .gguf file, a folder or a hub id.
        rows: Passages at once.
        seed: Of what is sampled.
    """

    def __init__(self, model: str, rows: int, seed: int) -> None:
        path = Path(model)
        folder = unpacked_gguf(path) if path.suffix == ".gguf" else model
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._rows = rows
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.bfloat16
        )
        self._model = loaded.to(self._device).eval()
        self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
            folder, padding_side="left"
        )
        self._tokenizer.pad_token = self._tokenizer.eos_token
        transformers.set_seed(seed)

    def __call__(self, kind: str, passages: Sequence[str], each: int) -> Iterator[list[str]]:
        """Some texts of a kind about each passage, in the order of the passages."""
        order = sorted(range(len(passages)), key=lambda i: len(passages[i]))
        found: dict[int, list[str]] = {}
        for start in range(0, len(order), self._rows):
            batch = order[start : start + self._rows]
            texts = self._continued([prompt(kind, passages[i]) for i in batch], each)
            found |= {i: texts[n * each : (n + 1) * each] for n, i in enumerate(batch)}
        return (found[i] for i in range(len(passages)))

    @torch.inference_mode()
    def _continued(self, prompts: list[str], each: int) -> list[str]:
        given = self._tokenizer(prompts, return_tensors="pt", padding=True).to(self._device)
        written = self._model.generate(
            **given,
            max_new_tokens=NEW_TOKENS,
            do_sample=True,
            top_p=0.8,
            temperature=0.7,
            num_return_sequences=each,
            pad_token_id=self._tokenizer.pad_token_id,
        )
        new = written[:, given["input_ids"].shape[1] :]
        return list(self._tokenizer.batch_decode(new, skip_special_tokens=True))


def prompt(kind: str, passage: str) -> str:
    """The examples, and the passage whose question is missing."""
    shown = "".join(
        f"Passage: {about}\n{kind}: {example}\n\n"
        for about, example in zip(ABOUT, EXAMPLES[kind], strict=True)
    )
    return f"{shown}Passage: {passage}\n{kind}:"


if __name__ == "__main__":
    execute(main)
