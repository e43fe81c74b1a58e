"""What the chosen scorers need to know of the model, with as few passes through it as possible."""

from typing import Any

import torch
from torch import Tensor, nn

from flowtracer.attention import (
    AttentionCaptureError,
    MeanReader,
    auto_attention,
    depth_of,
    model_layers,
    read_attention,
)
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.scorers.entropy import response_entropy
from flowtracer.scorers.forward import read_states
from flowtracer.scorers.gradients import answer_gradient
from flowtracer.scorers.head_statistics import HeadReader, rhythm_layers
from flowtracer.scorers.hidden_states import align
from flowtracer.scorers.scorer import Evidence, Need, ScoreOptions


def gather_evidence(
    model: nn.Module,
    batch: ScoreBatch,
    needs: frozenset[Need],
    options: ScoreOptions,
    *,
    shared: int = 0,
    tiles: bool = False,
) -> Evidence:
    """Run the model as little as the needs allow.

    At most three times: once, truncated, for all that is read from attention; once for all that is
    read from hidden states and logits; once, with a backward pass, for gradients. shared: see
    `score_tokens`. tiles: whether all scorers that read attention can do so from tiles.
    """
    evidence: dict[str, Any] = {}
    if "model" in needs and batch.model_inputs is not None:
        raise AttentionCaptureError(
            "a scorer of another package reads texts only, and there are pictures; choose another scorer"
        )
    if "heads" in needs or ("attention" in needs and options.heads != "all"):
        evidence |= _read_heads(model, batch, needs, options)
    elif "attention" in needs:
        layers = model_layers(model, options.layers)
        attention = auto_attention(
            model,
            batch.input_ids,
            batch.attention_mask,
            layers=layers,
            edges=options.edges,
            shared=shared,
            tiles=tiles,
            tile_above=options.tile_above,
            model_inputs=batch.model_inputs,
        )
        kind = "attention" if isinstance(attention, Tensor) else "tiles"
        evidence |= {kind: attention, "layers": layers}
    if needs & {"hidden", "alignment", "entropy"}:
        evidence |= _read_hidden_states(model, batch, needs)
    if "model" in needs:
        evidence["model"] = model
    if "gradient" in needs:
        effect, embedding = answer_gradient(model, batch)
        evidence |= {"gradient": effect, "embedding": embedding}
    for name, value in evidence.items():  # a model may live on several devices
        if isinstance(value, Tensor):
            evidence[name] = value.to(batch.input_ids.device)
    return Evidence(batch, **evidence)


def _read_heads(
    model: nn.Module, batch: ScoreBatch, needs: frozenset[Need], options: ScoreOptions
) -> dict[str, Any]:
    """One pass over the union of the layers that the mean and the statistics of heads are taken of."""
    evidence: dict[str, Any] = {}
    readers: list[MeanReader | HeadReader] = []
    if "attention" in needs:
        layers = model_layers(model, options.layers)
        weights = None if options.heads == "all" else _third_of_heads(model, batch, layers, options)
        mean = MeanReader(batch.attention_mask, layers, edges=options.edges, head_weights=weights)
        readers.append(mean)
    if "heads" in needs:
        chosen = rhythm_layers(options.layers, depth_of(model), softmax=model_layers(model, "all"))
        heads = HeadReader(batch.attention_mask, batch.candidates, chosen)
        readers.append(heads)
    read_attention(
        model, batch.input_ids, batch.attention_mask, readers, model_inputs=batch.model_inputs
    )
    if "attention" in needs:
        evidence |= {"attention": mean.finish(), "layers": layers}
    if "heads" in needs:
        evidence["heads"] = heads.finish()
    return evidence


def _third_of_heads(
    model: nn.Module, batch: ScoreBatch, layers: tuple[int, ...], options: ScoreOptions
) -> dict[int, Tensor]:
    """Weights of the heads whose attention is near, middling or far, of each layer (B, heads).

    One pass of its own: distances are known only after the complete text has run. Distance is the
    `span` of `HeadStatistics`; the thirds are of all heads of the chosen layers, row by row (our
    choice), and the chosen heads weigh the same.
    """
    reader = HeadReader(batch.attention_mask, batch.candidates, layers)
    read_attention(
        model, batch.input_ids, batch.attention_mask, [reader], model_inputs=batch.model_inputs
    )
    span = reader.finish().span  # (B, layers * heads), layer by layer
    count = span.shape[1]
    rank = span.argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    first, last = {
        "near": (0, count // 3),
        "middle": (count // 3, count - count // 3),
        "far": (count - count // 3, count),
    }[options.heads]
    weights = ((rank >= first) & (rank < last)).float()
    weights /= weights.sum(1, keepdim=True).clamp(min=1)
    return dict(zip(layers, weights.split(count // len(layers), dim=1), strict=True))


@torch.no_grad()
def _read_hidden_states(
    model: nn.Module, batch: ScoreBatch, needs: frozenset[Need]
) -> dict[str, Tensor]:
    """One plain forward pass, ended in the middle if nothing above it is needed."""
    to_head = bool(needs & {"alignment", "entropy"})
    states = read_states(model, batch, middle="hidden" in needs, final=to_head)
    evidence: dict[str, Tensor] = {}
    if states.middle is not None:
        evidence["hidden"] = states.middle
    if states.final is not None and "alignment" in needs:
        evidence["alignment"] = align(model, states.final, batch.candidates)
    if states.final is not None and "entropy" in needs:
        evidence["entropy"] = response_entropy(model, batch, states.final)
    return evidence
