"""A sentence for a package that is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager

# Packages that are imported when they are needed, and the extra that brings them.
EXTRAS = {
    "accelerate": "train",
    "datasets": "train",
    "filelock": "score",
    "flashtrace": "flashtrace",
    "gguf": "gguf",
    "math_verify": "train",
    "peft": "train",
    "PIL": "vision",
    "pyarrow": "score",
    "ray": "ray",
    "sentencepiece": "gguf",
    "starlette": "serve",
    "torchvision": "vision",
    "triton": "gpu",
    "trl": "train",
    "uvicorn": "serve",
    "wordcloud": "wordcloud",
    "yaml": "train",
}


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Turn a missing package into a ValueError that names the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError(missing_package(error.name or "", extra)) from error


def extra_of(error: ImportError) -> str | None:
    """The extra that brings what could not be imported, if one does."""
    return EXTRAS.get((error.name or "").partition(".")[0])


def missing_package(package: str, extra: str) -> str:
    """What is missing, and how to install it."""
    return f"this needs the package {package}; install it with `pip install 'flowtracer[{extra}]'`"
