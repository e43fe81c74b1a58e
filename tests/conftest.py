"""Models and settings that several tests share."""

import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

# Without a GPU kernels are interpreted, which has to be chosen before anything imports Triton.
if shutil.which("nvidia-smi") is None:
    os.environ["TRITON_INTERPRET"] = "1"

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

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


@pytest.fixture(scope="session")
def real_tokenizer() -> Callable[[str], PreTrainedTokenizerBase]:
    """Loads the tokenizer of a real model by the name of its folder; skips where it is missing."""

    @cache
    def get(name: str) -> PreTrainedTokenizerBase:
        folder = MODELS / name
        if not (folder / "tokenizer.json").is_file():
            pytest.skip(f"no tokenizer in {folder}; set FLOWTRACER_TEST_MODELS to a folder with it")
        return AutoTokenizer.from_pretrained(folder)

    return get


@pytest.fixture
def bar(record_property) -> Callable[[str, int, str], None]:
    """Notes what a hostile trial counted: `bar("kills of train", 20, "same parameters")`.

    The notes of all tests stand as one table at the end of the run.
    """

    def note(trial: str, count: int, outcome: str) -> None:
        record_property("bar", f"| {trial} | {count:,} | {outcome} |")

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of hostile trials, where some ran."""
    rows = [
        text
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, text in report.user_properties
        if name == "bar"
    ]
    if rows:
        terminalreporter.section("hostile trials")
        for line in ("| trial | count | outcome |", "|---|---|---|", *sorted(rows)):
            terminalreporter.write_line(line)
