"""The one place that decides how attention is read: as one matrix, in tiles, or on a shared prompt."""

import torch
from torch import Tensor, nn

from flowtracer.attention.capture import Progress
from flowtracer.attention.layers import Layers
from flowtracer.attention.mean import Edges, mean_attention
from flowtracer.attention.memory import dense_limit
from flowtracer.attention.shared_prompt import shared_prompt_attention
from flowtracer.attention.tiles import TiledAttention, can_tile, tiled_attention
from flowtracer.models.decoder import device_of, find_decoder
from flowtracer.models.pictures import ModelInputs, looks_ahead


def auto_attention(
    model: nn.Module,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    *,
    layers: Layers = "middle",
    edges: Edges = "mean",
    shared: int = 0,
    tiles: bool = True,
    tile_above: int | None = None,
    model_inputs: ModelInputs | None = None,
    progress: Progress | None = None,
) -> Tensor | TiledAttention:
    """`mean_attention`, or in place of it the same numbers at a lower price.

    In tiles, where `tiles` allows it: a single text without padding for which `needs_tiles`. On a
    shared prompt: where the first `shared` columns are the same in every row and without padding.
    Edges other than "mean" are not read in tiles, nor are pictures whose tokens attend to later ones. A
    prompt with pictures is not shared.

    Raises as `mean_attention`.
    """
    rows, length = input_ids.shape
    unpadded = attention_mask is None or bool(attention_mask.all())
    can_be_tiled = tiles and rows == 1 and unpadded and edges == "mean"
    can_be_tiled = can_be_tiled and not (model_inputs is not None and looks_ahead(model))
    if can_be_tiled and needs_tiles(model, length, tile_above):
        return tiled_attention(
            model, input_ids, layers=layers, model_inputs=model_inputs, progress=progress
        )
    if shared and model_inputs is None:
        device = device_of(find_decoder(model))
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return shared_prompt_attention(
            model,
            input_ids[0, :shared].to(device),
            input_ids[:, shared:].to(device),
            mask[:, shared:].to(device),
            layers=layers,
            edges=edges,
        )
    return mean_attention(
        model,
        input_ids,
        attention_mask,
        layers=layers,
        edges=edges,
        model_inputs=model_inputs,
        progress=progress,
    )


def needs_tiles(model: nn.Module, length: int, tile_above: int | None) -> bool:
    """Whether a text of `length` tokens is longer than `tile_above` and the model can be read so.

    tile_above: None for what free memory suggests.
    """
    if tile_above is None:
        tile_above = dense_limit(device_of(find_decoder(model)))
    return length > tile_above and can_tile(model)
