"""What a trace reads of the model: one pass, and everything that follows from its attention."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from flowtracer.attention import (
    attention_by_layer,
    auto_attention,
    model_layers,
    needs_tiles,
)
from flowtracer.flow.solve import AttentionRows
from flowtracer.scorers import ScoreOptions, score_tokens
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.tracing.graph import TracedGraph, count_passes, layer_throughput, read_graph
from flowtracer.tracing.scores import local_scores

Progress = Callable[[str, int, int], None]


def read_model(
    model: nn.Module,
    text: ScoreBatch,
    options: ScoreOptions,
    *,
    by_layer: bool,
    scorers: Sequence[str] = (),
    progress: Progress | None = None,
) -> TracedGraph:
    """Flow, edges, routes and scores of one text (1, T) that ends with its answer.

    scorers: whose scores to take, beside those that need no other pass. by_layer: also
    the throughput of each layer alone, where attention is a matrix.
    """
    report = progress or (lambda stage, done, of: None)
    layers: list[Tensor] = []

    def show(layer: int, attention: Tensor) -> None:
        layers.append(
            layer_throughput(attention, text.question, text.answer, options.answer_tokens)
        )

    count = text.input_ids.shape[1]
    tiled = options.edges == "mean" and needs_tiles(model, count, options.tile_above)
    read = partial(attention_by_layer, show=show) if by_layer and not tiled else None
    attention = _attention(model, text, options, read, report)
    response = text.candidates
    graph = read_graph(attention, text.question, response, text.answer, options.answer_tokens)
    chosen = model_layers(model, options.layers)
    scores = local_scores(attention, text, chosen, options)
    missing = [name for name in scorers if name != "flow" and name not in scores]
    if missing:
        scores |= score_tokens(model, text, missing, options=options)
    return replace(graph, scores=scores, by_layer=tuple(layers))


def _attention(
    model: nn.Module,
    text: ScoreBatch,
    options: ScoreOptions,
    by_layer: Callable[..., Tensor] | None,
    report: Progress,
) -> Tensor | AttentionRows:
    """Attention (1, T, T) of the text, as a matrix or in tiles that report what is read of them."""
    told = partial(report, "tracing")
    if by_layer is not None:
        return by_layer(
            model,
            text.input_ids,
            layers=options.layers,
            edges=options.edges,
            model_inputs=text.model_inputs,
            progress=told,
        )
    attention = auto_attention(
        model,
        text.input_ids,
        layers=options.layers,
        edges=options.edges,
        tile_above=options.tile_above,
        model_inputs=text.model_inputs,
        progress=told,
    )
    if isinstance(attention, Tensor):
        return attention
    total, rows = count_passes() * text.input_ids.shape[1], 0

    def computed(more: int) -> None:
        nonlocal rows
        rows += more
        report("reading", rows, total)

    return replace(attention, computed=computed)
