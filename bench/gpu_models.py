"""Models of random weights in the shape of real ones, made without a network."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM, Qwen3Config

SHAPES = {
    "Qwen3-0.6B": {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "heads": 16,
    },
    "Qwen3-4B": {
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "heads": 32,
    },
    "tiny": {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 6, "heads": 4},
}


def random_model(shape: str, device: torch.device) -> Any:
    """A Qwen3 of this shape with random weights, in bfloat16 on a GPU."""
    sizes = dict(SHAPES[shape])
    heads = sizes.pop("heads")
    tiny = shape == "tiny"
    config = Qwen3Config(
        **sizes,
        num_attention_heads=heads,
        num_key_value_heads=2 if tiny else 8,
        head_dim=16 if tiny else 128,
        vocab_size=97 if tiny else 151_936,
        max_position_embeddings=40_960,
        tie_word_embeddings=True,
    )
    dtype = torch.bfloat16 if device.type == "cuda" and not tiny else torch.float32
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
