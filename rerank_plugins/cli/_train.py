"""``rerank-plugins train``: adapt a reranker to lists, or to the judgements of a collection."""

import json
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..registry import from_spec
from ._printing import as_json
from ._specs import is_spec, load_spec

if TYPE_CHECKING:
    from ..ranking import Strategy
    from ..training import Objective, Trained, TrainingList, TrainingOptions


def command() -> Any:
    """``rerank-plugins train``."""
    import click

    at_least_one = click.IntRange(min=1)

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
    @click.option("--split", default="train", show_default=True, help="Its judgements.")
    @click.option("--size", type=at_least_one, default=10, show_default=True, help="Of its lists.")
    @click.option("--per-query", type=at_least_one, default=1, show_default=True)
    @click.option("--validation", help="Lists that decide which checkpoint is kept.")
    @click.option(
        "--hold-out",
        type=click.FloatRange(0, 0.9),
        default=0.1,
        show_default=True,
        help="The share of queries for that, where there is no --validation and no --reward.",
    )
    @click.option("--skip-uninformative", is_flag=True, help="Leave out lists with equal labels.")
    @click.option("--loss", help="A ranking loss: ranknet, listnet, lambda, kl, bce, ...")
    @click.option("--loss-options", help="Its options, as JSON: '{\"temperature\": 2}'.")
    @click.option("--loss-weight", type=float, help="Its factor (FIRST's lambda).")
    @click.option("--lm-weight", type=float, help="Of the loss of the written answer.")
    @click.option(
        "--reward",
        help="GRPO with a reward instead: grouprank, reasonrank or erank. Nothing is held out.",
    )
    @click.option(
        "--generations", default=8, show_default=True, help="Answers to each of its prompts."
    )
    @click.option("--answer-tokens", default=1024, show_default=True, help="Of such an answer.")
    @click.option(
        "--lora", type=at_least_one, help="The rank of an adapter; all weights without it."
    )
    @click.option("--epochs", type=at_least_one, default=1, show_default=True)
    @click.option("--max-steps", type=at_least_one)
    @click.option("--batch-size", type=at_least_one, default=1, show_default=True, help="Lists.")
    @click.option(
        "--accumulate",
        type=at_least_one,
        default=8,
        show_default=True,
        help="Batches in an optimiser step.",
    )
    @click.option("--learning-rate", type=float, default=2e-4, show_default=True)
    @click.option("--schedule", default="cosine", show_default=True)
    @click.option("--warmup", type=int, default=10, show_default=True, help="Steps.")
    @click.option("--neftune-alpha", type=float)
    @click.option("--context-tokens", type=at_least_one, help="Of a prompt, or of a pair.")
    @click.option("--dtype", default="auto", show_default=True)
    @click.option("--bf16", is_flag=True, help="Compute in bfloat16.")
    @click.option("--device", default="auto", show_default=True)
    @click.option("--gradient-checkpointing", is_flag=True)
    @click.option(
        "--evaluate-every",
        type=at_least_one,
        default=50,
        show_default=True,
        help="Steps between validations, and checkpoints.",
    )
    @click.option(
        "--patience", type=at_least_one, help="Validations without a gain before the end."
    )
    @click.option("--seed", type=int, default=42, show_default=True)
    @click.option("--about", help="A JSON file whose content is kept in reranker.json.")
    @click.option("--anew", is_flag=True, help="Begin anew: an earlier run's files are removed.")
    @click.option("--json", "machine", is_flag=True, help="The result as JSON.")
    def train(model: str, data: str, output: str, machine: bool, **given: Any) -> None:
        """Train MODEL on DATA: a file of lists, or a BEIR folder together with --run.

        A line of the file is {"query_id", "query", "candidates": [{"id", "text", "label"}]}, higher
        labels for more relevant texts. What is trained follows from --strategy, and the prompt is
        the one that serves. The folder then works wherever a checkpoint does. Interrupted, the same
        command goes on.

        \b
        rerank-plugins train model.gguf lists.jsonl --lora 16 --output tuned
        rerank-plugins train HuggingFaceTB/SmolLM2-135M-Instruct scifact --run bm25.trec \\
            --lora 16 --output tuned
        rerank-plugins train sentence-transformers/all-MiniLM-L6-v2 lists.jsonl \\
            --strategy pair-score --learning-rate 5e-5 --context-tokens 256 --output tuned
        rerank-plugins evaluate scifact --run bm25.trec --reranker tuned
        """  # noqa: D301 - click's mark for lines that are not to be filled
        _refuse_ignored(data, given)
        run = _by_rewards if given["reward"] else _by_labels
        found = run(model, data, output, given)
        click.echo(as_json(_numbers(found)) if machine else _summary(found))

    return train


def _by_labels(model: str, data: str, output: str, given: Mapping[str, Any]) -> "Trained":
    from ..training import train

    rows, validation = _lists(data, given)
    return train(
        model,
        _strategy(given["strategy"], given["prompt"]),
        rows,
        output,
        validation=validation,
        options=_options(given),
        about=_json_file(given["about"]),
        skip_uninformative=given["skip_uninformative"],
        progress=sys.stderr.isatty(),
    )


def _by_rewards(model: str, data: str, output: str, given: Mapping[str, Any]) -> "Trained":
    from ..training import GrpoOptions, train_with_rewards

    return train_with_rewards(
        model,
        _strategy(given["strategy"], given["prompt"]),
        _judged(data, given) if Path(data).is_dir() else _read(data, given),
        given["reward"],
        output,
        options=_options(given),
        grpo=GrpoOptions(generations=given["generations"], max_tokens=given["answer_tokens"]),
        about=_json_file(given["about"]),
    )


_FOR_LABELS = (
    *("validation", "hold_out", "patience", "skip_uninformative", "neftune_alpha"),
    *("loss", "loss_options", "loss_weight", "lm_weight"),
)
_FOR_REWARDS = ("generations", "answer_tokens")
_FOR_COLLECTIONS = ("run", "split", "size", "per_query")


def _refuse_ignored(data: str, given: Mapping[str, Any]) -> None:
    """No option is ignored in silence."""
    import click
    from click.core import ParameterSource

    context = click.get_current_context()
    meaningless = {
        "with --reward": _FOR_LABELS if given["reward"] else (),
        "without --reward": () if given["reward"] else _FOR_REWARDS,
        "with a file of lists": () if Path(data).is_dir() else _FOR_COLLECTIONS,
        "with --validation": ("hold_out",) if given["validation"] else (),
    }
    for when, names in meaningless.items():
        for name in names:
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise InputError(f"--{name.replace('_', '-')} means nothing {when}")


def _lists(data: str, given: Mapping[str, Any]) -> "tuple[list[TrainingList], list[TrainingList]]":
    """What is learned from, and what it is validated on."""
    from ..training.data import split

    rows = _judged(data, given) if Path(data).is_dir() else _read(data, given)
    if given["validation"]:
        return rows, _read(given["validation"], given)
    if not given["hold_out"]:
        return rows, []
    return split(rows, given["hold_out"], given["seed"])


def _read(data: str, given: Mapping[str, Any]) -> "list[TrainingList]":
    from ..training.data import read_lists

    skipped: list[str] = []
    rows = list(read_lists(data, on_skip=skipped.append if given["skip_uninformative"] else None))
    if skipped:
        sys.stderr.write(f"{len(skipped)} lists are left out, the first because {skipped[0]}\n")
    return rows


def _judged(folder: str, given: Mapping[str, Any]) -> "list[TrainingList]":
    from ..evaluation import load_collection, load_run
    from ..training.data import judged_lists

    if not given["run"]:
        raise InputError(f"{folder!r} is a folder", hint="Say what finds candidates: --run.")
    collection = load_collection(folder, split=given["split"])
    run = load_run(given["run"])
    judged = {query: found for query, found in run.items() if query in collection.queries}
    if not judged:
        raise InputError(
            f"no query of the run is judged in {given['split']!r}",
            hint="Is it another split's run?",
        )
    skipped: list[str] = []
    rows = list(
        judged_lists(
            collection,
            judged,
            size=given["size"],
            seed=given["seed"],
            per_query=given["per_query"],
            on_skip=skipped.append,
        )
    )
    if skipped:
        sys.stderr.write(f"{len(skipped)} queries are left out, the first because {skipped[0]}\n")
    return rows


def _strategy(named: str, prompt: str | None) -> "Strategy":
    spec: Any = named
    if is_spec(named):
        spec = load_spec(named)
    elif named.lstrip().startswith("{"):
        spec = _json(named, "--strategy")
    built: Strategy = from_spec("strategies", spec)
    if prompt is None:
        return built
    if not hasattr(built, "prompt"):
        raise InputError(f"{named!r} has no prompt")
    chosen: Any = Path(prompt) if prompt.endswith(".toml") else prompt
    changed: Strategy = replace(built, prompt=chosen)  # type: ignore[type-var]  # a dataclass
    return changed


def _options(given: Mapping[str, Any]) -> "TrainingOptions":
    from ..training import Lora, TrainingOptions

    names = [f.name for f in fields(TrainingOptions) if f.name in given and f.name != "lora"]
    return TrainingOptions(
        **{name: given[name] for name in names},
        objective=_objective(given),
        lora=Lora(rank=given["lora"]) if given["lora"] else None,
        resume=not given["anew"],
    )


def _objective(given: Mapping[str, Any]) -> "Objective | None":
    """What is minimised; None for the strategy's own objective."""
    from ..training import Objective

    asked = {
        "ranking": given["loss"],
        "weight": given["loss_weight"],
        "lm_weight": given["lm_weight"],
        "options": _json(given["loss_options"], "--loss-options")
        if given["loss_options"]
        else None,
    }
    chosen = {name: value for name, value in asked.items() if value is not None}
    if not chosen:
        return None
    if not given["loss"]:
        raise InputError("--loss-weight, --lm-weight and --loss-options need --loss")
    return Objective(**{"weight": 1.0, "lm_weight": 0.0} | chosen)


def _json_file(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path!r}: {error}") from error
    return _json(text, path)


def _json(text: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"{name} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{name} is no JSON object")
    return found


def _numbers(found: "Trained") -> dict[str, Any]:
    return {
        "folder": str(found.folder),
        "steps": found.steps,
        "loss": found.loss,
        "ndcg": found.ndcg,
        "ndcg_before": found.ndcg_before,
        "skipped": found.skipped,
    }


def _summary(found: "Trained") -> str:
    best = "" if found.ndcg is None else f", validation nDCG@10 {_change(found)}"
    return (
        f"{found.steps} steps, loss {found.loss:.4f}{best}\n"
        f"{found.folder}: load_reranker({str(found.folder)!r}), or --reranker {found.folder}"
    )


def _change(found: "Trained") -> str:
    before = "" if found.ndcg_before is None else f"{found.ndcg_before:.4f} -> "
    return f"{before}{found.ndcg:.4f}"
