"""Tiny random models of every architecture that capture is verified for."""

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
)

SIZE = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
WINDOW = {"head_dim": 16, "sliding_window": 8}  # far below the length of the test texts
ARCHITECTURES = {
    "qwen2": Qwen2Config(**SIZE),
    "qwen3": Qwen3Config(**SIZE, head_dim=16),
    "llama": LlamaConfig(**SIZE),
    "gemma2": Gemma2Config(**SIZE, **WINDOW, query_pre_attn_scalar=16),
    "gemma3": Gemma3TextConfig(**SIZE, **WINDOW, query_pre_attn_scalar=16),
    "mistral": MistralConfig(**SIZE, sliding_window=8),
    "phi3": Phi3Config(**SIZE),
    "gpt-oss": GptOssConfig(**SIZE, **WINDOW, num_local_experts=4, num_experts_per_tok=2),
}


def random_model(name):
    """Weights large enough that attention is far from uniform, caps and sinks matter."""
    return randomized(AutoModelForCausalLM, ARCHITECTURES[name], 0.3)


def randomized(kind, config, scale):
    """A model with normal weights: matrices of this scale, vectors of scale 1."""
    torch.manual_seed(0)
    model = kind.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, scale if parameter.ndim > 1 else 1.0)
    return model


def texts(padding, length=24):
    """(3, length) ids and a mask with padding on the given sides."""
    ids = torch.randint(3, 97, (3, length), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    if padding in ("left", "both"):
        mask[1, :5] = 0
    if padding in ("right", "both"):
        mask[2, -7:] = 0
    return ids, mask


def snapshot(model):
    return (
        model.config.to_dict(),
        model.config._attn_implementation,
        [module.training for module in model.modules()],
        [len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules()],
        [(name, p.requires_grad, p.data_ptr()) for name, p in model.named_parameters()],
    )


def eager_attentions(model, ids):
    """Attention of every layer for one text without padding, a list of (heads, T, T)."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    with torch.no_grad():
        kept = model(input_ids=ids[None], output_attentions=True, use_cache=False).attentions
    model.set_attn_implementation(before)
    return [layer[0].float() for layer in kept]
