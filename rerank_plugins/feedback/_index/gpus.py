"""FAISS, which has a package for CPUs and one for GPUs, and indexes on GPUs."""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from ..._checks import some_of
from ..._extras import extra
from ...errors import ConfigurationError

PACKAGES = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12", "faiss-gpu-cuvs")


OTHER_FACTORY = 'Build the index with another factory, such as "Flat" or "IVF256,Flat".'
NO_MEMORY = (
    "The GPU has too little free memory: nvidia-smi says what uses it. FAISS takes up to 1.5 GB "
    "beside the index."
)


def find_faiss() -> ModuleType:
    """FAISS.

    Raises:
        MissingExtraError: It is not installed.
        ConfigurationError: Two of its packages are.
    """
    _check_one_package()
    return extra("faiss", "faiss", or_extra="faiss-gpu")


@cache
def _check_one_package() -> None:
    """Refuse two packages of FAISS: the files of one stand among those of the other."""
    both = [name for name in PACKAGES if _is_installed(name)]
    if len(both) > 1:
        raise ConfigurationError(
            f"{some_of(both, ' and ')} are installed, and each brings the module faiss",
            hint=f"Keep one: pip uninstall {some_of(both, ' ')}, then pip install {both[-1]}.",
        )


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def on_gpu(index: Any) -> bool:
    """Whether an index, one inside it, or its copies are on a GPU."""
    if "Gpu" in type(index).__name__:
        return True
    inner = index.at(0) if hasattr(index, "at") and index.count() else getattr(index, "index", None)
    return inner is not None and on_gpu(find_faiss().downcast_index(inner))


def to_gpus(index: Any, gpus: Sequence[int] | None, options: Any) -> Any:
    """A copy of an index on GPUs.

    Raises:
        ConfigurationError: There is no such GPU, or FAISS does not run such an index there.
    """
    faiss = find_faiss()
    if not hasattr(faiss, "StandardGpuResources"):
        raise ConfigurationError(
            "the FAISS that is installed runs on CPUs alone",
            hint='pip uninstall faiss-cpu, then pip install "rerank-plugins[faiss-gpu]".',
        )
    there = faiss.get_num_gpus()
    if not there:
        raise ConfigurationError(
            "FAISS finds no GPU on this machine",
            hint="nvidia-smi lists those that programs can use; without to_gpu, the CPU searches.",
        )
    wanted = list(range(there) if gpus is None else gpus)
    if not wanted or not set(wanted) <= set(range(there)):
        raise ConfigurationError(f"gpus is {wanted}, and FAISS finds 0 to {there - 1}")
    try:
        moved = faiss.index_cpu_to_gpus_list(index, co=options, gpus=wanted)
    except RuntimeError as error:
        raise ConfigurationError(
            f"FAISS cannot move an {type(index).__name__} to a GPU: {error}",
            hint=NO_MEMORY if "alloc" in str(error) else OTHER_FACTORY,
        ) from error
    if not on_gpu(moved):
        raise ConfigurationError(
            f"FAISS does not run an {type(index).__name__} on GPUs",
            hint=OTHER_FACTORY,
        )
    return moved


def on_cpu(index: Any) -> Any:
    """An index itself, or a copy of one on a GPU, which can give vectors back."""
    if not on_gpu(index):
        return index
    copy = find_faiss().index_gpu_to_cpu(index)
    if (lists := inverted_lists(copy)) is not None:
        lists.make_direct_map()
    return copy


def inverted_lists(index: Any) -> Any:
    """The part of an index that needs a direct map to give vectors back, or None."""
    try:
        return find_faiss().extract_index_ivf(index)
    except (RuntimeError, TypeError):
        return None
