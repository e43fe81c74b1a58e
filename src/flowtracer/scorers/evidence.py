"""One look at the model that serves all the chosen scorers, and runs no more than they need."""

from typing import Any

import torch
from torch import Tensor, nn

from flowtracer.attention import MeanReader, depth_of, read_attention, select_layers
from flowtracer.attention.shared_prompt import shared_prompt_attention
from flowtracer.attention.tiles import reads_in_tiles, tiled_attention
from flowtracer.models.decoder import device_of, find_decoder
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
    read from states and logits; once, with a backward pass, for gradients. shared: see
    `score_tokens`. tiles: whether whoever reads attention can do so from tiles.
    """
    found: dict[str, Any] = {}
    if needs & {"attention", "heads"}:
        plain = needs & {"attention", "heads"} == {"attention"} and options.heads == "all"
        if plain and tiles and _is_long(model, batch, options):
            layers = select_layers(options.layers, depth_of(model))
            found.update(
                tiles=tiled_attention(model, batch.input_ids, layers=layers), layers=layers
            )
        elif plain and shared:
            found.update(_look_past_the_prompt(model, batch, options, shared))
        else:
            found.update(_look_at_attention(model, batch, needs, options))
    if needs & {"hidden", "alignment", "entropy"}:
        found.update(_look_at_states(model, batch, needs))
    if "gradient" in needs:
        effect, embedding = answer_gradient(model, batch)
        found.update(gradient=effect, embedding=embedding)
    for name, value in found.items():  # a model may live on several devices
        if isinstance(value, Tensor):
            found[name] = value.to(batch.input_ids.device)
    return Evidence(batch, **found)


def _look_at_attention(
    model: nn.Module, batch: ScoreBatch, needs: frozenset[Need], options: ScoreOptions
) -> dict[str, Any]:
    """One pass over the union of the layers that the mean and the heads are taken of."""
    found: dict[str, Any] = {}
    readers: list[tuple[tuple[int, ...], MeanReader | HeadReader]] = []
    depth = depth_of(model)
    if "attention" in needs:
        layers = select_layers(options.layers, depth)
        chosen = None if options.heads == "all" else _third_of_heads(model, batch, layers, options)
        mean = MeanReader(
            batch.attention_mask, len(layers), edges=options.edges, head_weights=chosen
        )
        readers.append((layers, mean))
        found.update(attention=mean.mean, layers=layers)
    if "heads" in needs:
        heads = HeadReader(batch.attention_mask, batch.candidates)
        readers.append((rhythm_layers(options.layers, depth), heads))

    def read(layer: int, start: int, weights: Tensor) -> None:
        for layers, reader in readers:
            if layer in layers:
                reader.read(layer, start, weights)

    union = tuple(sorted({layer for layers, _ in readers for layer in layers}))
    read_attention(
        model,
        batch.input_ids,
        batch.attention_mask,
        read,
        layers=union,
        begin=mean.begin if "attention" in needs else None,
    )
    if "attention" in needs:
        mean.finish()
    if "heads" in needs:
        found["heads"] = heads.finish()
    return found


def _is_long(model: nn.Module, batch: ScoreBatch, options: ScoreOptions) -> bool:
    """Whether a single text without padding is longer than what is held as a whole."""
    if len(batch.input_ids) != 1 or options.edges != "mean" or not bool(batch.attention_mask.all()):
        return False
    return reads_in_tiles(model, batch.input_ids.shape[1], options.tile_above)


def _look_past_the_prompt(
    model: nn.Module, batch: ScoreBatch, options: ScoreOptions, shared: int
) -> dict[str, Any]:
    """One pass over the prompt that all rows share, and one over their responses."""
    layers = select_layers(options.layers, depth_of(model))
    device = device_of(find_decoder(model))
    attention = shared_prompt_attention(
        model,
        batch.input_ids[0, :shared].to(device),
        batch.input_ids[:, shared:].to(device),
        batch.attention_mask[:, shared:].to(device),
        layers=layers,
        edges=options.edges,
    )
    return {"attention": attention, "layers": layers}


def _third_of_heads(
    model: nn.Module, batch: ScoreBatch, layers: tuple[int, ...], options: ScoreOptions
) -> dict[int, Tensor]:
    """Weights of the heads whose attention is near, middling or far, of each layer (B, heads).

    One pass of its own: distances are known only after the whole text was seen. Distance is the
    `span` of `HeadStatistics`; the thirds are of all heads of the chosen layers, row by row (our
    choice), and the chosen heads weigh the same.
    """
    reader = HeadReader(batch.attention_mask, batch.candidates)
    read_attention(model, batch.input_ids, batch.attention_mask, reader.read, layers=layers)
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
def _look_at_states(
    model: nn.Module, batch: ScoreBatch, needs: frozenset[Need]
) -> dict[str, Tensor]:
    """One plain forward pass, ended in the middle if nothing above it is needed."""
    to_head = bool(needs & {"alignment", "entropy"})
    states = read_states(model, batch, middle="hidden" in needs, final=to_head)
    found: dict[str, Tensor] = {}
    if states.middle is not None:
        found["hidden"] = states.middle
    if states.final is not None and "alignment" in needs:
        found["alignment"] = align(model, states.final, batch.candidates)
    if states.final is not None and "entropy" in needs:
        found["entropy"] = response_entropy(model, batch, states.final)
    return found
