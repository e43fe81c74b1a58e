"""From a model and token ids to the mean attention of chosen layers."""

from flowtracer.attention.capture import read_attention
from flowtracer.attention.layers import select_layers
from flowtracer.attention.mean import MeanReader, mean_attention
from flowtracer.attention.shared_prompt import shared_prompt_attention
from flowtracer.attention.tiles import TiledAttention, tiled_attention
from flowtracer.models.decoder import AttentionCaptureError, depth_of

__all__ = [
    "AttentionCaptureError",
    "MeanReader",
    "TiledAttention",
    "depth_of",
    "mean_attention",
    "read_attention",
    "select_layers",
    "shared_prompt_attention",
    "tiled_attention",
]
