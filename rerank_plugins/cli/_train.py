"""``rerank-plugins train``: adapt a reranker to lists, or to the judgements of a collection."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..errors import InputError
from ..evaluation import load_collection, load_run
from ..registry import from_spec
from ._arguments import AT_LEAST_ONE, json_option, parse_json, read_text, strategy_spec
from ._terminal import synthetic_note, to_json

if TYPE_CHECKING:  # imported late: they need torch
    from ..ranking import Strategy
    from ..training import Trained, TrainingList, TrainingOptions


@click.command()
@click.argument("model")
@click.argument("data")
@click.option("--output", required=True, help="A folder for checkpoints and the reranker.")
@click.option(
    "--strategy",
    default="single-token",
    show_default=True,
    help="How it will rank: single-token (FIRST), pointwise, query-likelihood, pair-score (a "
    "cross-encoder), permutation, groupwise; or a spec, as JSON or in a file.",
)
@click.option("--prompt", help="The strategy's prompt: a name, or a TOML file.")
@click.option("--run", help="DATA is a BEIR folder: the TREC run that finds candidates.")
@click.option("--split", default="train", show_default=True, help="The split of its judgements.")
@click.option(
    "--size", type=AT_LEAST_ONE, default=10, show_default=True, help="Passages of each list."
)
@click.option(
    "--per-query", type=AT_LEAST_ONE, default=1, show_default=True, help="Lists of each query."
)
@click.option("--validation", help="Lists that decide which checkpoint is kept.")
@click.option(
    "--hold-out",
    type=click.FloatRange(0, 0.9),
    default=0.1,
    show_default=True,
    help="The share of queries held out for that, without --validation and --reward.",
)
@click.option("--skip-uninformative", is_flag=True, help="Leave out lists with equal labels.")
@click.option("--loss", help="A ranking loss: ranknet, listnet, lambda, kl, bce, ...")
@click.option("--loss-options", help="Options of the loss, as JSON: '{\"temperature\": 2}'.")
@click.option(
    "--score-scale", type=float, help="The factor of scores before the loss (30 for cosines)."
)
@click.option("--loss-weight", type=float, help="The factor of the loss (FIRST's lambda).")
@click.option("--lm-weight", type=float, help="The factor of the written answer's loss.")
@click.option(
    "--reward",
    help="GRPO with a reward instead: grouprank, reasonrank or erank. Nothing is held out.",
)
@click.option("--generations", default=8, show_default=True, help="Answers to each prompt.")
@click.option(
    "--answer-tokens", default=1024, show_default=True, help="Tokens of an answer at most."
)
@click.option(
    "--lora", type=AT_LEAST_ONE, help="The rank of an adapter; without it, all weights are trained."
)
@click.option(
    "--late-interaction",
    is_flag=True,
    help="With pair-score: an encoder whose tokens' vectors are compared, not a cross-encoder.",
)
@click.option(
    "--epochs", type=AT_LEAST_ONE, default=1, show_default=True, help="Passes over all lists."
)
@click.option("--max-steps", type=AT_LEAST_ONE, help="Optimiser steps at most.")
@click.option(
    "--batch-size", type=AT_LEAST_ONE, default=1, show_default=True, help="Lists at once."
)
@click.option(
    "--accumulate",
    type=AT_LEAST_ONE,
    default=8,
    show_default=True,
    help="Batches in an optimiser step.",
)
@click.option(
    "--learning-rate", type=float, default=2e-4, show_default=True, help="At its highest."
)
@click.option(
    "--schedule", default="cosine", show_default=True, help="How the learning rate falls."
)
@click.option("--warmup", type=int, default=10, show_default=True, help="Steps in which it grows.")
@click.option("--neftune-alpha", type=float, help="Noise on the embeddings.")
@click.option("--dropout", type=float, help="Share of hidden values that is dropped.")
@click.option("--context-tokens", type=AT_LEAST_ONE, help="Tokens of a prompt or pair at most.")
@click.option("--dtype", default="auto", show_default=True, help="Of the weights.")
@click.option("--bf16", is_flag=True, help="Compute in bfloat16.")
@click.option("--device", default="auto", show_default=True, help="auto or cpu.")
@click.option("--gradient-checkpointing", is_flag=True, help="Less memory, more time.")
@click.option(
    "--evaluate-every",
    type=AT_LEAST_ONE,
    default=50,
    show_default=True,
    help="Steps between validations, and between checkpoints.",
)
@click.option("--patience", type=AT_LEAST_ONE, help="Validations without a gain before the end.")
@click.option("--seed", type=int, default=42, show_default=True, help="Of everything random.")
@click.option("--about", help="A JSON file whose content is kept in reranker.json.")
@click.option("--anew", is_flag=True, help="Start again: remove an earlier run's files.")
@json_option("Print the result as JSON.")
def train(
    model: str,
    data: str,
    output: str,
    strategy: str,
    prompt: str | None,
    reward: str | None,
    generations: int,
    answer_tokens: int,
    about: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Train MODEL on DATA: a file of lists, or a BEIR folder together with --run.

    A line of the file is {"query_id", "query", "candidates": [{"id", "text", "label"}]}, higher
    labels for more relevant texts. --strategy decides what is trained, and the prompt is the one
    that serves. The folder then works everywhere a checkpoint does. The same command resumes a run
    that was interrupted.

    \b
    rerank-plugins train model.gguf lists.jsonl --lora 16 --output tuned
    rerank-plugins train HuggingFaceTB/SmolLM2-135M-Instruct scifact --run bm25.trec \\
        --lora 16 --output tuned
    rerank-plugins train sentence-transformers/all-MiniLM-L6-v2 lists.jsonl \\
        --strategy pair-score --learning-rate 5e-5 --context-tokens 256 --output tuned
    rerank-plugins evaluate scifact --run bm25.trec --reranker tuned
    """  # noqa: D301 - click's mark for a paragraph that keeps its lines
    from .. import training

    _refuse_ignored(data, reward, given["validation"])
    lists = _judged_lists(data, given) if Path(data).is_dir() else _read_lists(data, given)
    ranker, options = trainable_strategy(strategy, prompt), _options(given)
    notes = _json_object(read_text(about), about) if about else {}
    if reward:
        grpo = training.GrpoOptions(generations=generations, max_tokens=answer_tokens)
        trained = training.train_with_rewards(
            model, ranker, lists, reward, output, options=options, grpo=grpo, about=notes
        )
    else:
        lists, validation = _split(lists, given)
        trained = training.train(
            model,
            ranker,
            lists,
            output,
            validation=validation,
            options=options,
            about=notes,
            skip_uninformative=given["skip_uninformative"],
            progress=sys.stderr.isatty(),
        )
    click.echo(to_json(trained_numbers(trained)) if as_json else trained_text(trained))


_FOR_LABELS = (
    *("validation", "hold_out", "patience", "skip_uninformative", "neftune_alpha"),
    *("loss", "loss_options", "loss_weight", "lm_weight", "score_scale", "late_interaction"),
)
_FOR_REWARDS = ("generations", "answer_tokens")
_FOR_COLLECTIONS = ("run", "split", "size", "per_query")


def _refuse_ignored(data: str, reward: str | None, validation: str | None) -> None:
    """Refuse options that would have no effect.

    Raises:
        InputError: There is one; the message names it and the reason.
    """
    context = click.get_current_context()
    ignored = {
        "with --reward": _FOR_LABELS if reward else (),
        "without --reward": () if reward else _FOR_REWARDS,
        "with a file of lists": () if Path(data).is_dir() else _FOR_COLLECTIONS,
        "with --validation": ("hold_out",) if validation else (),
    }
    for when, names in ignored.items():
        for name in names:
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise InputError(f"--{name.replace('_', '-')} has no effect {when}")


def _read_lists(path: str, given: Mapping[str, Any]) -> "list[TrainingList]":
    from ..training.data import read_lists

    skipped: list[str] = []
    rows = list(read_lists(path, on_skip=skipped.append if given["skip_uninformative"] else None))
    _report_skipped(skipped, "lists")
    return rows


def _judged_lists(folder: str, given: Mapping[str, Any]) -> "list[TrainingList]":
    """Lists of a collection: the candidates of a run with their judgements."""
    from ..training.data import judged_lists

    if not given["run"]:
        raise InputError(f"{folder!r} is a folder", hint="Name the run of the candidates: --run.")
    collection, run = load_collection(folder, split=given["split"]), load_run(given["run"])
    for note in synthetic_note(collection.synthetic):
        click.echo(note, err=True)
    judged = {query: found for query, found in run.items() if query in collection.queries}
    if not judged:
        raise InputError(
            f"no query of the run is judged in {given['split']!r}",
            hint="Is it another split's run?",
        )
    skipped: list[str] = []
    options = {name: given[name] for name in ("size", "seed", "per_query")}
    rows = list(judged_lists(collection, judged, on_skip=skipped.append, **options))
    _report_skipped(skipped, "queries")
    return rows


def _report_skipped(reasons: Sequence[str], what: str) -> None:
    if reasons:
        text = f"{len(reasons)} {what} are left out, the first because {reasons[0]}"
        click.echo(text, err=True)


def _split(
    lists: "list[TrainingList]", given: Mapping[str, Any]
) -> "tuple[list[TrainingList], list[TrainingList]]":
    """The lists to train on, and those to validate on."""
    from ..training.data import split

    if given["validation"]:
        return lists, _read_lists(given["validation"], given)
    return split(lists, given["hold_out"], given["seed"]) if given["hold_out"] else (lists, [])


def trainable_strategy(given: str, prompt: str | None) -> "Strategy":
    """The strategy of ``--strategy`` with the prompt of ``--prompt``.

    Raises:
        InputError: The strategy has no prompt, or its spec is wrong.
    """
    built: Strategy = from_spec("strategies", strategy_spec(given))
    if prompt is None:
        return built
    if not hasattr(built, "prompt"):
        raise InputError(f"{given!r} has no prompt")
    chosen: Any = Path(prompt) if prompt.endswith(".toml") else prompt
    changed: Strategy = replace(built, prompt=chosen)  # type: ignore[type-var]  # a dataclass
    return changed


def _options(given: Mapping[str, Any]) -> "TrainingOptions":
    from ..training import Lora, Objective, TrainingOptions

    objective = None
    named = {
        "loss": "ranking",
        "loss_weight": "weight",
        "lm_weight": "lm_weight",
        "score_scale": "scale",
    }
    asked = {name: given[option] for option, name in named.items() if given[option] is not None}
    if given["loss_options"]:
        asked["options"] = _json_object(given["loss_options"], "--loss-options")
    if asked:
        if not given["loss"]:
            raise InputError(
                "--loss-weight, --lm-weight, --loss-options and --score-scale need --loss"
            )
        objective = Objective(**{"weight": 1.0, "lm_weight": 0.0} | asked)
    names = [f.name for f in fields(TrainingOptions) if f.name in given and f.name != "lora"]
    return TrainingOptions(
        **{name: given[name] for name in names},
        objective=objective,
        lora=Lora(rank=given["lora"]) if given["lora"] else None,
        resume=not given["anew"],
    )


def _json_object(text: str, name: str) -> dict[str, Any]:
    found = parse_json(text, name)
    if not isinstance(found, dict):
        raise InputError(f"{name} is not a JSON object")
    return found


def trained_numbers(trained: "Trained") -> dict[str, Any]:
    """The result of a training, for JSON."""
    names = ("steps", "loss", "ndcg", "ndcg_before", "skipped")
    return {"folder": str(trained.folder)} | {name: getattr(trained, name) for name in names}


def trained_text(trained: "Trained") -> str:
    """The result of a training in two lines: how it went, and how to load it."""
    text = f"{trained.steps} steps, loss {trained.loss:.4f}"
    if trained.ndcg is not None:
        before = "" if trained.ndcg_before is None else f"{trained.ndcg_before:.4f} -> "
        text += f", validation nDCG@10 {before}{trained.ndcg:.4f}"
    name = str(trained.folder)
    return f"{text}\n{name}: load_reranker({name!r}), or --reranker {name}"
