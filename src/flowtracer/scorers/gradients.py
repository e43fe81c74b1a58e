"""How much the answer's probability reacts to a token's embedding."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flowtracer.models.decoder import find_decoder
from flowtracer.models.swap import evaluating, only_in_this_thread
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.scorers.forward import (
    LOGITS_AT_ONCE,
    apply_head,
    head_slices,
    predicted,
    read_states,
)
from flowtracer.scorers.scorer import Evidence, ScoreOptions


def gradient(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """`|| d(sum over answer tokens a of w_a log p(a)) / d(embedding_t) ||_2`, (B, T).

    The paper says "prioritizes tokens based on first-order gradient magnitude"; of what, with respect
    to what and in which norm is open, and the full text it cites is not public. Our choices: the
    answer's log-probability, as for flow, the input embedding, the 2-norm.
    """
    assert evidence.gradient is not None
    return torch.linalg.vector_norm(evidence.gradient, dim=2)


def gradient_input(evidence: Evidence, options: ScoreOptions) -> Tensor:
    """`| gradient_t . embedding_t |`, the first-order effect of removing the embedding, (B, T).

    Gradient times input is OAR's public definition; the objective is that of `gradient`.
    """
    assert evidence.gradient is not None and evidence.embedding is not None
    return (evidence.gradient * evidence.embedding).sum(2).abs()


def answer_gradient(
    model: nn.Module, batch: ScoreBatch, *, at_once: int = LOGITS_AT_ONCE
) -> tuple[Tensor, Tensor]:
    """Gradient of the answer's weighted log-probability and the embeddings, (B, T, D) float32 each.

    One forward and one backward pass; only embeddings get a gradient, `.grad` of no tensor changes.
    The head runs on a slice of the answer's positions at a time, with `at_once` logits. An answer
    token that is a row's first has no probability and adds nothing (our choice).
    """
    decoder = find_decoder(model)
    rows, columns = predicted(batch, batch.answer > 0)
    with evaluating(model), _frozen(model), torch.enable_grad(), _embedding_leaf(decoder) as leaves:
        final = read_states(model, batch).final
        assert final is not None
        leaf = leaves[0]
        rows, columns = rows.to(final.device), columns.to(final.device)
        targets = batch.input_ids.to(final.device)[rows, columns]
        weights = batch.answer.to(final.device)[rows, columns].float()
        pull = torch.zeros_like(final)
        for part in head_slices(model, len(rows), at_once):
            states = final.detach()[rows[part], columns[part] - 1].requires_grad_()
            logs = apply_head(model, states).float().log_softmax(-1)
            at_target = logs.gather(1, targets[part, None].to(logs.device))[:, 0]
            total = (at_target * weights[part].to(logs.device)).sum()
            (pull[rows[part], columns[part] - 1],) = torch.autograd.grad(total, states)
        (effect,) = torch.autograd.grad(final, leaf, pull)
    return effect.float(), leaf.detach().float()


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """No parameter takes part in a graph, which then keeps fewer activations; restored after."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def _embedding_leaf(decoder: nn.Module) -> Iterator[list[Tensor]]:
    """Makes the embedded tokens a leaf that gradients can be taken of; it is put into the list.

    A hook instead of `inputs_embeds`, which not every model takes as the same thing as its ids.
    """
    leaves: list[Tensor] = []

    def detach(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1]

    handle = decoder.get_input_embeddings().register_forward_hook(only_in_this_thread(detach))  # type: ignore[operator]
    try:
        yield leaves
    finally:
        handle.remove()
