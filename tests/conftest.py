"""Models and settings that several tests share."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from flowtracer.models import Loaded, load

MODELS = Path(os.environ.get("FLOWTRACER_TEST_MODELS", "~/.cache/flowtracer-models")).expanduser()

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", min(2, os.cpu_count() or 1))))


@pytest.fixture(scope="session")
def embedded() -> Loaded:
    """The model inside the package, in float32 as the real ones."""
    return load("embedded", dtype="float32")


@pytest.fixture(scope="session")
def real_model() -> Callable[[str], Loaded]:
    """Loads a real model in float32 by the name of its folder, once; skips where it is missing."""
    loaded: dict[str, Loaded] = {}

    def get(name: str) -> Loaded:
        folder = MODELS / name
        if not (folder / "config.json").is_file():
            pytest.skip(f"no model in {folder}; set FLOWTRACER_TEST_MODELS to a folder that has it")
        if name not in loaded:
            loaded[name] = load(folder, dtype="float32", device="cpu")
        return loaded[name]

    return get
