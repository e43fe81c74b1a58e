"""Where models come from, what they consist of, and how they answer."""

from flowtracer.models.loading import (
    EMBEDDED,
    Loaded,
    ModelError,
    load,
    model_path,
    parameter_count,
)

__all__ = ["EMBEDDED", "Loaded", "ModelError", "load", "model_path", "parameter_count"]
