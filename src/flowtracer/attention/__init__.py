"""From a model and token ids to the mean attention of chosen layers."""

from flowtracer.attention.capture import AttentionCaptureError, mean_attention
from flowtracer.attention.layers import select_layers

__all__ = ["AttentionCaptureError", "mean_attention", "select_layers"]
