"""Tiny random models of the architectures that transformers has, for the table in docs/models.md.

Names are values of `model_type`. Sizes common to all are in `SIZE`; what an architecture needs beside them
is in `SPECIAL`.
"""

import dataclasses
import inspect
import warnings

import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from flowtracer.models import Loaded

SIZE = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 96,
    "intermediate_size_mlp": 96,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "query_pre_attn_scalar": 16,
    "sliding_window": 8,  # far below the length of the test texts, as are the next two
    "attention_chunk_size": 8,
    "index_topk": 8,
    "index_n_heads": 32,  # few would often all be below 0, and what is selected a matter of ties
    "index_head_dim": 16,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "num_dense_layers": 1,
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "mamba_d_state": 16,
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_d_ssm": 128,
    "mamba_chunk_size": 16,
    "mamba_dt_rank": 8,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": 97,
    "num_kv_shared_layers": 2,
    "laurel_rank": 8,
    "altup_num_inputs": 2,
}
ONE_HEAD_EACH = {
    "num_key_value_heads": 4
}  # multi-head latent attention has as many keys as queries
THIRDS = ["linear_attention", "linear_attention", "full_attention"] * 2
ALTERNATING = {"layer_types": ["sliding_attention", "full_attention"] * 3}
SPECIAL = {
    "axk1": ONE_HEAD_EACH,
    "axk2": ONE_HEAD_EACH,
    "bailing_hybrid": ONE_HEAD_EACH | {"layer_types": THIRDS},
    "bamba": {"attn_layer_indices": [2, 5]},
    "deepseek_v2": ONE_HEAD_EACH,
    "deepseek_v3": ONE_HEAD_EACH,
    "deepseek_v32": ONE_HEAD_EACH,
    "gemma3n_text": ALTERNATING,
    "gemma4_text": ALTERNATING | {"global_head_dim": 32},
    "glm4_moe_lite": ONE_HEAD_EACH,
    "glm_moe_dsa": ONE_HEAD_EACH,
    "gpt_neo": {"num_layers": 6, "attention_types": [[["global", "local"], 3]]},
    "gptj": {"rotary_dim": 8},
    "granite": {"attention_multiplier": 0.25},
    "granite_swa": {"attention_multiplier": 0.25},
    "granitemoe": {"attention_multiplier": 0.25},
    "granitemoehybrid": {"layer_types": THIRDS, "mamba_expand": 2, "mamba_n_heads": 8},
    "granitemoeshared": {"attention_multiplier": 0.25},
    "jamba": {"attn_layer_period": 3, "attn_layer_offset": 2, "num_experts": 2},
    "kimi_linear": ONE_HEAD_EACH
    | {
        "layer_types": THIRDS,
        "linear_attn_config": {"num_heads": 4, "head_dim": 16, "short_conv_kernel_size": 4},
    },
    "lfm2": {"full_attn_idxs": [2, 4], "block_ff_dim": 96},
    "lfm2_moe": {"layer_types": ["conv", "conv", "full_attention"] * 2},
    "longcat_flash": ONE_HEAD_EACH
    | {"ffn_hidden_size": 32, "expert_ffn_hidden_size": 32, "moe_topk": 2},
    "mamba2": {"num_heads": 8, "head_dim": 16, "state_size": 16, "n_groups": 1},
    "minicpm3": ONE_HEAD_EACH,
    "nemotron_h": {
        "layers_block_type": ["linear_attention", "full_attention", "mlp"] * 2,
        "mamba_num_heads": 8,
        "mamba_head_dim": 16,
        "n_groups": 1,
        "ssm_state_size": 16,
        "chunk_size": 16,
    },
    "olmo_hybrid": {"layer_types": THIRDS},
    "qwen3_5_moe_text": {"layer_types": THIRDS},
    "qwen3_5_text": {"layer_types": THIRDS},
    "qwen3_next": {"layer_types": THIRDS},
    "youtu": ONE_HEAD_EACH,
    "zamba": {"attn_layer_period": 3, "attn_layer_offset": 2, "n_mamba_heads": 2},
    "zamba2": {
        "layers_block_type": ["linear_attention", "linear_attention", "hybrid"] * 2,
        "mamba_ngroups": 1,
        "n_mamba_heads": 8,
        "mamba_headdim": 16,
    },
    "zaya": {"num_experts_per_tok": 1},
}
# fmt: off
SOFTMAX = [
    "apertus", "arcee", "beam", "biogpt", "bitnet", "cohere", "cohere2", "cohere2_moe", "cwm", "doge",
    "dots1", "ernie4_5", "ernie4_5_moe", "exaone4", "exaone_moe", "flex_olmo", "gemma", "gemma2",
    "gemma3_text", "gemma3n_text", "gemma4_text", "glm", "glm4", "glm4_moe", "gpt2", "gpt_bigcode",
    "gpt_neox", "gpt_oss", "granite", "granite_swa", "granitemoe", "granitemoeshared", "helium",
    "hunyuan_v1_dense", "hunyuan_v1_moe", "jais2", "jetmoe", "laguna", "llama", "llama4_text",
    "mimo_v2_flash", "minimax_m2", "ministral", "ministral3", "mistral", "mixtral", "modernbert-decoder",
    "nanochat", "nemotron", "olmo", "olmo2", "olmo3", "olmoe", "opt", "persimmon", "phi", "phi3", "phimoe",
    "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "seed_oss", "smollm3", "solar_open", "stablelm",
    "starcoder2", "vaultgemma",
]
LATENT = ["axk1", "deepseek_v2", "deepseek_v3", "glm4_moe_lite", "minicpm3", "youtu"]
SELECTING = ["axk2", "deepseek_v32", "glm_moe_dsa", "hy_v4"]
HYBRID = [
    "bailing_hybrid", "bamba", "falcon_h1", "granitemoehybrid", "jamba", "kimi_linear", "lfm2", "lfm2_moe",
    "lfm3", "minimax", "nemotron_h", "olmo_hybrid", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_next", "zaya",
]
REFUSED = [
    "bloom", "codegen", "deepseek_v4", "diffllama", "falcon", "falcon_mamba", "gpt_neo", "gptj", "hrm_text",
    "longcat_flash", "mamba", "mamba2", "mpt", "recurrent_gemma", "rwkv", "xglm", "xlstm", "zamba", "zamba2",
]
# fmt: on
READ = [*SOFTMAX, *LATENT, *SELECTING, *HYBRID]


def tiny_config(name):
    kind = CONFIG_MAPPING[name]
    known = set(getattr(kind, "attribute_map", {}))
    if dataclasses.is_dataclass(kind):
        known |= {field.name for field in dataclasses.fields(kind)}
    else:
        known |= set(inspect.signature(kind.__init__).parameters)
    return kind(**{key: size for key, size in SIZE.items() if key in known} | SPECIAL.get(name, {}))


def tiny_loaded(name, embedded):
    """A tiny model with the embedded model's tokenizer. embedded: the one that is loaded."""
    model = tiny_model(name)
    model.resize_token_embeddings(len(embedded.tokenizer))
    return Loaded(model, embedded.tokenizer, name)


def tiny_model(name):
    """Weights large enough that attention is far from uniform, caps and sinks matter."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_config(tiny_config(name), dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.2)
            else:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model
