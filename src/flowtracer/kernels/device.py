"""The GPU on which a kernel starts."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def current_device(device: torch.device) -> Iterator[None]:
    """Triton starts kernels on the current GPU, whichever one the tensors are on."""
    if device.type != "cuda":
        yield
        return
    with torch.cuda.device(device):
        yield
