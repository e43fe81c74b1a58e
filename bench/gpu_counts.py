"""Launches and copies to the host of a piece of work, counted where PyTorch dispatches operations."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Operations that only make another view or fresh memory, or that ask the host.
NO_LAUNCH = ("empty", "new_empty", "_unsafe_view", "_local_scalar_dense", "is_same_size")


@dataclass
class Counts:
    launches: int = 0  # operations that compute, an operation of several kernels once
    to_host_bytes: int = 0
    largest_to_host: int = 0  # numbers of one copy
    questions: int = 0  # values that the host waited for
    by_name: dict[str, int] = field(default_factory=dict)


class Counting(TorchDispatchMode):
    """Counts what runs within it. skip_kernels: ours answer with empty results instead of running."""

    def __init__(self, *, skip_kernels: bool = False) -> None:
        super().__init__()
        self.counts = Counts()
        self.skip_kernels = skip_kernels

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.name().split("::")[-1].split(".")[0]
        counts = self.counts
        if name == "_local_scalar_dense":
            counts.questions += 1
        moves = name == "_to_copy" and str(kwargs.get("device", "")) == "cpu"
        if moves and args[0].device.type != "cpu":
            counts.to_host_bytes += args[0].numel() * args[0].element_size()
            counts.largest_to_host = max(counts.largest_to_host, args[0].numel())
        if not func.is_view and name not in NO_LAUNCH:
            counts.launches += 1
            counts.by_name[name] = counts.by_name.get(name, 0) + 1
        if self.skip_kernels and func.namespace == "flowtracer":
            if name == "layer_logsumexp":
                query: Tensor = args[0]
                return torch.zeros(query.shape[:3])
            if name == "solve_flow":
                return torch.zeros_like(args[2]), torch.zeros_like(args[2])
            return None
        return func(*args, **kwargs)
