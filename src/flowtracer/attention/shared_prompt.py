"""Mean attention of several responses to one prompt: the prompt's part is computed once.

What a prompt token attends to does not depend on the response, and keys and values of the prompt are
the same for all of them. So the prompt runs alone and fills a cache, then all responses run together
on top of it.
"""

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from flowtracer.attention.layers import Layers, model_layers
from flowtracer.attention.mean import Edges, MeanReader
from flowtracer.attention.readers import read_attention
from flowtracer.models.decoder import is_sharded
from flowtracer.models.layer_kinds import has_plain_attention, text_config


def can_share(model: nn.Module) -> bool:
    """Whether a prompt passes on keys and values alone, and the model is not sharded."""
    return not is_sharded(model) and has_plain_attention(text_config(model))


def shared_prompt_attention(
    model: nn.Module,
    prompt_ids: Tensor,
    response_ids: Tensor,
    response_mask: Tensor,
    *,
    layers: Layers = "middle",
    edges: Edges = "mean",
) -> Tensor:
    """`mean_attention` of prompt and response, (R, P + C, P + C) float32, for R responses.

    Shapes: prompt_ids (P,), response_ids (R, C) padded on the right, response_mask (R, C).

    Raises as `mean_attention`. The model must be one that `can_share`.
    """
    chosen = model_layers(model, layers)
    prompt = prompt_ids[None]
    rows, length = response_ids.shape
    start = prompt.shape[1]

    cache = DynamicCache()  # without the model's settings: it keeps all keys, windows are masked
    # What goes to the sink is spread once, when both parts are together.
    of_prompt = MeanReader(
        torch.ones_like(prompt), chosen, edges="mean" if edges == "no-sink" else edges
    )
    positions = torch.arange(start + length, device=prompt.device)[None]
    read_attention(model, prompt, None, [of_prompt], position_ids=positions[:, :start], past=cache)
    cache.batch_repeat_interleave(rows)
    mask = torch.cat([prompt.new_ones(rows, start), response_mask], 1)
    of_all = MeanReader(mask, chosen, edges=edges, first=start)
    of_all.mean[:, :start, :start] = of_prompt.finish()
    response_positions = positions[:, start:].expand(rows, -1)
    read_attention(model, response_ids, None, [of_all], position_ids=response_positions, past=cache)
    return of_all.finish()
