"""One sentence for a command whose optional packages are missing."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Turn a missing package into a ValueError that names the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError(
            f"this command needs the package {error.name}; install it with "
            f"`pip install 'flowtracer[{extra}]'`"
        ) from error
