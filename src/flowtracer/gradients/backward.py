"""Gradients of many rules from one forward pass: `sum of c[i, t] grad log p[i, t]` for each rule's c.

The layers below the chosen parameters keep no graph. What is above the attention of the last layer,
the language-model head included, is passed once for all rules where `cut` allows it; a rule then costs
one backward pass through the lower part of the chosen layers, and none if its c is a sum of other rules'.
Where the head itself is trained, each rule costs a pass through everything.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from flowtracer.credit.chunks import chunks
from flowtracer.gradients.basis import independent_rows
from flowtracer.gradients.cut import cut_forward, cut_gradients
from flowtracer.models.decoder import find_decoder, layer_stack
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.scorers.forward import apply_head, head_slices, predicted, read_states

# Entries of (rows, T, T) of a forward pass with a graph, our choice: see `chunks`. On a GPU a forward of few
# rows is all launches, so it takes a hundred rows of 200 tokens, or one of 2,048.
MOST, MOST_ON_GPU = 1 << 17, 1 << 22
COORDINATES = 1 << 18  # our choice: a batch's gradients of 24 rules are then 26 MB


def chosen_parameters(model: nn.Module, choice: str) -> list[nn.Parameter]:
    """The parameters whose gradient is taken: "all", "last:N" (layers), "lora", or "auto".

    "auto" (our choice): LoRA's where the model has any, all up to 20 million, else the last two layers.

    Raises ValueError for a choice that the model does not have.
    """
    lora = [p for name, p in model.named_parameters() if "lora_" in name]
    every = list(model.parameters())
    if choice == "auto":
        small = sum(p.numel() for p in every) <= 20_000_000
        choice = "lora" if lora else "all" if small else "last:2"
    if choice == "all":
        return every
    if choice == "lora":
        if not lora:
            raise ValueError("parameters is 'lora', but the model has no LoRA adapter; use last:N")
        return lora
    word, _, number = choice.partition(":")
    layers = layer_stack(model)
    if word != "last" or not number.isdigit() or not 1 <= int(number) <= len(layers):
        raise ValueError(
            f"parameters is {choice!r}; use auto, all, lora, or last:N with N from 1 to {len(layers)}"
        )
    return [p for layer in layers[-int(number) :] for p in layer.parameters()]


def sampled_coordinates(parameters: Sequence[nn.Parameter], count: int, *, seed: int) -> Tensor:
    """Indices into the parameters' numbers laid end to end, sorted, at most `count`, at random.

    A random sample of coordinates estimates cosines of gradients and of their signs alike, and is the
    same for all rules, so that their differences are paired.
    """
    total = sum(p.numel() for p in parameters)
    if total <= count:
        return torch.arange(total)
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, total, (count,), generator=generator).sort().values


def rule_gradients(
    model: nn.Module,
    batch: ScoreBatch,
    coefficients: Tensor,
    parameters: Sequence[nn.Parameter],
    coordinates: Tensor,
    *,
    most: int | None = None,
) -> Tensor:
    """Gradients at the coordinates, (R, C) float32, in evaluation mode.

    Args:
        coefficients: (R, N, T), of every token's log-probability; read at candidates only.
        parameters: see `chosen_parameters`; coordinates: see `sampled_coordinates`, sorted.
        most: entries of (rows, T, T) of one forward pass with a graph, unless it is a single row; None:
            `MOST`, or `MOST_ON_GPU`.

    The gradients are summed up where the parameters are, and cross to the host once.
    """
    device = parameters[0].device
    if most is None:
        most = MOST_ON_GPU if device.type == "cuda" else MOST
    basis, mix = independent_rows(coefficients[:, batch.candidates])
    coefficients = coefficients[basis]
    total = torch.zeros(len(basis), len(coordinates), device=device)
    positions = _positions(parameters, coordinates)
    cut = not _trains_head(model, parameters)
    rows = predicted(batch, batch.candidates)[0].unique()
    with _only(model, parameters):
        for part in chunks(batch, rows, after_answer=True, most=most) if basis else []:
            taken = batch.take(part.rows, part.columns)
            cotangents = coefficients[:, part.rows, part.columns]
            shared = _cut(model, taken, cotangents, parameters) if cut else None
            cut = shared is not None
            by_rule = _plain(model, taken, cotangents, parameters) if shared is None else shared
            for sums, gradients in zip(total, by_rule, strict=True):
                for (inside, index), gradient in zip(positions, gradients, strict=True):
                    if gradient is not None:
                        taken_at = gradient.reshape(-1)[index]
                        sums[inside] += taken_at.float().to(device)
    total = total.cpu()
    return mix.to(total) @ total


def _positions(
    parameters: Sequence[nn.Parameter], coordinates: Tensor
) -> list[tuple[slice, Tensor]]:
    """Of each parameter, which of the coordinates are in it, and their indices inside it, on its device."""
    ends = torch.tensor([p.numel() for p in parameters]).cumsum(0)
    stops = torch.searchsorted(coordinates, ends).tolist()
    starts = [0, *stops[:-1]]
    offsets = [0, *ends[:-1].tolist()]
    return [
        (slice(start, stop), (coordinates[start:stop] - offset).to(parameter.device))
        for parameter, start, stop, offset in zip(parameters, starts, stops, offsets, strict=True)
    ]


def _cut(
    model: nn.Module, batch: ScoreBatch, coefficients: Tensor, parameters: Sequence[nn.Parameter]
) -> Iterator[Sequence[Tensor | None]] | None:
    """Gradients by rule and parameter with one backward pass for all above the last attention."""
    forward = cut_forward(model, batch)
    if forward is None:
        return None
    rows, columns = predicted(batch, batch.candidates)
    pull = _head_pull(model, forward.final[rows, columns - 1], batch.input_ids[rows, columns])
    return cut_gradients(
        forward,
        (rows, columns - 1),
        pull,
        coefficients[:, rows, columns].to(pull.device),
        parameters,
        layer_stack(model)[-1],
    )


def _plain(
    model: nn.Module, batch: ScoreBatch, coefficients: Tensor, parameters: Sequence[nn.Parameter]
) -> Iterator[Sequence[Tensor | None]]:
    """Gradients by rule and parameter with a backward pass for each rule."""
    states = read_states(model, batch).final
    assert states is not None
    rows, columns = predicted(batch, batch.candidates)
    targets = batch.input_ids[rows, columns].to(states.device)
    output = states[rows, columns - 1]  # (n, D)
    cotangents = coefficients[:, rows, columns].to(states.device)  # (R, n)
    if _trains_head(model, parameters):
        output = torch.cat(list(_log_probabilities(model, output, targets)))
    else:
        cotangents = cotangents[:, :, None] * _head_pull(model, output, targets)
    for number, cotangent in enumerate(cotangents):
        yield torch.autograd.grad(
            output,
            parameters,
            cotangent.to(output.dtype),
            retain_graph=number + 1 < len(cotangents),
            allow_unused=True,
        )


def _head_pull(model: nn.Module, states: Tensor, targets: Tensor) -> Tensor:
    """Gradient of each target's log-probability with respect to the state before it, (n, D)."""
    leaf = states.detach().requires_grad_()
    pull = torch.zeros_like(leaf)
    for logs in _log_probabilities(model, leaf, targets.to(leaf.device)):
        pull += torch.autograd.grad(logs.sum(), leaf)[0]
    return pull


def _log_probabilities(model: nn.Module, states: Tensor, targets: Tensor) -> Iterator[Tensor]:
    """Log-probability of each target given the state before it, a few states at a time."""
    for part in head_slices(model, len(states)):
        logs = apply_head(model, states[part]).float().log_softmax(-1)
        yield logs.gather(1, targets[part, None])[:, 0]


def _trains_head(model: nn.Module, parameters: Sequence[nn.Parameter]) -> bool:
    """Whether a parameter is outside the stack of layers, or is the embeddings' and the head's."""
    decoder = find_decoder(model)
    tied = {id(parameter) for parameter in decoder.get_input_embeddings().parameters()}
    stack = {id(parameter) for parameter in decoder.parameters()} - tied
    return any(id(parameter) not in stack for parameter in parameters)


@contextmanager
def _only(model: nn.Module, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Only these parameters take part in a graph; restored after."""
    before = [(p, p.requires_grad) for p in model.parameters()]
    inside = {id(parameter) for parameter in parameters}
    try:
        for parameter, _ in before:
            parameter.requires_grad_(id(parameter) in inside)
        with torch.enable_grad():
            yield
    finally:
        for parameter, trained in before:
            parameter.requires_grad_(trained)
