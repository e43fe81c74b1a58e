"""The last layer cut above its attention: from there on every position is independent.

A token's log-probability reaches that part of the network at one position only, the one before it. So
the gradient there under coefficients c is c times the gradient of the log-probabilities themselves,
position by position: one backward pass serves all rules, and only what is below needs one for each.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from flowtracer.models.decoder import find_decoder, layer_stack
from flowtracer.models.swap import only_in_this_thread
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.scorers.forward import read_states

SMALL = 1 << 13  # parameters of a module whose gradient is kept for every token, our choice


@dataclass(frozen=True)
class Call:
    """A call of a module with trained parameters of its own; (B, T, D) each."""

    module: nn.Module
    input: Tensor
    output: Tensor


@dataclass(frozen=True)
class CutForward:
    """A forward pass in which the output of the last layer's attention is a leaf.

    stream: the last layer's input. attention: the output of its attention, with its graph; `leaf` is
    the same without. calls: of the modules after it.
    """

    final: Tensor
    stream: Tensor
    attention: Tensor
    leaf: Tensor
    calls: tuple[Call, ...]


def cut_forward(model: nn.Module, batch: ScoreBatch) -> CutForward | None:
    """Run the model with the cut; None for a model whose last layer does not allow it.

    It must have one attention module, and each later module with trained parameters must be linear or
    as small as a norm, and be called once with all positions.
    """
    layer = layer_stack(model)[-1]
    attentions = [child for child in layer.children() if type(child).__name__.endswith("Attention")]
    if len(attentions) != 1:
        return None
    seen = _Seen()
    with _watched(model, layer, attentions[0], seen):
        final = read_states(model, batch).final
    called = {call.module for call in seen.calls}
    if len(called) < len(seen.calls) or len(seen.streams) != 1 or len(seen.outputs) != 1:
        return None
    if seen.unclear or final is None:
        return None
    (attention, leaf), shape = seen.outputs[0], final.shape[:2]
    if any(call.input.shape[:2] != shape or not _by_token(call.module) for call in seen.calls):
        return None
    return CutForward(final, seen.streams[0], attention, leaf, tuple(seen.calls))


def cut_gradients(
    cut: CutForward,
    positions: tuple[Tensor, Tensor],
    pull: Tensor,
    cotangents: Tensor,
    parameters: Sequence[nn.Parameter],
    last_layer: nn.Module,
) -> Iterator[Sequence[Tensor | None]] | None:
    """Gradient of each parameter, rule by rule; None if the cut does not part this model in two.

    Args:
        positions: rows and columns of n states that predict a token, (n,) each.
        pull: (n, D), gradient of each token's log-probability with respect to its state.
        cotangents: (R, n), each rule's coefficients of them.
    """
    above = {id(p) for call in cut.calls for p in call.module.parameters(recurse=False)}
    below = [p for p in parameters if id(p) not in above]
    inside = {id(p) for p in last_layer.parameters()}
    suspects = [p for p in below if id(p) in inside]  # a norm shared with the upper part
    stream = [cut.stream] if cut.stream.requires_grad else []
    outputs = [call.output for call in cut.calls]
    pulled = torch.autograd.grad(
        cut.final[positions], [cut.leaf, *stream, *outputs, *suspects], pull, allow_unused=True
    )
    split = 1 + len(stream)
    pulls, deltas = pulled[:split], pulled[split : split + len(outputs)]
    if any(gradient is None for gradient in pulled[: split + len(outputs)]):
        return None
    if any(gradient is not None for gradient in pulled[split + len(outputs) :]):
        return None
    tokens = [
        _token_gradients(call.module, call.input[positions].detach(), delta[positions])
        for call, delta in zip(cut.calls, deltas, strict=True)
    ]
    return _of_rules(cut, positions, pulls, tokens, cotangents, parameters, below)


def _of_rules(
    cut: CutForward,
    positions: tuple[Tensor, Tensor],
    pulls: Sequence[Tensor],
    tokens: Sequence["_TokenGradients"],
    cotangents: Tensor,
    parameters: Sequence[nn.Parameter],
    below: Sequence[nn.Parameter],
) -> Iterator[Sequence[Tensor | None]]:
    grid = cut.final.new_zeros(*cut.final.shape[:2], 1)
    ends = zip((cut.attention, cut.stream), pulls, strict=False)
    branches = [(branch, pulled) for branch, pulled in ends if branch.requires_grad]
    for number, coefficients in enumerate(cotangents):
        grid[positions] = coefficients[:, None].to(grid.dtype)
        gradients: dict[int, Tensor | None] = dict.fromkeys(map(id, below))
        if below and branches:
            parts = torch.autograd.grad(
                [branch for branch, _ in branches],
                below,
                [grid * pulled for _, pulled in branches],
                retain_graph=number + 1 < len(cotangents),
                allow_unused=True,
            )
            gradients |= {id(p): part for p, part in zip(below, parts, strict=True)}
        for token in tokens:
            gradients |= token.weighted(coefficients)
        yield [gradients[id(p)] for p in parameters]


@dataclass(frozen=True)
class _TokenGradients:
    """Gradients of a module's parameters at n tokens, as outer products or written out.

    weight: a linear module's, `outer of deltas (n, out) and inputs (n, in)`. written: (n, P) of others.
    """

    weight: Tensor | None
    inputs: Tensor
    deltas: Tensor
    written: Sequence[tuple[Tensor, Tensor]]

    def weighted(self, coefficients: Tensor) -> dict[int, Tensor | None]:
        """Sum over tokens, by the parameter's id. coefficients: (n,)."""
        result: dict[int, Tensor | None] = {}
        if self.weight is not None:
            c = coefficients[:, None].to(self.deltas.dtype)
            left, right = self.deltas, self.inputs
            if left.shape[1] < right.shape[1]:
                left = left * c
            else:
                right = right * c
            result[id(self.weight)] = left.T @ right
        for parameter, each in self.written:
            result[id(parameter)] = coefficients.to(each.dtype) @ each
        return result


def _token_gradients(module: nn.Module, inputs: Tensor, deltas: Tensor) -> _TokenGradients:
    own = dict(module.named_parameters(recurse=False))
    if type(module) is nn.Linear:
        written = [] if module.bias is None else [(module.bias, deltas)]
        return _TokenGradients(module.weight, inputs, deltas, written)
    values = {name: parameter.detach() for name, parameter in own.items()}

    def at_token(state: Tensor, delta: Tensor) -> dict[str, Tensor]:
        def run(values: dict[str, Tensor]) -> Any:
            return torch.func.functional_call(module, values, (state,))

        gradients: dict[str, Tensor] = torch.func.vjp(run, values)[1](delta)[0]
        return gradients

    each = torch.func.vmap(at_token)(inputs, deltas)
    return _TokenGradients(
        None, inputs, deltas, [(own[name], value.flatten(1)) for name, value in each.items()]
    )


def _by_token(module: nn.Module) -> bool:
    numbers = sum(p.numel() for p in module.parameters(recurse=False))
    return type(module) is nn.Linear or (not list(module.children()) and numbers <= SMALL)


@dataclass
class _Seen:
    """What hooks saw of one forward pass; `outputs` of attention, with graph and as leaves."""

    streams: list[Tensor] = field(default_factory=list)
    outputs: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    unclear: bool = False


@contextmanager
def _watched(
    model: nn.Module, layer: nn.Module, attention: nn.Module, seen: _Seen
) -> Iterator[None]:
    def enter(module: nn.Module, inputs: Any, named: Any) -> None:
        seen.streams.append(inputs[0] if inputs else named["hidden_states"])

    def cut(module: nn.Module, inputs: Any, output: Any) -> Any:
        own = output[0] if isinstance(output, tuple) else output
        leaf = own.detach().requires_grad_()
        seen.outputs.append((own, leaf))
        return (leaf, *output[1:]) if isinstance(output, tuple) else leaf

    def note(module: nn.Module, inputs: Any, named: Any, output: Any) -> None:
        if not seen.outputs:
            return
        if len(inputs) == 1 and not named and isinstance(output, Tensor):
            seen.calls.append(Call(module, inputs[0], output))
        else:
            seen.unclear = True

    inside = set(attention.modules())
    handles = [
        layer.register_forward_pre_hook(only_in_this_thread(enter), with_kwargs=True),
        attention.register_forward_hook(only_in_this_thread(cut)),
    ]
    for module in find_decoder(model).modules():
        trained = any(p.requires_grad for p in module.parameters(recurse=False))
        if trained and module not in inside:
            hook = only_in_this_thread(note)
            handles.append(module.register_forward_hook(hook, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
