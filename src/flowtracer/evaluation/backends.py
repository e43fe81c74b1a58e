"""Engines that complete prompts: transformers, or vLLM where it is installed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from flowtracer.models import Loaded, load, model_path


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn. Temperature 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 1024  # the shorter of the paper's two response lengths


Complete = Callable[[Sequence[str], int], list[str]]  # rendered prompts, seed -> responses


def transformers_backend(model: str, sampling: Sampling, *, dtype: str, device: str) -> Complete:
    """Batched generation in this process; deterministic given the seed and the batch."""
    loaded = load(model, dtype=dtype, device=device)
    return lambda prompts, seed: generate(loaded, prompts, sampling, seed=seed)


def generate(loaded: Loaded, prompts: Sequence[str], sampling: Sampling, *, seed: int) -> list[str]:
    """One response for each rendered prompt. The caller's random state is untouched."""
    model, tokenizer = loaded.model, loaded.tokenizer
    padding = tokenizer.pad_token_id
    if padding is None:
        padding = tokenizer.eos_token_id or 0
    ids = [tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
    width = max(map(len, ids))
    inputs = torch.tensor([[padding] * (width - len(row)) + row for row in ids])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
    drawn: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if sampling.temperature > 0:
        drawn = {
            "do_sample": True,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
        }
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed(seed)
        run: Callable[..., torch.Tensor] = model.generate  # type: ignore[assignment]
        output = run(
            input_ids=inputs.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=sampling.max_new_tokens,
            pad_token_id=padding,
            **drawn,
        )
    return tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)


def vllm_backend(model: str, sampling: Sampling, *, dtype: str, device: str) -> Complete:
    """vLLM's own batching. Raises ValueError if it is not installed."""
    try:
        from vllm import LLM, SamplingParams
    except ImportError as error:
        raise ValueError(
            "vLLM is not installed; use --backend transformers or install vllm"
        ) from error
    engine = LLM(model=model_path(model), dtype=dtype)

    def complete(prompts: Sequence[str], seed: int) -> list[str]:
        parameters = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k or -1,
            max_tokens=sampling.max_new_tokens,
            seed=seed,
        )
        return [one.outputs[0].text for one in engine.generate(list(prompts), parameters)]

    return complete


BACKENDS: dict[str, Callable[..., Complete]] = {
    "transformers": transformers_backend,
    "vllm": vllm_backend,
}
