"""Gradients of many rules from one forward pass: `sum of c[i, t] grad log p[i, t]` for each rule's c.

The layers below the chosen parameters keep no graph. Each rule costs one backward pass through the
layers above; the language-model head, where it is not trained itself, is passed once for all rules,
because a token's log-probability depends on its own final state alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from flowtracer.models.decoder import find_decoder, layer_stack
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.scorers.forward import apply_head, head_slices, predicted, read_states

TOKENS = 1 << 11  # of one forward pass with a graph, our choice: more is no faster on a CPU
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
    tokens: int = TOKENS,
) -> Tensor:
    """Gradients at the coordinates, (R, C) float32, in evaluation mode.

    Args:
        coefficients: (R, N, T), of every token's log-probability; read at candidates only.
        parameters: see `chosen_parameters`; coordinates: see `sampled_coordinates`.
        tokens: rows times columns of one forward pass.
    """
    total = torch.zeros(len(coefficients), len(coordinates))
    with _only(model, parameters):
        for rows, columns in _parts(batch, tokens):
            part = coefficients[:, rows, columns]
            total += _of_part(model, batch.take(rows, columns), part, parameters, coordinates)
    return total


def _of_part(
    model: nn.Module,
    batch: ScoreBatch,
    coefficients: Tensor,
    parameters: Sequence[nn.Parameter],
    coordinates: Tensor,
) -> Tensor:
    """Gradients of one forward pass, (R, C)."""
    states = read_states(model, batch).final
    assert states is not None
    rows, columns = predicted(batch, batch.candidates)
    targets = batch.input_ids[rows, columns].to(states.device)
    output = states[rows, columns - 1]  # (n, D)
    cotangents = coefficients[:, rows, columns].to(states.device)  # (R, n)
    if _trains_head(model, parameters):
        output = torch.cat(list(_log_probabilities(model, output, targets)))
    else:
        leaf = output.detach().requires_grad_()
        pull = torch.zeros_like(leaf)
        for logs in _log_probabilities(model, leaf, targets):
            pull += torch.autograd.grad(logs.sum(), leaf)[0]
        cotangents = cotangents[:, :, None] * pull
    gradients = []
    for number, cotangent in enumerate(cotangents):
        parts = torch.autograd.grad(
            output,
            parameters,
            cotangent.to(output.dtype),
            retain_graph=number + 1 < len(cotangents),
            allow_unused=True,
            materialize_grads=True,
        )
        flat = torch.cat([part.reshape(-1) for part in parts])
        gradients.append(flat[coordinates.to(flat.device)].float().cpu())
    return torch.stack(gradients)


def _log_probabilities(model: nn.Module, states: Tensor, targets: Tensor) -> Iterator[Tensor]:
    """Log-probability of each target given the state before it, a few states at a time."""
    for part in head_slices(model, len(states)):
        logs = apply_head(model, states[part]).float().log_softmax(-1)
        yield logs.gather(1, targets[part, None])[:, 0]


def _trains_head(model: nn.Module, parameters: Sequence[nn.Parameter]) -> bool:
    """Whether a parameter stands outside of the stack of layers, or is the embeddings' and the head's."""
    decoder = find_decoder(model)
    tied = {id(parameter) for parameter in decoder.get_input_embeddings().parameters()}
    stack = {id(parameter) for parameter in decoder.parameters()} - tied
    return any(id(parameter) not in stack for parameter in parameters)


def _parts(batch: ScoreBatch, tokens: int) -> Iterator[tuple[Tensor, slice]]:
    """Rows of similar length that fit one forward pass, and the columns that they need."""
    real = batch.attention_mask > 0
    place = torch.arange(1, real.shape[1] + 1, device=real.device)
    first, stop = real.int().argmax(1).tolist(), (real * place).amax(1).tolist()
    group: list[int] = []
    begin = end = 0
    for row in sorted(range(len(first)), key=lambda row: stop[row] - first[row]):
        wider = min(begin, first[row]), max(end, stop[row])
        if group and (len(group) + 1) * (wider[1] - wider[0]) > tokens:
            yield torch.tensor(group, device=real.device), slice(begin, end)
            group = []
        begin, end = wider if group else (first[row], stop[row])
        group.append(row)
    if group:
        yield torch.tensor(group, device=real.device), slice(begin, end)


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
