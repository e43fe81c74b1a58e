"""Cases of the kernels, shared with the measurements, and the mark of tests that interpret them."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
sys.path.insert(0, str(BENCH))
from gpu_counts import Counting  # noqa: E402
from gpu_kernels import CASES, case_errors  # noqa: E402

sys.path.remove(str(BENCH))
__all__ = ["CASES", "Counting", "case_errors", "interpreted"]

interpreted = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)
