"""A trial of the kernels on two small texts, before anything relies on them."""

import torch

from flowtracer.kernels.head_sum import add_head_sum, layer_logsumexp
from flowtracer.kernels.sequences import Sequences
from flowtracer.kernels.solve import solve_flow

TOKENS, HEADS, WIDTH = 24, 2, 16
TOLERANCE = 1e-4  # of float16 inputs, whose products are exact in float32


def trial(device: torch.device) -> None:
    """Raise RuntimeError unless the kernels agree with PyTorch; whatever they raise passes on."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(2, 2, HEADS, TOKENS, WIDTH, generator=generator).to(device, torch.float16)
    query, key = states
    real = torch.ones(2, TOKENS, dtype=torch.bool, device=device)
    sequences = Sequences.padded(real)
    lse = layer_logsumexp(
        query, key, sequences.table, None, queries=TOKENS, scaling=1.0, softcap=0.0, window=0
    )
    mean = torch.zeros(2, TOKENS, TOKENS, device=device)
    add_head_sum(mean, query, key, lse, sequences, scaling=1.0, weight=1 / HEADS)
    future = torch.ones(TOKENS, TOKENS, dtype=torch.bool, device=device).triu(1)
    logits = query.float() @ key.float().transpose(2, 3)
    expected = logits.masked_fill(future, -torch.inf).softmax(-1).mean(1)
    _check("mean over heads", mean, expected)

    sink = torch.zeros(2, TOKENS, dtype=torch.float64, device=device)
    sink[:, -1] = 1.0
    question = torch.arange(TOKENS, device=device).expand(2, -1) == 0
    potential, passage = solve_flow(expected, question, sink, 1 - sink)
    system = torch.eye(TOKENS, device=device) - expected.double().tril(-1).transpose(1, 2)
    _check("potential", potential, torch.linalg.solve(system, sink[:, :, None])[:, :, 0])
    _check("flow that arrives", (passage * sink).sum(1), torch.ones(2, device=device))


def _check(name: str, values: torch.Tensor, expected: torch.Tensor) -> None:
    error = float((values - expected).abs().max())
    if not error < TOLERANCE:
        raise RuntimeError(f"the {name} of two small texts is {error:.1g} from PyTorch's")
