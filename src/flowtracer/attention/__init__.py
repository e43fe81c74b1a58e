"""From a model and token ids to the mean attention of chosen layers."""

from flowtracer.attention.auto import auto_attention, needs_tiles
from flowtracer.attention.by_layer import attention_by_layer
from flowtracer.attention.capture import LayerCall, visit_layers
from flowtracer.attention.layers import model_layers, select_layers
from flowtracer.attention.mean import MeanReader, mean_attention
from flowtracer.attention.observe import observe_layers, why_not_observed
from flowtracer.attention.readers import AttentionReader, read_attention
from flowtracer.attention.shared_prompt import can_share, shared_prompt_attention
from flowtracer.attention.tiles import TiledAttention, tiled_attention
from flowtracer.models.decoder import AttentionCaptureError, depth_of

__all__ = [
    "AttentionCaptureError",
    "AttentionReader",
    "LayerCall",
    "MeanReader",
    "TiledAttention",
    "attention_by_layer",
    "auto_attention",
    "can_share",
    "depth_of",
    "mean_attention",
    "model_layers",
    "needs_tiles",
    "observe_layers",
    "read_attention",
    "select_layers",
    "shared_prompt_attention",
    "tiled_attention",
    "visit_layers",
    "why_not_observed",
]
