"""Shared by the measurements: the model, the masks, seconds and memory of this process."""

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

from flowtracer.models import Loaded

DEFAULT_FOLDER = Path(os.environ.get("FLOWTRACER_TEST_MODELS", "~/.cache/flowtracer-models"))
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"


def question_and_answer(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks (1, T): the first fifth of the text is the question, eight tokens near its end the answer."""
    position = torch.arange(length)[None]
    return position < length // 5, (position >= length - 10) & (position < length - 2)


def plain_forward(loaded: Loaded, ids: torch.Tensor) -> None:
    with torch.no_grad():
        loaded.model(input_ids=ids, use_cache=False)


def seconds(case: Callable[[], None]) -> float:
    start = time.perf_counter()
    case()
    return time.perf_counter() - start


def resident(field: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise SystemExit("memory can only be measured on Linux")


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
