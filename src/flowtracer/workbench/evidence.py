"""What the model is asked for a text, kept so that another scorer or answer asks only for what is new."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from flowtracer.attention import select_layers
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
    found: dict[str, Any] = {}
    for need in sorted(needs):
        key = _key(engine, name, need, batch, options)
        kept = engine.evidence.get((key, "tiles")) if tiles and need == "attention" else None
        kept = kept or engine.evidence.get(key) or _derived(engine, key)
        if kept is None:
            stage = "tracing" if need in ("attention", "heads") else "reading"
            layers = max(select_layers(options.layers, engine.depth)) + 1
            with watched_layers(
                engine.model, job, stage, layers if stage == "tracing" else engine.depth
            ):
                asked = gather_evidence(
                    engine.model, batch, frozenset({need}), options, tiles=tiles
                )
            kept = {field: getattr(asked, field) for field in FIELDS[need]}
            in_tiles = kept.get("tiles") is not None
            engine.evidence.put((key, "tiles") if in_tiles else key, kept)
        found |= kept
    return Evidence(batch, **found)


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


def _key(
    engine: Engine, name: str, need: Need, batch: ScoreBatch, options: ScoreOptions
) -> tuple[object, ...]:
    """All that a need's evidence depends on."""
    if need == "attention":
        return name, need, select_layers(options.layers, engine.depth), options.edges
    if need == "heads":  # which takes other layers for "middle"
        return name, need, options.layers
    if need == "gradient":
        return name, need, tuple(batch.answer[0].tolist())
    return name, need


def _derived(engine: Engine, key: tuple[object, ...]) -> dict[str, Any] | None:
    """Attention without its sink, from the mean that is kept."""
    if key[-1] != "no-sink" or (kept := engine.evidence.get((*key[:-1], "mean"))) is None:
        return None
    attention = kept["attention"].clone()
    real = torch.ones(attention.shape[:2], dtype=torch.bool, device=attention.device)
    derived = kept | {"attention": without_sink(attention, real)}
    engine.evidence.put(key, derived)
    return derived
