"""verl's own FSDP engine with the embedded model in it, on the CPU."""

from typing import Any

from verl.trainer.config import CheckpointConfig
from verl.workers.config import FSDPEngineConfig, FSDPOptimizerConfig, HFModelConfig
from verl.workers.engine.fsdp import transformer_impl

from flowtracer.models import model_path

FULL = {"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"}


class FirstGeneration(transformer_impl.FSDP):
    """FSDP1 without the first broadcast of weights, which torch makes between GPUs only."""

    def __init__(self, module: Any, **settings: Any) -> None:
        super().__init__(module, **{**settings, "sync_module_states": False})


def make_engine(strategy: str) -> transformer_impl.FSDPEngineWithLMHead:
    """strategy: "fsdp2", or "fsdp" for FSDP1, which is verl's default."""
    made = transformer_impl.FSDPEngineWithLMHead(
        HFModelConfig(
            path=model_path("embedded"),
            use_remove_padding=False,
            enable_gradient_checkpointing=False,
            override_config={"attn_implementation": "sdpa"},
        ),
        FSDPEngineConfig(
            strategy=strategy,
            use_torch_compile=False,
            model_dtype="fp32",
            mixed_precision=FULL,
            param_offload=False,
        ),
        FSDPOptimizerConfig(lr=1e-6, total_training_steps=1),
        CheckpointConfig(),
    )
    plain, transformer_impl.FSDP = transformer_impl.FSDP, FirstGeneration
    try:
        made.initialize()
    finally:
        transformer_impl.FSDP = plain
    return made
