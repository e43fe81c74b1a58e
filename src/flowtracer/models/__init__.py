"""Models: loading them, finding their decoder, swapping their attention, generating with them."""

from flowtracer.models.loading import (
    EMBEDDED,
    Loaded,
    ModelError,
    load,
    load_config,
    load_processor,
    load_tokenizer,
    model_path,
)

__all__ = [
    "EMBEDDED",
    "Loaded",
    "ModelError",
    "load",
    "load_config",
    "load_processor",
    "load_tokenizer",
    "model_path",
]
