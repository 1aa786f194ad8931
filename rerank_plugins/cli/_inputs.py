"""First stages as files: what a retriever found, and how it scored it."""

from ..errors import InputError
from ..evaluation import Scores, load_scores


def scores_of(path: str) -> Scores | None:
    """A run's scores; None, and a word about it, where documents are not in their order."""
    import click

    try:
        return load_scores(path)
    except InputError as error:
        click.echo(f"{error}; they are left out", err=True)
        return None
