"""Engines that complete prompts: transformers, or vLLM where it is installed."""

from collections.abc import Callable, Sequence

from flowtracer.models import load, model_path
from flowtracer.models.generation import Sampling, generate

Complete = Callable[[Sequence[str], int], list[str]]  # rendered prompts, seed -> responses


def transformers_backend(
    model: str, sampling: Sampling, *, dtype: str, device: str, trust_remote_code: bool = False
) -> Complete:
    """Batched generation in this process; deterministic given the seed and the batch."""
    loaded = load(model, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
    return lambda prompts, seed: generate(loaded, prompts, sampling, seed=seed)


def vllm_backend(
    model: str, sampling: Sampling, *, dtype: str, device: str, trust_remote_code: bool = False
) -> Complete:
    """vLLM's own batching. Raises ValueError if it is not installed."""
    try:
        from vllm import LLM, SamplingParams
    except ImportError as error:
        raise ValueError(
            "vLLM is not installed; use --backend transformers or install vllm"
        ) from error
    path = model_path(model, trust_remote_code=trust_remote_code)
    engine = LLM(model=path, dtype=dtype, trust_remote_code=trust_remote_code)

    def complete(prompts: Sequence[str], seed: int) -> list[str]:
        parameters = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k or -1,
            max_tokens=sampling.max_new_tokens,
            seed=seed,
        )
        return [output.outputs[0].text for output in engine.generate(list(prompts), parameters)]

    return complete


BACKENDS: dict[str, Callable[..., Complete]] = {
    "transformers": transformers_backend,
    "vllm": vllm_backend,
}
