"""What the model is asked for a text, kept so that another scorer or answer asks only for what is new."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from flowtracer.attention import attention_by_layer, model_layers, needs_tiles
from flowtracer.attention.mean import without_sink
from flowtracer.attention.tiles import TiledAttention
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.scorers.evidence import gather_evidence
from flowtracer.scorers.scorer import Evidence, Need, ScoreOptions
from flowtracer.workbench.engine import Engine, watched_layers
from flowtracer.workbench.jobs import Job

FIELDS: dict[Need, tuple[str, ...]] = {  # of Evidence that each need fills
    "attention": ("attention", "tiles", "layers"),
    "heads": ("heads",),
    "hidden": ("hidden",),
    "alignment": ("alignment",),
    "entropy": ("entropy",),
    "gradient": ("gradient", "embedding"),
    "model": ("model",),
}
BY_LAYER_BYTES = 1 << 27  # of one text's layers together, our choice
LOCAL = frozenset[Need]({"attention"})  # what scorers need that ask the model nothing after a trace


def read_evidence(
    engine: Engine,
    name: str,
    batch: ScoreBatch,
    needs: frozenset[Need],
    options: ScoreOptions,
    job: Job,
    *,
    tiles: bool = False,
) -> Evidence:
    """Evidence of a text (one row), from what is kept and otherwise from the model.

    name: of the text, whose response tokens are the candidates. tiles: whether attention may be one
    that is read in tiles.
    """
    fields_read: dict[str, Any] = {}
    for need in sorted(needs):
        key = _key(engine, name, need, batch, options)
        kept = engine.evidence.get((key, "tiles")) if tiles and need == "attention" else None
        kept = kept or engine.evidence.get(key) or _derived(engine, key)
        if kept is None:
            kept = _ask(engine, batch, need, options, job, tiles=tiles)
            in_tiles = kept.get("tiles") is not None
            engine.evidence.put((key, "tiles") if in_tiles else key, kept)
        fields_read |= {field: kept[field] for field in FIELDS[need]}
    return Evidence(batch, **fields_read)


def matrix_of(evidence: Evidence) -> Tensor | TiledAttention:
    """Mean attention (1, T, T), as a matrix or in tiles."""
    attention = evidence.tiles if evidence.attention is None else evidence.attention
    assert attention is not None
    return attention


def layers_of(engine: Engine, name: str, options: ScoreOptions) -> tuple[Tensor, ...]:
    """Attention (1, T, T) of each layer of a text whose attention was read; none of a long text."""
    kept = engine.evidence.get(_attention_key(engine, name, options)) or {}
    layers: tuple[Tensor, ...] = kept.get("by_layer", ())
    return layers


def cut(attention: Tensor | TiledAttention, stop: int) -> Tensor | TiledAttention:
    """Attention (1, T, T) of the first `stop` tokens; nothing that comes later changes it."""
    if isinstance(attention, Tensor):
        return attention[:, :stop, :stop]
    layers = tuple(
        replace(
            layer,
            query=layer.query[:, :, :stop],
            key=layer.key[:, :, :stop],
            logsumexp=layer.logsumexp[:, :, :stop],
        )
        for layer in attention.layers
    )
    return replace(attention, layers=layers)


def _ask(
    engine: Engine,
    batch: ScoreBatch,
    need: Need,
    options: ScoreOptions,
    job: Job,
    *,
    tiles: bool,
) -> dict[str, Any]:
    """What the model gives for one need; with attention each layer's own, if all of them are small."""
    chosen, length = model_layers(engine.model, options.layers), batch.input_ids.shape[1]
    reads = need in ("attention", "heads")
    count = max(chosen) + 1 if reads else engine.depth
    with watched_layers(engine.model, job, "tracing" if reads else "reading", count):
        small = 4 * length * length * len(chosen) <= BY_LAYER_BYTES
        in_tiles = tiles and needs_tiles(engine.model, length, options.tile_above)
        if need == "attention" and small and not in_tiles:
            by_layer: list[Tensor] = []
            attention = attention_by_layer(
                engine.model,
                batch.input_ids,
                lambda layer, matrix: by_layer.append(matrix.clone()),
                layers=options.layers,
                edges=options.edges,
            )
            read: dict[str, Any] = {"attention": attention, "tiles": None, "layers": chosen}
            return read | {"by_layer": tuple(by_layer)}
        asked = gather_evidence(engine.model, batch, frozenset({need}), options, tiles=tiles)
    return {field: getattr(asked, field) for field in FIELDS[need]}


def _key(
    engine: Engine, name: str, need: Need, batch: ScoreBatch, options: ScoreOptions
) -> tuple[object, ...]:
    """All that a need's evidence depends on."""
    if need == "attention":
        return _attention_key(engine, name, options)
    if need == "heads":  # which takes other layers for "middle"
        return name, need, options.layers
    if need == "gradient":
        return name, need, tuple(batch.answer[0].tolist())
    return name, need


def _attention_key(engine: Engine, name: str, options: ScoreOptions) -> tuple[object, ...]:
    return name, "attention", model_layers(engine.model, options.layers), options.edges


def _derived(engine: Engine, key: tuple[object, ...]) -> dict[str, Any] | None:
    """Attention without its sink, from the mean that is kept."""
    if key[-1] != "no-sink" or (kept := engine.evidence.get((*key[:-1], "mean"))) is None:
        return None
    matrices = [part.clone() for part in (kept["attention"], *kept.get("by_layer", ()))]
    for matrix in matrices:
        real = torch.ones(matrix.shape[:2], dtype=torch.bool, device=matrix.device)
        without_sink(matrix, real)
    derived = kept | {"attention": matrices[0], "by_layer": tuple(matrices[1:])}
    engine.evidence.put(key, derived)
    return derived
