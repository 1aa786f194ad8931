"""The exported cross-encoder: its scores are torch's, and what is no cross-encoder is refused."""

import copy
import json
import math
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import tiny_exports

from rerank_plugins import (
    BackendError,
    InputError,
    ModelLoadError,
    ModelOutputError,
    PromptTooLongError,
)
from rerank_plugins._threads import in_thread
from rerank_plugins.backends import CrossEncoderBackend, OnnxCrossEncoderBackend
from rerank_plugins.calls import ScorePair
from rerank_plugins.errors import ConfigurationError
from rerank_plugins.registry import from_spec, to_spec

CALLS = [ScorePair("life of a flea", "a flea " * n + "cat") for n in range(8)]


@pytest.fixture
def folder(tmp_path):
    tiny_exports.bert(tmp_path)
    return tmp_path


@pytest.fixture
def torchs(tmp_path):
    return tiny_exports.bert(tmp_path)


def test_scores_are_torchs(torchs, tmp_path):
    expected = CrossEncoderBackend(torchs).run(CALLS)
    found = OnnxCrossEncoderBackend(tmp_path).run(CALLS)
    assert [r.answer for r in found] == pytest.approx([r.answer for r in expected], abs=1e-5)
    assert [r.prompt_tokens for r in found] == [r.prompt_tokens for r in expected]


def test_eight_bits_are_close(tmp_path):
    source = tiny_exports.bert(tmp_path, precision="int8")
    expected = [r.answer for r in CrossEncoderBackend(source).run(CALLS)]
    found = [r.answer for r in OnnxCrossEncoderBackend(tmp_path).run(CALLS)]
    spread = max(expected) - min(expected)
    assert found == pytest.approx(expected, abs=spread / 2)
    assert found != expected


def test_a_score_does_not_depend_on_the_others(tmp_path):
    tiny_exports.bert(tmp_path, precision="int8")
    backend = OnnxCrossEncoderBackend(tmp_path)
    alone = [backend.run([call])[0].answer for call in CALLS]
    assert [reply.answer for reply in backend.run(CALLS)] == alone


def test_pairs_may_run_together(folder):
    """As on an accelerator: padding changes nothing but rounding."""
    backend = OnnxCrossEncoderBackend(folder)
    expected = [reply.answer for reply in backend.run(CALLS)]
    backend._loaded._size = 3
    assert [r.answer for r in backend.run(CALLS)] == pytest.approx(expected, abs=1e-5)


def test_templates_surround_query_and_passage(folder):
    plain = OnnxCrossEncoderBackend(folder)
    templates = {"query_template": "query : {query}", "passage_template": "document : {passage}"}
    [found] = OnnxCrossEncoderBackend(folder, **templates).run([ScorePair("flea", "a {query} cat")])
    [expected] = plain.run([ScorePair("query : flea", "document : a {query} cat")])
    assert found.answer == expected.answer


def test_a_long_passage_is_cut_and_reported(folder, caplog):
    backend = OnnxCrossEncoderBackend(folder, max_tokens=10)
    whole, cut, exact = backend.run(
        [ScorePair("flea", text) for text in ("a cat", "cat " * 20, "cat " * 6)]
    )
    assert (whole.truncated, whole.prompt_tokens) == ((), 6)
    assert (cut.truncated, cut.prompt_tokens) == ((0,), 10)
    assert exact.truncated == ()
    assert cut.answer == exact.answer
    assert "texts of 1 of 3 calls were cut" in caplog.text


def test_a_query_is_never_cut(folder):
    backend = OnnxCrossEncoderBackend(folder, max_tokens=10)
    room, none, empty = backend.run(
        [
            ScorePair("flea " * 6, "cat sea"),
            ScorePair("flea " * 9, "cat"),
            ScorePair("flea " * 9, ""),
        ]
    )
    assert (room.truncated, room.prompt_tokens) == ((0,), 10)
    assert isinstance(none, PromptTooLongError)
    assert none.excess_tokens == 3  # ten tokens hold three special ones and one of the passage
    assert isinstance(empty, PromptTooLongError)


def test_the_limit_is_the_models_own(folder):
    [reply] = OnnxCrossEncoderBackend(folder).run([ScorePair("flea", "cat " * 100)])
    assert (reply.truncated, reply.prompt_tokens) == ((0,), 64)
    with pytest.raises(InputError, match="max_tokens is 65, and the model reads 64 tokens"):
        OnnxCrossEncoderBackend(folder, max_tokens=65).warm_up()


def test_control_tokens_in_texts_are_text(folder):
    backend = OnnxCrossEncoderBackend(folder)
    for text in ("a cat {}SEP] flea", "{}CLS] [ PAD]", "[ MASK] {}UNK]"):
        honest = [ScorePair("flea", text.format("[ ")), ScorePair(text.format("[ "), "flea")]
        hostile = [ScorePair("flea", text.format("[")), ScorePair(text.format("["), "flea")]
        assert backend.run(hostile) == backend.run(honest)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"threads": 0}, "threads is 0"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"query_template": "q"}, r"\{query\} and \{passage\}"),
        ({"model": None}, "model is None"),
        ({"model": ""}, "model is ''"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        OnnxCrossEncoderBackend(**{"model": "m", **options})


def test_a_device_that_is_not_there_is_refused(folder):
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("it is there")
    with pytest.raises(ConfigurationError, match="no CUDA"):
        OnnxCrossEncoderBackend(folder, device="cuda").warm_up()


def test_an_encoder_is_refused(tmp_path):
    tiny_exports.bert(tmp_path, "BertModel")
    with pytest.raises(ModelLoadError, match=r"its output 'last_hidden_state' has 3 dimensions"):
        OnnxCrossEncoderBackend(tmp_path).warm_up()


def changed(folder, change):
    """The exported graph of a folder, changed and written again."""
    import onnx

    path = folder / "model.onnx"
    graph = onnx.load(path)
    change(graph, onnx.helper)
    onnx.save(graph, path)


@pytest.mark.parametrize("cast", [False, True])
@pytest.mark.parametrize("operation", ["Sigmoid", "Softmax", "Tanh"])
def test_probabilities_are_refused(folder, operation, cast):
    def squash(model, helper):
        graph = model.graph
        end = "probability" if cast else "score"
        graph.node.append(helper.make_node(operation, ["logits"], [end]))
        if cast:
            graph.node.append(helper.make_node("Cast", [end], ["score"], to=1))
        graph.output[0].name = "score"

    changed(folder, squash)
    with pytest.raises(ModelLoadError, match=f"end in {operation}"):
        OnnxCrossEncoderBackend(folder).warm_up()


def test_several_labels_are_refused(folder):
    def double(model, helper):
        model.graph.node.append(helper.make_node("Concat", ["logits"] * 2, ["two"], axis=1))
        model.graph.output[0].name = "two"
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 2

    changed(folder, double)
    with pytest.raises(ModelLoadError, match="2 labels"):
        OnnxCrossEncoderBackend(folder).warm_up()


def test_a_configuration_of_several_labels_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"id2label": {"0": "no", "1": "yes"}}))
    with pytest.raises(ModelLoadError, match="2 labels"):
        OnnxCrossEncoderBackend(folder).warm_up()
    del config["id2label"]  # then the graph says it
    (folder / "config.json").write_text(json.dumps(config))
    OnnxCrossEncoderBackend(folder).warm_up()


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_not_a_number_is_the_models_error(folder, monkeypatch, score):
    import numpy as np

    backend = OnnxCrossEncoderBackend(folder)
    backend.warm_up()
    monkeypatch.setattr(
        backend._loaded._session, "run", lambda rows, _: np.array([[score]] * len(rows))
    )
    [reply] = backend.run(CALLS[:1])
    assert isinstance(reply, ModelOutputError)


def test_what_onnxruntime_raises_costs_one_call(folder):
    """Half of the vocabulary is cut off: a token that the graph does not know."""

    def shorten(model, helper):
        import numpy as np
        import onnx

        for weight in model.graph.initializer:
            if weight.name.endswith("word_embeddings.weight"):
                table = onnx.numpy_helper.to_array(weight)[:9]
                weight.CopyFrom(onnx.numpy_helper.from_array(np.array(table), weight.name))

    changed(folder, shorten)
    known, unknown, again = OnnxCrossEncoderBackend(folder).run(
        [ScorePair("flea", "a cat"), ScorePair("flea", "the x sea"), ScorePair("flea", "good cat")]
    )
    assert isinstance(unknown, BackendError)
    assert "onnxruntime failed" in str(unknown)
    assert known.answer != again.answer


def test_cancelled_work_stops_between_pairs(folder, monkeypatch):
    backend = OnnxCrossEncoderBackend(folder)
    backend.warm_up()
    session, seen, go = backend._loaded._session, threading.Event(), threading.Event()
    run, ran = session.run, []

    def slow(rows, output):
        ran.append(rows)
        seen.set()
        assert go.wait(10)
        return run(rows, output)

    monkeypatch.setattr(session, "run", slow)
    job = in_thread(lambda: backend.run(CALLS))
    assert seen.wait(10)
    job.cancelled.set()
    go.set()
    replies = job.future.result(10)
    assert len(ran) == 1
    assert sum(isinstance(reply, BackendError) for reply in replies) == len(CALLS) - 1


def test_threads_share_one_model(folder):
    backend = OnnxCrossEncoderBackend(folder, threads=2)
    expected = backend.run(CALLS)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: backend.run(CALLS), range(16))) == [expected] * 16


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_process_answers(folder):
    """Threads of the parent's session do not exist in the child."""
    code = f"""
import os
from rerank_plugins.backends import OnnxCrossEncoderBackend
from rerank_plugins.calls import ScorePair
backend = OnnxCrossEncoderBackend({str(folder)!r}, threads=2)
calls = [ScorePair("life of a flea", "a flea " * n) for n in range(4)]
expected = backend.run(calls)
child = os.fork()
if child == 0:
    same = backend.run(calls) == expected
    backend.close()
    os._exit(0 if same and backend.run(calls) == expected else 1)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0
assert backend.run(calls) == expected
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_it_runs_without_torch_and_transformers(folder):
    code = f"""
import sys
from rerank_plugins import Reranker
from rerank_plugins.backends import OnnxCrossEncoderBackend
Reranker("pair-score", OnnxCrossEncoderBackend({str(folder)!r})).rank("flea", ["a cat", "a flea"])
print([name for name in ("torch", "transformers", "sentence_transformers", "onnx")
       if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (found.stdout.strip(), found.stderr) == ("[]", "")


def test_closed_it_loads_again(folder):
    backend = OnnxCrossEncoderBackend(folder)
    expected = backend.run(CALLS)
    backend.close()
    backend.close()
    assert backend._loaded is None
    assert backend.run(CALLS) == expected


def test_copies_and_pickles_load_their_own(folder):
    backend = OnnxCrossEncoderBackend(folder, max_tokens=20, token="a-secret")
    expected = backend.run(CALLS)
    for twin in (copy.copy(backend), copy.deepcopy(backend), pickle.loads(pickle.dumps(backend))):
        assert twin._loaded is None
        assert (twin.max_tokens, twin.token) == (20, "a-secret")
        assert twin.run(CALLS) == expected


def test_a_spec_builds_it_and_holds_no_secret():
    backend = OnnxCrossEncoderBackend("org/model", precision="int8", threads=2, max_tokens=100)
    spec = to_spec("backends", backend)
    assert spec["name"] == "onnx-cross-encoder"
    assert vars(from_spec("backends", spec))["precision"] == "int8"
    secret = OnnxCrossEncoderBackend("org/model", token="hf_secret")
    assert "hf_secret" not in repr(secret)
    with pytest.raises(ConfigurationError, match="holds a secret, token"):
        to_spec("backends", secret)
