"""Pointwise yes/no with a shared prefix against sentence-transformers' CrossEncoder.

    RERANK_PLUGINS_DATA=... python benchmarks/shared_prefix.py [queries [passages]]

Needs SmolLM2, and the DL19 pool where there is one (see CONTRIBUTING.md). Same model, same rendered
text (asserted), one thread, interleaved in one run with a rotated order. Seconds mean little on a
shared machine: the figures are ratios of one run, and the tokens that went through the model,
padding included, which are the same everywhere.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from inputs import inputs, smollm2

from rerank_plugins import Reranker
from rerank_plugins.backends import TransformersBackend
from rerank_plugins.prompts import PointwisePrompt, require
from rerank_plugins.strategies import Pointwise

PROMPT = "qwen3-reranker.v1"
NAMES = ("CrossEncoder", "whole prompts", "shared prefix")


class Counter:
    """Tokens that went through a model, padding included."""

    def __init__(self, model):
        self.tokens = 0
        model.get_input_embeddings().register_forward_hook(self._count)

    def _count(self, _module, inputs, _output):
        self.tokens += inputs[0].numel()


def main() -> None:
    queries = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    depth = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    lines = raced(inputs(os.environ.get("RERANK_PLUGINS_DATA"), queries, depth).rows)
    for line in lines:
        speed_up = line["seconds"]["CrossEncoder"] / line["seconds"]["shared prefix"]
        print(json.dumps({**line, "shared prefix against CrossEncoder": round(speed_up, 2)}))


def raced(rows) -> list[dict]:
    """Seconds and tokens of each, query by query."""
    import torch

    torch.set_num_threads(1)
    folder = smollm2()
    with tempfile.TemporaryDirectory() as scratch:
        race = Race(folder, cross_encoder(folder, scratch))
    found = []
    for turn, (key, query, texts) in enumerate(rows):
        prompt_tokens = race.check_same_text(query, texts)
        if not turn:
            race.warm_up(query, texts)
        line = race.run(query, texts, first=turn % len(NAMES))
        found.append({"query": key, "prompt_tokens": prompt_tokens, **line})
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


class Race:
    """The three, over one model."""

    def __init__(self, folder: Path, rival):
        self.rival = rival
        self.backends = {
            "whole prompts": TransformersBackend(folder, share_prefix=False),
            "shared prefix": TransformersBackend(folder),
        }
        for backend in self.backends.values():
            backend.warm_up()
        strategy = Pointwise(prompt=PROMPT)
        self.rankers = {name: Reranker(strategy, b) for name, b in self.backends.items()}
        self.counters = {n: Counter(b._loaded.model) for n, b in self.backends.items()}
        self.counters["CrossEncoder"] = Counter(rival[0].model)

    def warm_up(self, query: str, texts: list[str]) -> None:
        """So that nobody pays for the first pass of a process."""
        for name in NAMES:
            self.scores(name, query, texts[:4])

    def scores(self, name: str, query: str, texts: list[str]) -> list[float]:
        if name == "CrossEncoder":
            import torch

            pairs = [(query, text) for text in texts]
            found = self.rival.predict(pairs, activation_fn=torch.nn.Identity(), batch_size=32)
            return found.tolist()
        ranking = self.rankers[name].rank(query, texts)
        return [ranking.scores[ranking.order.index(i)] for i in range(len(texts))]

    def run(self, query: str, texts: list[str], *, first: int) -> dict:
        """Score with all three in turn."""
        seconds, scores, tokens = {}, {}, {}
        for name in (*NAMES[first:], *NAMES[:first]):
            before = self.counters[name].tokens
            start = time.process_time()
            scores[name] = self.scores(name, query, texts)
            seconds[name] = time.process_time() - start
            tokens[name] = self.counters[name].tokens - before
        theirs = scores["CrossEncoder"]
        ours = [scores[name] for name in self.backends]
        worst = max(abs(a - b) for found in ours for a, b in zip(found, theirs, strict=True))
        assert worst <= 1e-4, f"scores differ by {worst}"
        return {"seconds": seconds, "forward_tokens": tokens, "largest_difference": worst}

    def check_same_text(self, query: str, texts: list[str]) -> int:
        """The tokens of all prompts, after a check that both see the same ones."""
        template = require(PROMPT, PointwisePrompt)
        total = 0
        for text in texts:
            ours = self.backends["shared prefix"].token_ids(template.render(query, text)[0])
            theirs = self.rival.preprocess([(query, text)])["input_ids"][0].tolist()
            assert ours == theirs, self.rival.tokenizer.decode(theirs)
            total += len(ours)
        return total


def cross_encoder(folder: Path, scratch: str):
    """The same weights as a CrossEncoder, with a chat template that renders the same text."""
    from sentence_transformers import CrossEncoder
    from transformers import AutoTokenizer

    for file in folder.iterdir():
        (Path(scratch) / file.name).symlink_to(file)
    template = require(PROMPT, PointwisePrompt)
    marked, _ = template.render("{q}", "{d}")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": m.role, "content": m.text} for m in marked.messages]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    text += marked.prefill
    # The whole text as expressions: Jinja drops a literal newline at the end of a template.
    before, rest = text.split("{q}")
    between, after = rest.split("{d}")
    role = "{{{{ messages | selectattr('role', 'eq', '{}') | map(attribute='content') | first }}}}"
    jinja = (
        f"{{{{ {before!r} }}}}{role.format('query')}{{{{ {between!r} }}}}"
        f"{role.format('document')}{{{{ {after!r} }}}}"
    )
    for name in ("chat_template.jinja", "tokenizer_config.json", "tokenizer.json"):
        (Path(scratch) / name).unlink(missing_ok=True)
    tokenizer.chat_template = jinja
    tokenizer.save_pretrained(scratch)
    return CrossEncoder(scratch, device="cpu")


if __name__ == "__main__":
    main()
