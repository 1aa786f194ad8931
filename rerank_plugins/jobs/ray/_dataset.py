"""A batch job: read the input, leave out what is finished, rank in actors, write."""

import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._checks import at_least, known_keys
from ..._extras import extra
from ...errors import BackendError, ConfigurationError, InputError
from ...reranker import Reranker
from ._rankings import Parts, claimed_folder, drop_failed, finished_ids
from ._rows import Source
from ._worker import Factory, SharedAttempts, Worker

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    from ray.data import Dataset

DIGEST_BYTES = 16
"""The memory that a query id takes: enough for any number of ids without a collision."""

_NAMED = 5  # ids in an error


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCounts:
    """The result of `rank_dataset`.

    Attributes:
        ranked: Queries that were ranked.
        failed: Queries whose row holds an error.
        skipped: Queries of the input that an earlier job had finished.
    """

    ranked: int = 0
    failed: int = 0
    skipped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of `rank_dataset`."""

    top_k: int | None = None
    actors: int = 2
    batch_size: int = 16
    cpus_per_actor: float = 0.5
    gpus_per_actor: float = 0.0
    part_size: int = 1000
    patience_s: float = 30.0
    retry_failed: bool = False
    raise_on_failure: bool = False

    def __post_init__(self) -> None:
        at_least(1, actors=self.actors, batch_size=self.batch_size, part_size=self.part_size)
        at_least(1, none=True, top_k=self.top_k)
        at_least(0.0, cpus_per_actor=self.cpus_per_actor, gpus_per_actor=self.gpus_per_actor)
        at_least(0.0, patience_s=self.patience_s)


def rank_dataset(
    requests: "Dataset | str | Path",
    reranker: Reranker | Mapping[str, Any] | Factory,
    output: str | Path,
    **options: Any,
) -> DatasetCounts:
    """Rank the queries of a dataset on a Ray cluster, and write the rankings into a folder.

    Every query of the input is in the output exactly once, whatever dies on the way: Ray gives
    the batch of a dead actor to another, and a job that is run again with the same folder ranks
    what is not finished. A query that fails, or kills its actor again and again, is a row with its
    error, and is finished too.

    Rows hold ``query_id``, ``query``, and ``passages`` (a list of texts) or ``candidates`` (a list
    of ``{id, text}``, with ``title`` where there is one), best first. A row may have an
    ``instruction`` for its query.

    The order of the output is not that of the input. Memory does not grow with the input but for
    16 bytes a query. The input is read twice, first for its ids: `materialize` a dataset that is
    expensive to compute. Ray is started, and stopped again, where it is not running; an address in
    ``RAY_ADDRESS`` is used.

    Args:
        requests: A Ray dataset, a ``.jsonl`` or ``.parquet`` file, or a folder of them. Every
            machine of the cluster must reach the files, and none but this one the output.
        reranker: A reranker that has a spec, a spec, or a function that makes a reranker: each
            actor makes its own. Specs hold no secrets: keys come from the environment of the
            actors' machines.
        output: The folder. It is resumed only with the same reranker and ``top_k``.
        **options: ``top_k``: positions of each ranking, all by default.
            ``actors`` (2): how many rerankers.
            ``batch_size`` (16): queries that an actor ranks together, and loses when it dies.
            ``cpus_per_actor`` (0.5), ``gpus_per_actor`` (0): what Ray reserves for each; reading
            needs one more CPU.
            ``part_size`` (1000), ``patience_s`` (30): a part is written when it has so many rows
            or after so many seconds; what is not written is ranked again after a crash.
            ``retry_failed`` (False): rank again the queries that failed in an earlier job.
            ``raise_on_failure`` (False): the first failed query ends the job; what is ranked by
            then is kept.

    Raises:
        InputError: The input is not readable, has no such columns, or query ids repeat; an option
            is not known or out of range; the folder belongs to another job.
        ConfigurationError: The reranker's set-up is wrong.
        BackendError: Ray gave up, or a query failed and ``raise_on_failure`` is set.
        MissingExtraError: Ray is not installed.
    """
    import numpy as np  # imported here: an extra

    known_keys("rank_dataset", options, Options.__slots__)
    chosen = Options(**options)
    source, description = _source(reranker)
    inputs, folder = Source(requests), Path(output)
    settings = {"reranker": description, "top_k": chosen.top_k}
    with claimed_folder(folder, settings), _running_ray(chosen):
        if chosen.retry_failed:
            drop_failed(folder)
        done = _digests(finished_ids(folder))
        wanted = _wanted(inputs)
        skipped = int(np.isin(wanted, done).sum())
        if skipped == len(wanted):
            return DatasetCounts(skipped=skipped)
        rows = inputs.rows()
        if len(done):
            shared = extra("ray", "ray").put(done)  # once a machine, and not once a task
            rows = rows.map_batches(partial(_drop, done=shared), batch_format="pyarrow")
        ranked, failed = _write(_ranked(rows, source, chosen), folder, chosen)
    return DatasetCounts(ranked=ranked, failed=failed, skipped=skipped)


def _source(
    given: Reranker | Mapping[str, Any] | Factory,
) -> tuple[Mapping[str, Any] | Factory, str | Mapping[str, Any]]:
    """The spec or function that actors make rerankers from, and its text in the manifest."""
    if isinstance(given, Reranker):
        spec = given.to_spec()
    elif isinstance(given, Mapping):
        spec = Reranker.from_spec(given).to_spec()  # complete, and refused here if it is wrong
    elif callable(given):
        return given, f"{getattr(given, '__module__', '')}:{getattr(given, '__qualname__', given)}"
    else:
        raise InputError(
            f"reranker is of type {type(given).__name__}",
            hint="Give a Reranker, its spec, or a function that makes one.",
        )
    return spec, spec


def _ranked(rows: "Dataset", source: Mapping[str, Any] | Factory, chosen: Options) -> "Dataset":
    """A lazy dataset of output rows."""
    data = extra("ray.data", "ray")
    # Small blocks: a batch is handed on when it is ranked, and only it is lost with its actor.
    small = rows.repartition(target_num_rows_per_block=chosen.batch_size, strict=True)
    return small.map_batches(
        Worker,
        fn_constructor_args=(source, chosen.top_k, SharedAttempts()),
        batch_size=chosen.batch_size,
        batch_format="pyarrow",
        compute=data.ActorPoolStrategy(size=chosen.actors),
        num_cpus=chosen.cpus_per_actor,
        num_gpus=chosen.gpus_per_actor,
    )  # an actor that dies is made again, and its batch ranked again: Ray's default


def _write(results: "Dataset", folder: Path, chosen: Options) -> tuple[int, int]:
    """Write the results as they arrive, and count the ranked and the failed queries."""
    parts = Parts(folder, chosen.part_size, chosen.patience_s, time.monotonic)
    ranked = failed = 0
    try:
        for table in _batches(results, chosen.batch_size):
            rows = table.to_pylist()
            for fatal in table["fatal"].drop_null().to_pylist():
                raise ConfigurationError(f"the actors cannot rank: {fatal}")
            errors = [row for row in rows if row["error"] is not None]
            if errors and chosen.raise_on_failure:
                parts.add([row for row in rows if row["error"] is None])
                raise BackendError(f"query {errors[0]['query_id']!r}: {errors[0]['error']}")
            parts.add(rows)
            ranked, failed = ranked + len(rows) - len(errors), failed + len(errors)
    finally:
        parts.flush()
    return ranked, failed


def _batches(dataset: "Dataset", size: int | None) -> "Iterator[pyarrow.Table]":
    """The dataset's rows as they are made.

    Raises:
        BackendError: Ray gave up.
    """
    errors = extra("ray.exceptions", "ray")
    dataset.context.enable_progress_bars = False
    try:
        yield from dataset.iter_batches(batch_size=size, batch_format="pyarrow")
    except errors.RayError as error:
        raise BackendError(
            f"Ray gave up: {error}", hint="Run the job again: what is finished is kept."
        ) from error


def _wanted(source: Source) -> "np.ndarray[Any, Any]":
    """The digests of all ids of the input, sorted.

    Raises:
        InputError: A row cannot be read, or ids repeat.
    """
    import numpy as np

    digests = _digests(_ids(source))
    twice = np.unique(digests[1:][digests[1:] == digests[:-1]])
    if not len(twice):
        return digests
    shown = twice[:_NAMED]
    names = {name for ids in _ids(source) for name in ids if np.isin(_packed([name]), shown)[0]}
    raise InputError(
        f"{len(twice)} query ids are given more than once, such as {sorted(names)}",
        hint="Give each query its own id.",
    )


def _ids(source: Source) -> Iterator[list[str]]:
    for table in _batches(source.ids(), 4096):
        if "problem" in table.column_names:
            for problem in table["problem"].drop_null().to_pylist():
                raise InputError(problem)
        ids = table["query_id"].to_pylist()
        if None in ids:
            raise InputError("a row has no query_id")
        yield [str(name) for name in ids]


def _digests(ids: Iterable[Sequence[str]]) -> "np.ndarray[Any, Any]":
    """The digests of all ids, sorted."""
    import numpy as np

    return np.sort(np.concatenate([_packed(()), *map(_packed, ids)]))


def _packed(ids: Sequence[str]) -> "np.ndarray[Any, Any]":
    """The digests of some ids, in their order."""
    import numpy as np

    texts = (name.encode("utf-8", "surrogatepass") for name in ids)
    digests = (blake2b(text, digest_size=DIGEST_BYTES).digest() for text in texts)
    return np.frombuffer(b"".join(digests), dtype=f"S{DIGEST_BYTES}")


def _drop(table: "pyarrow.Table", done: Any) -> "pyarrow.Table":
    """The rows of a table that are not finished."""
    import numpy as np

    done_ids = extra("ray", "ray").get(done)
    known = np.isin(_packed([str(name) for name in table["query_id"].to_pylist()]), done_ids)
    return table.filter(extra("pyarrow", "ray").array(~known))


@contextmanager
def _running_ray(chosen: Options) -> Iterator[None]:
    """Ray: the one that the caller started, the one at ``RAY_ADDRESS``, or one for this job.

    Raises:
        InputError: It can never place all actors.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is imported
    ray = extra("ray", "ray")
    ours = not ray.is_initialized()
    if ours:
        room: dict[str, Any] = {}
        if not os.environ.get("RAY_ADDRESS"):
            least = math.ceil(chosen.actors * chosen.cpus_per_actor) + 1
            room = {"num_cpus": max(os.cpu_count() or 1, least), "include_dashboard": False}
        ray.init(log_to_driver=False, logging_level="WARNING", **room)
    try:
        cpus, gpus = chosen.actors * chosen.cpus_per_actor, chosen.actors * chosen.gpus_per_actor
        for name, needed in (("CPU", cpus + 1), ("GPU", gpus)):
            present = ray.cluster_resources().get(name, 0)
            if present < needed:  # Ray would wait for ever
                raise InputError(
                    f"{chosen.actors} actors and the reading need {needed:g} {name}s, and the "
                    f"cluster has {present:g}",
                    hint="Ask for fewer actors, or less for each.",
                )
        yield
    finally:
        if ours:
            ray.shutdown()
