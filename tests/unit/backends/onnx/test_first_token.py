"""A classifier's graph without the rows that nobody reads computes the same logits."""

import io
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
library = pytest.importorskip("onnxruntime")

from rerank_plugins.backends._onnx.first_token import keep_first_token  # noqa: E402

PADDING = 1
SMALL = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_labels": 1,
    "pad_token_id": PADDING,
    "initializer_range": 0.3,
}


def exported(kind, **options):
    """A tiny classifier's graph, which takes ids and a mask."""
    import transformers

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **SMALL | options)
    model = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    model.set_attn_implementation("eager")

    class Graph(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, ids, mask):
            return self.model(input_ids=ids, attention_mask=mask).logits

    sizes, file = {0: "batch", 1: "tokens"}, io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Graph().eval(),
            (torch.full((3, 7), 5), torch.ones(3, 7, dtype=torch.int64)),
            file,
            dynamo=False,
            input_names=["ids", "mask"],
            output_names=["logits"],
            dynamic_axes={"ids": sizes, "mask": sizes, "logits": {0: "batch"}},
            opset_version=17,
        )
    return onnx.load_from_string(file.getvalue())


def run(graph, rows, *outputs):
    """The outputs for rows of tokens, padded to the longest."""
    ids = np.full((len(rows), max(map(len, rows))), PADDING, dtype=np.int64)
    for place, row in zip(ids, rows, strict=True):
        place[: len(row)] = row
    feed = {"ids": ids, "mask": (ids != PADDING).astype(np.int64)}
    session = library.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(list(outputs or ["logits"]), feed)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("bert", {}),
        ("roberta", {}),
        ("electra", {}),
        ("distilbert", {"dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2}),
        ("modernbert", {}),
        ("deberta-v2", {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
        ("gpt2", {"n_embd": 16, "n_layer": 2, "n_head": 2}),  # it reads the last token
    ],
)
def test_the_logits_stay(kind, options):
    whole = exported(kind, **options)
    short = keep_first_token(onnx.ModelProto.FromString(whole.SerializeToString()))
    onnx.checker.check_model(short)
    generator = np.random.default_rng(0)
    for lengths in ([1], [2], [9], [5, 3, 1], [4, 4, 4, 4]):
        rows = [generator.integers(4, 60, n) for n in lengths]
        [right], [found] = run(whole, rows), run(short, rows)
        assert np.ptp(right) > 1e-3 or len(rows) == 1
        np.testing.assert_allclose(found, right, atol=2e-6)


def test_one_row_is_computed():
    """Of the last layer's queries, and of what follows its attention; other layers are whole."""
    short = keep_first_token(exported("bert"))
    names = [
        f"/model/bert/encoder/layer.{layer}/{part}/Add_output_0"
        for part in ("attention/self/query", "attention/self/key", "output/dense")
        for layer in (0, 1)
    ]
    short.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    shapes = [found.shape[1] for found in run(short, [[5, 6, 7, 8]], *names)]
    assert shapes == [4, 1, 4, 4, 4, 1]


def test_other_graphs_stay_as_they_are():
    """A causal model has no first token to choose."""
    whole = exported("gpt2", n_embd=16, n_layer=2, n_head=2)
    assert keep_first_token(whole) is whole
