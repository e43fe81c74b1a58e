"""Whether the kernels can run on a device."""

import importlib.util
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import torch

OLDEST = (8, 0)  # compute capability: bfloat16 on tensor cores, asynchronous copies

SWITCH = "FLOWTRACER_KERNELS"

_everywhere: ContextVar[bool] = ContextVar("flowtracer_kernels_everywhere", default=False)


def kernels_run(device: torch.device) -> bool:
    """Whether the kernels take the place of PyTorch's operations on a device.

    On NVIDIA GPUs from compute capability 8.0 on with Triton installed, unless the environment says
    FLOWTRACER_KERNELS=0. Where Triton is missing, or cannot build and run the kernels (it needs a C
    compiler), that is warned of once. ROCm's PyTorch calls its devices cuda too and is left to PyTorch:
    nothing was tried there.
    """
    if _everywhere.get():
        return True
    if device.type != "cuda" or torch.version.hip is not None or os.environ.get(SWITCH) == "0":
        return False
    return torch.cuda.get_device_capability(device) >= OLDEST and works(device)


@contextmanager
def kernels_everywhere() -> Iterator[None]:
    """The kernels on every device: on a CPU in Triton's interpreter, on meta tensors not at all.

    The interpreter needs TRITON_INTERPRET=1 in the environment before Triton is imported.
    """
    token = _everywhere.set(True)
    try:
        yield
    finally:
        _everywhere.reset(token)


@cache
def works(device: torch.device) -> bool:
    """Whether the kernels give the right numbers for two small texts; a warning says why not."""
    if importlib.util.find_spec("triton") is None:
        reason = "Triton is not installed (`pip install 'flowtracer[gpu]'`)"
    else:
        from flowtracer.kernels.trial import trial

        try:
            trial(device)
            return True
        except Exception as error:  # whatever a compiler or a driver may raise
            reason = f"the kernels do not run here ({type(error).__name__}: {error})"
    warnings.warn(
        f"credit on {device} takes PyTorch's way, which is several times slower: {reason}",
        stacklevel=3,
    )
    return False
