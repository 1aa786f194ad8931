"""What the name of a reranker stands for."""

import json

import pytest
from openai_server import OpenAIServer

from rerank_plugins import (
    ConfigurationError,
    InputError,
    ModelLoadError,
    UnknownNameError,
    load_reranker,
)
from rerank_plugins.presets import (
    DEFAULT_PRESET,
    UNTRAINED,
    backend_of,
    find_named,
    is_address,
    is_spec,
    load_spec,
    preset_parts,
)
from rerank_plugins.presets._foreign import FOREIGN

MISTRAL = "castorini/first_mistral"


@pytest.fixture
def serve():
    """Start servers that list some models."""
    running = []

    def start(*models, **options):
        running.append(OpenAIServer(models=models or None, **options))
        return running[-1].url

    yield start
    for server in running:
        server.close()


def folder_with(folder, **config):
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("name", [MISTRAL, "first_mistral", "FIRST_Mistral"])
def test_a_checkpoint(name):
    found = find_named(name)
    assert (found.model, found.backend["model"]) == (MISTRAL, MISTRAL)
    assert found.strategy["inner"]["prompt"] == "rankllm-letters.v1"


def test_first_means_the_checkpoint_s_own():
    assert find_named(MISTRAL, strategy="first").strategy == find_named(MISTRAL).strategy
    assert find_named(MISTRAL, strategy="FIRST").strategy == find_named(MISTRAL).strategy
    assert find_named("bge-reranker-base", strategy="first").strategy == "first"
    assert find_named("a/b", strategy="first").strategy == "first"


def test_a_folder_of_that_name_is_a_copy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first_mistral").mkdir()
    found = find_named("first_mistral")
    assert found.backend["model"] == "first_mistral"
    assert found.strategy["inner"]["prompt"] == "rankllm-letters.v1"


@pytest.mark.parametrize(
    ("config", "strategy", "backend"),
    [
        ({"architectures": ["BertForSequenceClassification"]}, "pair-score", "cross-encoder"),
        ({"architectures": ["LlamaForCausalLM"]}, "query-likelihood", "transformers"),
        ({"architectures": ["T5Model"], "is_encoder_decoder": True}, None, "seq2seq"),
        ({"architectures": ["Odd"]}, None, "transformers"),
        ({}, None, "transformers"),
    ],
)
def test_a_folder_with_a_model_ranks_as_its_kind_can(tmp_path, config, strategy, backend):
    found = find_named(folder_with(tmp_path, **config))
    assert found.strategy == strategy
    assert found.backend == {"name": backend, "model": str(tmp_path)}


def test_a_folder_with_an_exported_classifier(tmp_path):
    folder_with(tmp_path, architectures=["BertForSequenceClassification"])
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").touch()
    assert find_named(tmp_path).backend["name"] == "onnx-cross-encoder"
    assert find_named("a/model.onnx").backend["name"] == "onnx-cross-encoder"
    (tmp_path / "model.safetensors").touch()
    assert find_named(tmp_path).backend["name"] == "cross-encoder"


@pytest.mark.parametrize("place", ["", "onnx/"])
def test_an_exported_file_ranks_as_its_folder_does(tmp_path, place):
    (tmp_path / "modules.json").write_text("[]")
    (tmp_path / "onnx").mkdir()
    file = tmp_path / f"{place}model_int8.onnx"
    file.touch()
    for kind, name in {
        "BertModel": "late-interaction",
        "BertForSequenceClassification": "onnx-cross-encoder",
    }.items():
        (tmp_path / "config.json").write_text(json.dumps({"architectures": [kind]}))
        assert find_named(file).backend["name"] == name
        assert find_named(tmp_path).backend["name"] == name
    (tmp_path / "config.json").write_text('{"architectures": 5}')  # nothing that says its kind
    assert find_named(file).backend["name"] == "late-interaction"


def test_a_folder_with_an_adapter(tmp_path):
    config = {"base_model_name_or_path": "a/base"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    found = find_named(tmp_path, strategy="first", base="other")
    assert found.backend == {"name": "transformers", "model": "other", "adapter": str(tmp_path)}
    assert find_named(tmp_path).backend["model"] == "a/base"
    with pytest.raises(UnknownNameError, match="nothing says how the model in the folder"):
        find_named(tmp_path).with_strategy()


def test_a_folder_with_neither(tmp_path):
    with pytest.raises(
        InputError, match=r"neither a trained reranker \(reranker.json\) nor a model"
    ):
        find_named(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="cannot read"):
        find_named(tmp_path)


def test_a_file_of_weights_ranks_by_query_likelihood():
    assert find_named("some.gguf").strategy == "query-likelihood"
    assert find_named("some.gguf", strategy="first").strategy == "first"


def test_any_hub_id_needs_a_strategy_which_says_what_loads_it():
    assert find_named("a/b").strategy is None
    assert find_named("a/b", strategy="query-likelihood").backend["name"] == "transformers"
    for pairs in ("pair-score", {"name": "hybrid", "inner": "pair-score"}):
        assert find_named("a/b", strategy=pairs).backend["name"] == "cross-encoder"


def test_a_name_that_nobody_knows():
    with pytest.raises(UnknownNameError) as error:
        find_named("castorini/first_mistrel").with_strategy()
    assert str(error.value).startswith(
        "'castorini/first_mistrel' is not a known checkpoint. Did you mean castorini/first_mistral"
    )
    with pytest.raises(UnknownNameError, match="preset='bge-base' is not a known checkpoint"):
        find_named("a/b", preset="bge-base")
    with pytest.raises(InputError, match="base= is for adapters"):
        find_named(MISTRAL, base="a/b")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("FIRST", "'FIRST' is a strategy, not a model. Name a model too"),
        ("first", "'first' is a strategy, not a model. Name a model too"),
        ("pair-score", "strategy='pair-score'"),
        ("gpt-4", "Give base_url="),
        ("cohere", "a hosted service"),
        ("localhost:8000/v1", "'http://localhost:8000/v1'"),
        ("gpt2", "`rerank-plugins models` has those. With strategy="),
        ("minilm", "Did you mean rerank-plugins/minilm"),
        ("monot5", "Did you mean castorini/monot5"),
    ],
)
def test_names_that_newcomers_try(name, says):
    with pytest.raises(UnknownNameError) as error:
        find_named(name).with_strategy()
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("BAAI/bge-reranker-v2-minicpm-layerwise", "Use bge-reranker-v2-gemma or"),
        ("bge-reranker-v2.5-Gemma2-lightweight", "Use bge-reranker-v2-gemma or"),
        ("nvidia/llama-nemotron-rerank-1b-v2", "Run it on vLLM .* and give base_url=, or use"),
        ("nvidia/Nemotron-3.5-Rerank-8B", "Use Qwen3-Reranker-8B"),
        ("Nemotron-3.5-Rerank-8B-BF16", "Use Qwen3-Reranker-8B"),
        ("gte-multilingual-reranker-base", "Run it on vLLM and give base_url="),
    ],
)
def test_a_checkpoint_that_needs_code_of_its_own(name, says):
    for strategy in (None, "pair-score", "pointwise"):
        with pytest.raises(UnknownNameError, match=f"needs the code that comes with it.*{says}"):
            find_named(name, strategy=strategy)
    with pytest.raises(UnknownNameError, match=f"needs the code that comes with it.*{says}"):
        find_named("a/b", preset=name)
    with pytest.raises(UnknownNameError, match=f"needs the code that comes with it.*{says}"):
        preset_parts(name)
    served = find_named(name, base_url="http://nobody")
    assert (served.strategy, served.backend["name"]) == ("pair-score", "openai")


@pytest.mark.parametrize("foreign", FOREIGN.values())
def test_what_is_named_instead_is_known(foreign):
    for name in foreign.instead.split(" or "):
        assert find_named(name).strategy is not None


def test_a_folder_with_such_a_checkpoint_is_one_error(tmp_path):
    """Its files are looked at, and the model's own code is not run."""
    folder = tmp_path / "bge-reranker-v2-minicpm-layerwise"
    folder.mkdir()
    folder_with(
        folder,
        architectures=["LayerWiseMiniCPMForCausalLM"],
        model_type="minicpm",
        auto_map={"AutoConfig": "configuration_minicpm_reranker.LayerWiseMiniCPMConfig"},
    )
    pytest.importorskip("transformers")
    with pytest.raises(ModelLoadError, match="Models that bring code are refused"):
        load_reranker(folder).rank("q", ["a", "b"])


def test_the_default_has_a_name():
    assert find_named("default") == find_named(DEFAULT_PRESET)


@pytest.mark.parametrize("model", [None, "", 5])
def test_what_is_not_a_name_is_refused(model):
    with pytest.raises(InputError, match="expected a name"):
        find_named(model)


def test_hosted_models_are_not_looked_for_on_the_hub():
    with pytest.raises(UnknownNameError, match="hosted service"):
        find_named("gpt-4", strategy="pointwise")
    assert find_named("openai/gpt-oss-20b", strategy="pointwise").model == "openai/gpt-oss-20b"


@pytest.mark.parametrize("name", ["/no/such/folder", "./folder", "~/folder", "folder/"])
def test_a_path_where_nothing_is_gets_no_names_of_checkpoints(name):
    with pytest.raises(UnknownNameError) as error:
        find_named(name).with_strategy()
    assert str(error.value).startswith(f"there is no folder {name!r}. ")
    assert "castorini" not in str(error.value)


@pytest.mark.parametrize("architecture", ["BertModel", "HF_ColBERT"])
def test_a_folder_with_an_encoder_ranks_by_late_interaction(tmp_path, architecture):
    folder_with(tmp_path, architectures=[architecture])
    assert find_named(tmp_path).strategy is None
    (tmp_path / "modules.json").write_text("[]")
    found = find_named(tmp_path)
    assert found.strategy == "pair-score"
    assert found.backend == {"name": "late-interaction", "model": str(tmp_path)}


def test_the_address_of_a_server_is_asked_for_its_model(serve):
    url = serve(MISTRAL)
    found = find_named(url)
    assert found.strategy == find_named(MISTRAL).strategy
    assert found.backend["name"] == "openai"
    assert (found.backend["model"], found.backend["base_url"]) == (MISTRAL, url)
    assert found.backend["context_tokens"] == 4096


def test_an_unknown_model_on_a_server(serve):
    found = find_named(serve("chat"))
    assert (found.model, found.strategy) == ("chat", UNTRAINED)
    assert find_named("chat", base_url="http://nobody", strategy="pairwise").strategy == "pairwise"


def test_a_server_that_does_not_say_which_model(serve):
    with pytest.raises(
        ConfigurationError, match=r"has 7 models: 'm0', .*'m4' and 2 others"
    ) as error:
        find_named(serve(*(f"m{i}" for i in range(7))))
    assert "Give one's name, and base_url=" in str(error.value)
    with pytest.raises(ConfigurationError, match=r"does not list its models \(404.*base_url="):
        find_named(serve())


def test_an_address_where_nothing_answers():
    server = OpenAIServer()
    server.close()
    with pytest.raises(ConfigurationError, match="Start the server, or check the address"):
        find_named(server.url)
    with pytest.raises(InputError, match="an address, and base_url another"):
        find_named(server.url, base_url=server.url)
    with pytest.raises(InputError, match="not an http or https address"):
        find_named("http://")


def test_a_form_that_servers_do_not_apply():
    with pytest.raises(InputError, match="in a form that a server does not apply"):
        find_named("dear-3b-reranker-ce-v1", base_url="http://nobody")


def test_a_spec_of_parts():
    found = find_named({"strategy": "pair-score", "backend": "constant", "on_error": "raise"})
    assert (found.model, found.strategy, found.backend) == (None, "pair-score", "constant")
    assert found.on_error == "raise"
    named = find_named({"backend": {"model": "bge-reranker-base", "device": "cpu"}})
    assert named.strategy == {"name": "pair-score"}
    assert (named.backend["name"], named.backend["device"]) == ("cross-encoder", "cpu")
    for spec, says in (
        ({"strategy": "first"}, "needs a backend or a model"),
        ({"backend": "constant"}, "needs a strategy"),
        (
            {"strategie": "first", "backend": "constant"},
            r"no strategie\. Did you mean strategy",
        ),
    ):
        with pytest.raises(InputError, match=says):
            find_named(spec)
    with pytest.raises(InputError, match="base_url= is for a model, and this is a spec of parts"):
        find_named({"strategy": "first", "backend": "constant"}, base_url="http://nobody")


def test_a_spec_of_a_model(tmp_path):
    spec = {"model": "smollm2-first", "base": "m.gguf", "context_tokens": 512, "preset": MISTRAL}
    with pytest.raises(InputError, match="base= is for adapters"):
        find_named(spec)
    found = find_named(
        {"model": "first_mistral", "context_tokens": 512, "limits": {"max_calls": 2}}
    )
    assert (found.backend["context_tokens"], found.limits) == (512, {"max_calls": 2})
    assert find_named({"model": "a/b", "strategy": "first"}).strategy == "first"
    (tmp_path / "spec.yaml").write_text("model: first_mistral\nstrategy: pairwise\n")
    assert find_named(tmp_path / "spec.yaml").strategy == "pairwise"
    assert find_named(str(tmp_path / "spec.yaml"), strategy="first").strategy["size"] == 20
    for key, says in (
        ("dtyp", "has no dtyp. Did you mean dtype"),
        ("stratgy", "has no stratgy. Did you mean strategy"),
        ("token", "holds no token: it would be plain text"),
        ("api_key", "api_key is for a server, and the backend is 'transformers'. Give base_url"),
        ("api_key_env", "api_key_env is for a server"),
    ):
        with pytest.raises(InputError, match=says):
            find_named({"model": MISTRAL, key: "x"})


def test_the_key_of_a_server_where_there_is_none():
    parts = {"strategy": "first", "backend": {"name": "openai"}, "api_key": "secret-key"}
    with pytest.raises(InputError, match="api_key stands beside the backend") as error:
        find_named(parts)
    assert "secret-key" not in str(error.value)
    for key in ("api_key", "api_key_env"):
        with pytest.raises(InputError, match=f"{key} is for a server.*Give base_url") as error:
            load_reranker(MISTRAL, **{key: "secret-key"})
        assert "secret-key" not in str(error.value)


def test_a_spec_of_another_spec(tmp_path):
    (tmp_path / "parts.json").write_text('{"strategy": "first", "backend": "constant"}')
    found = find_named({"model": str(tmp_path / "parts.json"), "on_error": "keep_order"})
    assert (found.strategy, found.backend, found.on_error) == ("first", "constant", "keep_order")
    built = {"model": {"strategy": "first", "backend": object()}, "device": "cpu"}
    with pytest.raises(InputError, match="device cannot be changed on a backend that is built"):
        find_named(built)


def test_a_backend_that_is_complete_stays_as_it_is():
    for spec in ({"name": "constant"}, {"name": "openai", "model": "m"}, {"model": 3}):
        assert backend_of(spec) == (None, spec)


def test_kinds_of_names():
    assert is_address("https://api.openai.com/v1")
    assert not is_address("http")
    assert is_spec("a/spec.yml")
    assert not is_spec("http://host/spec.json")
    assert not is_spec("model.gguf")


def test_spec_files_that_cannot_be_read(tmp_path):
    deep = tmp_path / "deep.yaml"
    deep.write_text("[" * 5000)
    with pytest.raises(InputError, match="is not YAML"):
        load_spec(deep)
    with pytest.raises(InputError, match="there is no spec file"):
        find_named(tmp_path / "none.json")
