"""Seconds and memory of work on a GPU or a CPU."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch


def medians(
    cases: dict[str, Callable[[], Any]], device: torch.device, repeats: int
) -> dict[str, float]:
    """Median seconds of each case, in turns, after one run of each that is not counted."""
    runs: dict[str, list[float]] = {name: [] for name in cases}
    for repeat in range(repeats + 1):
        for name, case in cases.items():
            if device.type == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            case()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if repeat:
                runs[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in runs.items()}


def median_seconds(case: Callable[[], Any], device: torch.device, repeats: int) -> float:
    return medians({"": case}, device, repeats)[""]


def peak_gb(case: Callable[[], Any]) -> float:
    """Largest memory beyond what was taken before, in GB."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    case()
    torch.cuda.synchronize()
    return round((torch.cuda.max_memory_allocated() - before) / 1e9, 2)
