"""LlamaIndex's LLMs as backends: real clients against a real server, and models in this process."""

import asyncio
import copy
import doctest
import json
import pickle
import threading
import urllib.error
import urllib.request

import pytest
from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LLMMetadata,
    LogProb,
)
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import CustomLLM, MockLLM
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.postprocessor.rerank_plugins import (
    FirstRerank,
    FullListRerank,
    GroupwiseRerank,
    LLMBackend,
    PluginRerank,
    PointwiseRerank,
)

from rerank_plugins import (
    BackendError,
    ConfigurationError,
    InputError,
    LogprobsError,
    UnsupportedCallError,
)
from rerank_plugins.strategies import Permutation
from rerank_plugins.testing import BackendContract

MODES = pytest.mark.parametrize("mode", ["sync", "async"])


class HttpLLM(CustomLLM):
    """An LLM of a user's own over HTTP, which fills in what OpenAI's integration does."""

    url: str
    is_chat: bool = True
    api_key: str = "sk-0123456789"

    @property
    def metadata(self):
        return LLMMetadata(is_chat_model=self.is_chat, model_name="m")

    def post(self, path, **body):
        data = json.dumps(body).encode()
        headers = {"Authorization": self.api_key, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            error.close()
            raise

    def chat(self, messages, **kwargs):
        sent = [{"role": m.role.value, "content": m.content} for m in messages]
        raw = self.post("/chat/completions", messages=sent, **kwargs)
        [choice] = raw["choices"]
        content = (choice.get("logprobs") or {}).get("content") or []
        return ChatResponse(
            message=ChatMessage(role="assistant", content=choice["message"]["content"]),
            raw=raw,
            logprobs=[
                [LogProb(token=t["token"], logprob=t["logprob"]) for t in position["top_logprobs"]]
                for position in content
            ]
            or None,
        )

    def complete(self, prompt, formatted=False, **kwargs):
        raw = self.post("/completions", prompt=prompt, **kwargs)
        [choice] = raw["choices"]
        tops = (choice.get("logprobs") or {}).get("top_logprobs") or []
        return CompletionResponse(
            text=choice["text"],
            raw=raw,
            logprobs=[[LogProb(token=t, logprob=p) for t, p in top.items()] for top in tops]
            or None,
        )

    def stream_complete(self, prompt, formatted=False, **kwargs):
        raise NotImplementedError


class AsyncLLM(HttpLLM):
    """The same with asynchronous methods of its own."""

    async def achat(self, messages, **kwargs):
        return await asyncio.to_thread(self.chat, messages, **kwargs)

    async def acomplete(self, prompt, formatted=False, **kwargs):
        return await asyncio.to_thread(self.complete, prompt, formatted, **kwargs)


class Fixed(CustomLLM):
    """Says the same each time."""

    text: str | None = "[B] > [A]"
    chat_model: bool = True

    @property
    def metadata(self):
        return LLMMetadata(is_chat_model=self.chat_model)

    def chat(self, messages, **kwargs):
        return ChatResponse(message=ChatMessage(role="assistant", content=self.text))

    def complete(self, prompt, formatted=False, **kwargs):
        return CompletionResponse(text=self.text)

    def stream_complete(self, prompt, formatted=False, **kwargs):
        raise NotImplementedError


def nodes(*lengths):
    return [
        NodeWithScore(node=TextNode(text="a" * n, id_=str(i)), score=0.5)
        for i, n in enumerate(lengths)
    ]


def ids(found):
    return [n.node.node_id for n in found]


def longest_first(*lengths):
    return [str(i) for i in sorted(range(len(lengths)), key=lambda i: -lengths[i])]


def ranked(reranker, given, mode="sync"):
    bundle = QueryBundle("q")
    if mode == "sync":
        return reranker.ranked(given, bundle)
    return asyncio.run(reranker.aranked(given, bundle))


@pytest.fixture
def llm(openai_server):
    """An LLM and its server: ``llm("down", cap=5, is_chat=False)``."""

    def build(*faults, cap=20, cls=AsyncLLM, **options):
        server = openai_server(*faults, cap=cap)
        return cls(url=server.url, **options), server

    return build


class TestContract(BackendContract):
    @pytest.fixture(params=[True, False], ids=["chat", "completion"])
    def backend(self, llm, request):
        return LLMBackend(llm(is_chat=request.param)[0])


# Log-probabilities


@MODES
@pytest.mark.parametrize("cls", [HttpLLM, AsyncLLM])
@pytest.mark.parametrize("is_chat", [True, False])
@pytest.mark.parametrize("n", [1, 2, 20, 45])
def test_first_by_log_probabilities(llm, n, is_chat, cls, mode):
    model, server = llm(is_chat=is_chat, cls=cls)
    lengths = [1 + i * 7 % n for i in range(n)]
    found, meta = ranked(FirstRerank(llm=model, top_n=None), nodes(*lengths), mode)
    assert ids(found)[:10] == longest_first(*lengths)[:10]
    calls = {1: 0, 2: 1, 20: 1, 45: 4}[n]
    assert len(server.asked_for_logprobs()) == len(server.asked) == calls
    assert meta["usage"]["prompt_tokens"] == 100 * calls
    assert not meta["repairs"]["written_orders"]
    if n == 20:
        assert meta["score_kind"] == "logprob"
        assert found[0].score == pytest.approx(-0.1 - (1000 - 20) / 100)


@MODES
@pytest.mark.parametrize("is_chat", [True, False])
def test_what_the_cap_hides_is_written(llm, is_chat, mode):
    model, server = llm(cap=5, is_chat=is_chat)
    lengths = [10 * (i * 7 % 26) + 1 for i in range(26)]
    reranker = FirstRerank(llm=model, window=26, stride=13, top_n=None)
    found, meta = ranked(reranker, nodes(*lengths), mode)
    assert ids(found) == longest_first(*lengths)
    assert meta["repairs"]["unseen_labels"] == 21
    assert len(server.asked) == 2


@MODES
@pytest.mark.parametrize("is_chat", [True, False])
def test_without_log_probabilities_the_order_is_written(llm, is_chat, mode):
    model, server = llm("silent", is_chat=is_chat)
    reranker = FirstRerank(llm=model, top_n=None)
    for _ in range(2):
        found, meta = ranked(reranker, nodes(1, 3, 2), mode)
        assert ids(found) == ["1", "2", "0"]
        assert meta["repairs"]["written_orders"] == 1
    assert len(server.asked) == 3
    assert len(server.asked_for_logprobs()) == 1
    with pytest.raises(LogprobsError):
        ranked(
            FirstRerank(llm=model, policy="keep_order", raise_on_failure=True), nodes(1, 2), mode
        )


# Failures


@MODES
@pytest.mark.parametrize(
    ("fault", "says", "retryable"),
    [
        ("down", "HTTPError", True),
        ("reset", "onnect", True),
        ("too_many", "HTTPError", True),
        ("key", "HTTPError", False),
        ("garbage", "JSONDecodeError", False),
    ],
)
def test_a_failure_keeps_order_and_scores(llm, fault, says, retryable, mode):
    model, _ = llm(fault)
    found, meta = ranked(FirstRerank(llm=model), nodes(1, 3, 2), mode)
    assert ids(found) == ["0", "1", "2"]
    assert [n.score for n in found] == [0.5] * 3
    assert says in meta["causes"][0]
    assert "0123456789" not in str(meta)
    with pytest.raises(BackendError) as raised:
        ranked(FirstRerank(llm=model, raise_on_failure=True), nodes(1, 2), mode)
    assert raised.value.retryable is retryable


@MODES
@pytest.mark.parametrize("text", ["", None, "I cannot rank.", "<think>[B] > [A]"])
def test_mute_and_babbling_models_lose_nothing(text, mode):
    found, meta = ranked(FirstRerank(llm=Fixed(text=text)), nodes(1, 3, 2), mode)
    assert ids(found) == ["0", "1", "2"]
    assert meta["causes"]


def test_reasoning_is_no_answer():
    model = Fixed(text="<think>[A] > [B] looks good</think>[B] > [A]")
    assert ids(ranked(FirstRerank(llm=model), nodes(1, 2))[0]) == ["1", "0"]


@MODES
def test_the_frameworks_mock_is_garbage_and_loses_nothing(mode):
    for chat in (True, False):
        mock = MockLLM(max_tokens=9, is_chat_model=chat)
        found, _ = ranked(FirstRerank(llm=mock), nodes(1, 3, 2), mode)
        assert sorted(ids(found)) == ["0", "1", "2"]


def test_the_loop_goes_on_beside_an_llm_that_is_asynchronous_by_name():
    """It answers when the loop has come round, which a blocked loop never does."""
    asked, gate = threading.Event(), threading.Event()

    class Waits(Fixed):
        def chat(self, messages, **kwargs):
            asked.set()
            if not gate.wait(10):
                raise TimeoutError
            return super().chat(messages, **kwargs)

    reranker = FirstRerank(llm=Waits(), raise_on_failure=True)

    async def main():
        task = asyncio.create_task(reranker.apostprocess_nodes(nodes(1, 2), query_str="q"))
        while not asked.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.01)
        gate.set()
        return await task

    assert ids(asyncio.run(main())) == ["1", "0"]


def test_how_many_are_asked_at_once(llm):
    assert LLMBackend(llm()[0]).max_concurrency == 8
    assert LLMBackend(llm(cls=HttpLLM)[0]).max_concurrency == 1
    given = FirstRerank(llm=Fixed(), backend_options={"max_concurrency": 3})
    assert given._reranker.backend.inner.max_concurrency == 3


# Other strategies


def test_other_postprocessors(llm):
    assert ids(ranked(FullListRerank(llm=Fixed(text="[2] > [1]")), nodes(1, 2))[0]) == ["1", "0"]
    written = PluginRerank(strategy=Permutation(), llm=Fixed(text="[2] > [1]"))
    assert ids(ranked(written, nodes(1, 2))[0]) == ["1", "0"]
    found, meta = ranked(GroupwiseRerank(llm=Fixed(text="?")), nodes(1, 2))
    assert len(found) == 2
    assert meta["causes"]
    _, meta = ranked(PointwiseRerank(llm=Fixed(text="Yes")), nodes(1, 2))
    assert "log-probabilities" in meta["causes"][0]
    with pytest.raises(UnsupportedCallError):
        PluginRerank(strategy="query-likelihood", llm=Fixed())


# In a query engine


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_query_engine_with_the_llm_of_the_settings(llm, mode, monkeypatch):
    model, server = llm()
    monkeypatch.setattr(Settings, "_llm", model)
    stored = [TextNode(text="a" * n, id_=str(n)) for n in (5, 30, 20)]
    index = VectorStoreIndex(stored, embed_model=MockEmbedding(8))
    engine = index.as_query_engine(
        llm=MockLLM(),
        similarity_top_k=3,
        node_postprocessors=[FirstRerank(llm=Settings.llm, top_n=2)],
    )
    ask = engine.query if mode == "sync" else lambda q: asyncio.run(engine.aquery(q))
    assert ids(ask("q").source_nodes) == ["30", "20"]
    assert len(server.asked) == 1


def test_the_synchronous_path_works_inside_a_running_loop(llm):
    reranker = FirstRerank(llm=llm()[0])

    async def main():
        return reranker.postprocess_nodes(nodes(1, 2), query_str="q")

    assert ids(asyncio.run(main())) == ["1", "0"]


# Construction and storage


@pytest.mark.parametrize("build", [FirstRerank, FullListRerank, GroupwiseRerank, PointwiseRerank])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"model": "m"}, "model= or llm="),
        ({"backend": "transformers"}, "backend= or llm="),
        ({"device": "cpu"}, "device= or llm="),
        ({"backend_options": {"dtype": "auto"}}, "max_concurrency"),
        ({"backend_options": {"max_concurrency": 0}}, "at least 1"),
    ],
)
def test_one_model_is_enough(build, arguments, says):
    with pytest.raises(InputError, match=says):
        build(llm=Fixed(), **arguments)


@pytest.mark.parametrize("wrong", ["gpt-5", 3, MockLLM, {"class_name": "MockLLM"}])
def test_what_is_no_llm_is_refused(wrong):
    with pytest.raises(InputError, match="'settings'"):
        FirstRerank(llm=wrong)


def test_an_llm_stays_out_of_files_and_texts():
    reranker = FirstRerank(llm=AsyncLLM(url="http://127.0.0.1:9"))
    with pytest.raises(ConfigurationError, match='llm="settings"'):
        reranker.to_json()
    for text in (
        repr(reranker),
        str(reranker),
        reranker.model_dump_json(),
        str(reranker.model_dump()),
        repr(reranker._reranker),
    ):
        assert "0123456789" not in text
    with pytest.raises(InputError, match="'settings'"):
        FirstRerank(**{k: v for k, v in reranker.model_dump().items() if k != "class_name"})


def test_an_llm_goes_where_objects_go():
    reranker = FirstRerank(llm=MockLLM(max_tokens=7), top_n=3)
    assert FirstRerank.from_dict(reranker.to_dict()).llm is reranker.llm
    assert copy.deepcopy(reranker).llm is reranker.llm
    again = pickle.loads(pickle.dumps(reranker))
    assert (again.llm.max_tokens, again.top_n) == (7, 3)


def test_the_llm_of_the_settings_can_be_stored(llm, monkeypatch):
    stored = FirstRerank(llm="settings", top_n=1).to_json()
    monkeypatch.setattr(Settings, "_llm", None)
    again = FirstRerank.from_json(stored)  # before anything is set
    model, _ = llm()
    Settings.llm = model
    assert ids(ranked(again, nodes(1, 2))[0]) == ["1"]
    assert again._reranker.backend.inner.llm is model
    assert ids(asyncio.run(again.apostprocess_nodes(nodes(1, 2), query_str="q"))) == ["1"]
    assert pickle.loads(pickle.dumps(again)).llm == "settings"


@MODES
def test_settings_without_an_llm_are_a_wrong_setup(mode, monkeypatch):
    monkeypatch.setattr(Settings, "_llm", None)
    monkeypatch.setattr(
        "llama_index.core.settings.resolve_llm", lambda *_: (_ for _ in ()).throw(ImportError("no"))
    )
    with pytest.raises(ConfigurationError, match=r"Settings\.llm"):
        ranked(FirstRerank(llm="settings"), nodes(1, 2), mode)


def test_the_examples_run(monkeypatch):
    monkeypatch.setattr(Settings, "_llm", None)
    runner = doctest.DocTestRunner()
    for cls in (FirstRerank, LLMBackend):
        for example in doctest.DocTestFinder().find(cls, cls.__name__):
            assert not runner.run(example).failed


# Other people's integrations


@MODES
@pytest.mark.parametrize("is_chat", [True, False])
@pytest.mark.parametrize("fault", ["none", "silent", "no_logprobs_here", "new_names"])
def test_openai_like(openai_server, fault, is_chat, mode):
    module = pytest.importorskip("llama_index.llms.openai_like")
    server = openai_server(fault)
    options = {"model": "m", "api_key": "sk-0123456789", "max_retries": 0, "reuse_client": False}
    model = module.OpenAILike(api_base=server.url, is_chat_model=is_chat, **options)
    found, meta = ranked(FirstRerank(llm=model), nodes(1, 3, 2), mode)
    assert ids(found) == ["1", "2", "0"]
    assert meta["usage"]["prompt_tokens"] >= 100
    assert meta["repairs"]["written_orders"] == (fault in ("silent", "no_logprobs_here"))


@pytest.mark.slow
@MODES
def test_a_real_local_llm(smollm2_folder, mode):
    module = pytest.importorskip("llama_index.llms.huggingface")
    model = module.HuggingFaceLLM(
        model_name=str(smollm2_folder),
        tokenizer_name=str(smollm2_folder),
        max_new_tokens=12,
        device_map="cpu",
        generate_kwargs={"do_sample": False},
    )
    given = [NodeWithScore(node=TextNode(text=t)) for t in ("Cats sleep.", "A flea lives long.")]
    found, meta = ranked(FirstRerank(llm=model, raise_on_failure=True), given, mode)
    assert len(found) == 2
    assert meta["repairs"]["written_orders"] == 1


@pytest.mark.slow
@MODES
@pytest.mark.parametrize("is_chat", [True, False])
def test_a_real_llama_cpp_server(llama_cpp_url, is_chat, mode):
    module = pytest.importorskip("llama_index.llms.openai_like")
    url, options = f"{llama_cpp_url}/v1", {"api_key": "none", "reuse_client": False}
    model = module.OpenAILike(model="m", api_base=url, is_chat_model=is_chat, **options)
    reranker = FirstRerank(llm=model, policy="keep_order", raise_on_failure=True)
    found, meta = ranked(reranker, nodes(1, 2, 3), mode)
    assert sorted(ids(found)) == ["0", "1", "2"]
    assert meta["score_kind"] == "logprob"
    assert meta["usage"]["generated_tokens"] <= 3
