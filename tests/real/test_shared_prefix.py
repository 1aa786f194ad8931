"""The beginning that prompts share is computed once, and the answers stay the same."""

import copy
import threading
import warnings

import pytest

from rerank_plugins import PromptTooLongError, Reranker
from rerank_plugins._threads import in_thread
from rerank_plugins.backends import TransformersBackend
from rerank_plugins.calls import Likelihood, Message, NextToken, Prompt, Reply, Untrusted
from rerank_plugins.errors import BackendError
from rerank_plugins.strategies import Pointwise, PointwiseGrade, QueryLikelihood

QUERIES = ("how long is the life of a flea", "what do wolves eat in winter")
RULES = "Judge whether the passage meets the requirements of the query. " * 4
TEXTS = tuple(
    f"{'A flea lives for some weeks. ' * (i % 7)}Note {i}: wolves eat." for i in range(24)
)


def begun(query, text):
    """Instruction and query first, the passage after them."""
    parts = (RULES, Untrusted(query, "query"), "\nPassage: ", Untrusted(text), "\nAnswer: ")
    return Prompt((Message("user", parts),))


def asked(query=QUERIES[0], texts=TEXTS):
    return [NextToken(begun(query, text), ("yes", "no")) for text in texts]


def continued(query=QUERIES[0], texts=TEXTS):
    ends = (" It lives.", " It is known that a flea lives for a while.")
    return [Likelihood(begun(query, t), Untrusted(ends[i % 2])) for i, t in enumerate(texts)]


def plain(text):
    return NextToken(Prompt((Message("user", (text,)),), chat=False), ("yes", "no"))


def numbers(replies):
    found = []
    for reply in replies:
        assert isinstance(reply, Reply), reply
        seen = getattr(reply.answer, "seen", None)
        found += list(seen.values()) if seen else [reply.answer.logprob]
    return found


class Tokens:
    """Counts the tokens of each pass through a model, padding included."""

    def __init__(self, model):
        self.passes = []
        self._hook = model.get_input_embeddings().register_forward_hook(self._count)

    def _count(self, _module, inputs, _output):
        self.passes.append(tuple(inputs[0].shape))

    @property
    def total(self):
        return sum(rows * length for rows, length in self.passes)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._hook.remove()


@pytest.fixture
def pair(tiny_model, tokenizer):
    """The same model with and without sharing."""
    return both(tiny_model, tokenizer)


def both(model, tokenizer, **options):
    return [
        TransformersBackend(model, tokenizer=tokenizer, share_prefix=share, **options)
        for share in (True, False)
    ]


def check_equal(shared, whole, calls, abs=1e-4):  # noqa: A002 - as pytest.approx has it
    """The same answers and costs."""
    ours, theirs = shared.run(calls), whole.run(calls)
    assert numbers(ours) == pytest.approx(numbers(theirs), abs=abs)
    assert [r.prompt_tokens for r in ours] == [r.prompt_tokens for r in theirs]
    assert len(set(numbers(theirs))) > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "calls",
    [asked(texts=TEXTS[:12]), continued(texts=TEXTS[:12])],
    ids=["next token", "likelihood"],
)
def test_a_real_model_answers_the_same(smollm2, smollm2_folder, calls):
    whole = TransformersBackend(
        smollm2._ready().model, tokenizer=smollm2._ready().renderer.tokenizer, share_prefix=False
    )
    check_equal(smollm2, whole, calls)


@pytest.mark.slow
def test_a_real_model_in_bfloat16_answers_nearly_the_same(smollm2):
    model = copy.deepcopy(smollm2._ready().model).bfloat16()
    shared, whole = both(model, smollm2._ready().renderer.tokenizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # its rounding is no reason not to share
        check_equal(shared, whole, asked(texts=TEXTS[:4]), abs=0.5)


@pytest.mark.parametrize(
    "strategy",
    [
        Pointwise(),
        Pointwise(prompt="yes-no.v1"),
        PointwiseGrade(prompt="grades.v1", expectation=True),
        QueryLikelihood(),
    ],
)
def test_strategies_rank_the_same(pair, strategy):
    ours, theirs = (Reranker(strategy, backend).rank(QUERIES[0], TEXTS) for backend in pair)
    assert ours.order == theirs.order
    assert ours.scores == pytest.approx(theirs.scores, abs=1e-4)
    assert ours.usage.prompt_tokens == theirs.usage.prompt_tokens


def test_the_beginning_is_computed_once(pair, tiny_model):
    shared, whole = pair
    calls = asked()
    shared.run(calls[:2])  # the trial is behind us
    lengths = [len(shared.token_ids(call.prompt)) for call in calls]
    with Tokens(tiny_model) as seen:
        shared.run(calls)
    (one, prefix), *batches = seen.passes
    assert one == 1
    assert prefix > 50
    assert sum(rows for rows, _ in batches) == len(calls)
    suffixes = sum(lengths) - len(calls) * prefix
    assert suffixes <= seen.total - prefix <= 1.3 * suffixes
    with Tokens(tiny_model) as seen:
        whole.run(calls)
    assert seen.total == sum(lengths)


def test_two_queries_in_one_batch_have_a_beginning_each(pair, tiny_model):
    shared, whole = pair
    calls = [c for two in zip(asked(QUERIES[0]), asked(QUERIES[1]), strict=True) for c in two]
    check_equal(shared, whole, calls)
    with Tokens(tiny_model) as seen:
        shared.run(calls)
    assert sum(rows == 1 and length > 50 for rows, length in seen.passes) == 2


def test_kinds_of_calls_in_one_batch(pair):
    calls = [c for two in zip(asked(), continued(), strict=True) for c in two]
    check_equal(*pair, calls)


def test_without_a_common_beginning_every_prompt_runs_alone(pair, tiny_model):
    shared, whole = pair
    calls = [plain(f"{i} {'word ' * 50}") for i in range(5)]
    check_equal(shared, whole, calls)
    lengths = [len(shared.token_ids(call.prompt)) for call in calls]
    with Tokens(tiny_model) as seen:
        shared.run(calls)
    assert sorted(seen.passes) == sorted((1, length) for length in lengths)


def test_a_prompt_that_is_the_beginning_of_another(pair):
    long = "A flea lives for two months. " * 12
    check_equal(*pair, [plain(long), plain(long + "And"), plain(long + "And so on, for long.")])


def test_a_continuation_that_others_begin_with(pair):
    """Tokens whose logits are needed are never part of a shared beginning."""
    prompt = Prompt((Message("user", ("Passage: a flea. ",)),), chat=False)
    long = "It lives for two months, or three. " * 6
    check_equal(*pair, [Likelihood(prompt, Untrusted(long + end)) for end in ("", "Yes.", "No.")])


def test_one_call_and_equal_calls(pair, tiny_model):
    shared, whole = pair
    [call] = asked(texts=TEXTS[:1])
    shared.warm_up()
    with Tokens(tiny_model) as seen:
        one, other = shared.run([call, call])
    assert one == other == whole.run([call])[0]
    assert len(seen.passes) == 1


def test_batches_within_a_budget(tiny_model, tokenizer):
    shared, whole = both(tiny_model, tokenizer, max_batch_tokens=300)
    check_equal(shared, whole, asked())
    with Tokens(tiny_model) as seen:
        shared.run(asked())
    assert max(rows * length for rows, length in seen.passes) <= 300


def test_a_prompt_beyond_the_context_is_an_error_in_its_place(tiny_model, tokenizer):
    shared, whole = both(tiny_model, tokenizer, context_tokens=180)
    calls = asked(texts=(*TEXTS[:4], "word " * 300, *TEXTS[4:8]))
    ours, theirs = shared.run(calls), whole.run(calls)
    assert isinstance(ours[4], PromptTooLongError)
    assert ours[4].excess_tokens == theirs[4].excess_tokens
    rest = [*ours[:4], *ours[5:]]
    assert numbers(rest) == pytest.approx(numbers([*theirs[:4], *theirs[5:]]), abs=1e-4)


def test_labels_that_cannot_work_cost_no_forward_pass(pair, tiny_model):
    from rerank_plugins import LabelError

    shared, _ = pair
    shared.warm_up()
    calls = [NextToken(call.prompt, ("yes", "hippopotamus")) for call in asked()]
    with Tokens(tiny_model) as seen, pytest.raises(LabelError):
        shared.run(calls)
    assert seen.passes == []


def test_what_nobody_waits_for_is_given_up_between_batches(tiny_model, tokenizer):
    shared, _ = both(tiny_model, tokenizer, max_batch_tokens=100)
    shared.run(asked(texts=TEXTS[:2]))
    forward, passes = tiny_model.forward, []
    started, go = threading.Event(), threading.Event()

    def slow(*args, **kwargs):
        passes.append(1)
        if len(passes) == 3:
            started.set()
            go.wait(60)
        return forward(*args, **kwargs)

    tiny_model.forward = slow
    try:
        job = in_thread(lambda: shared.run(asked()))
        started.wait(60)
        job.cancelled.set()
        go.set()
        replies = job.future.result(60)
    finally:
        tiny_model.forward = forward
    given_up = [reply for reply in replies if isinstance(reply, BackendError)]
    assert len(passes) == 3  # the prefix and two batches
    assert 0 < len(given_up) < len(replies)


@pytest.mark.parametrize("failing", [1, 3])
def test_out_of_memory_is_an_answer(pair, tiny_model, failing):
    import torch

    shared, whole = pair
    shared.run(asked(texts=TEXTS[:2]))
    forward, passes = tiny_model.forward, []

    def full(*args, **kwargs):
        passes.append(1)
        if len(passes) == failing:
            raise torch.OutOfMemoryError
        return forward(*args, **kwargs)

    tiny_model.forward = full
    try:
        replies = shared.run(asked())
    finally:
        tiny_model.forward = forward
    lost = [reply for reply in replies if isinstance(reply, BackendError)]
    assert 0 < len(lost) < len(replies)
    assert all("memory" in str(error) for error in lost)
    expected = dict(zip(map(id, replies), whole.run(asked()), strict=True))
    for reply in replies:
        if isinstance(reply, Reply):
            assert numbers([reply]) == pytest.approx(numbers([expected[id(reply)]]), abs=1e-4)


# Other architectures


def tiny_of(kind, tokenizer, **options):
    """A random model of a few thousand weights, of another architecture."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer),
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        **{"initializer_range": 0.6, **options},
    )
    return transformers.AutoModelForCausalLM.from_config(config)


LLAMA_LIKE = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 8192,
}
EXACT = {
    "a sliding window shorter than the prompts": ("Mistral", {**LLAMA_LIKE, "sliding_window": 48}),
    "one that some prompts fit in": ("Mistral", {**LLAMA_LIKE, "sliding_window": 140}),
    "one that all prompts fit in": ("Mistral", {**LLAMA_LIKE, "sliding_window": 1000}),
    "layers with and without": (
        "Gemma2",
        {**LLAMA_LIKE, "head_dim": 8, "sliding_window": 60, "query_pre_attn_scalar": 8},
    ),
    "learned positions": ("GPT2", {"n_embd": 16, "n_layer": 2, "n_head": 2}),
    "rotary embeddings that stretch": (
        "Llama",
        {
            **LLAMA_LIKE,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10_000.0,
                "short_factor": [1.0] * 4,
                "long_factor": [8.0] * 4,
                "original_max_position_embeddings": 120,
            },
        },
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_other_attention_answers_the_same(tokenizer, name):
    kind, options = EXACT[name]
    model = tiny_of(kind, tokenizer, **options)
    check_equal(*both(model, tokenizer), [*asked(), *continued()])


def test_a_window_that_all_prompts_fit_in_is_shared(tokenizer):
    model = tiny_of("Mistral", tokenizer, **LLAMA_LIKE, sliding_window=1000)
    shared, whole = both(model, tokenizer)
    totals = []
    for backend in (shared, whole):
        backend.run(asked(texts=TEXTS[:2]))
        with Tokens(model) as seen:
            backend.run(asked())
        totals.append(seen.total)
    assert totals[0] < 0.7 * totals[1]


UNSHAREABLE = {
    "biases by distance in the cache": ("Mpt", {"d_model": 16, "n_layers": 2, "n_heads": 2}),
    "a state instead of keys": ("Mamba", {"hidden_size": 16, "num_hidden_layers": 2}),
}


@pytest.mark.parametrize("name", UNSHAREABLE)
def test_what_cannot_be_shared_is_said_once_and_answers_the_same(tokenizer, name):
    kind, options = UNSHAREABLE[name]
    model = tiny_of(kind, tokenizer, **options)
    shared, whole = both(model, tokenizer)
    with pytest.warns(UserWarning, match="computes every prompt as a whole"):
        shared.run(asked()[:2])
    check_equal(shared, whole, asked())  # a second warning would be an error here
