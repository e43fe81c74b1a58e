"""Let a model answer: one prompt with progress, or a batch of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from flowtracer.models.loading import Loaded

MAX_NEW_TOKENS = 1024  # our choice: the shorter of the paper's two response lengths


class _Report(StoppingCriteria):
    """Never stops; says how many tokens there are after each one."""

    def __init__(self, prompt_length: int, report: Callable[[int], None]) -> None:
        self.prompt_length = prompt_length
        self.report = report

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        self.report(input_ids.shape[1] - self.prompt_length)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def respond(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt_ids: list[int],
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    temperature: float = 0.0,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[int]:
    """Token ids of one response, without the end-of-text token.

    temperature 0 (default) is greedy; above it, plain sampling (no top-k or top-p) with `seed`.
    progress is called with the number of tokens so far. The caller's random state is untouched.

    Raises ValueError if nothing but the end of text comes.
    """
    ids = torch.tensor([prompt_ids], device=model.device)
    sampling: dict[str, Any] = (
        {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        if temperature > 0
        else {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
    )
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed(seed)
        generate: Callable[..., Tensor] = model.generate  # type: ignore[assignment]
        output = generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
            stopping_criteria=StoppingCriteriaList(
                [_Report(ids.shape[1], progress)] if progress else []
            ),
            **sampling,
        )
    response = output[0, ids.shape[1] :].tolist()
    ends = end_tokens(model, tokenizer)
    while response and response[-1] in ends:
        response.pop()
    if not response:
        raise ValueError("the model ended its response at once; try another prompt or temperature")
    return response


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Ids that end a response."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    ends = configured if isinstance(configured, list) else [configured]
    return {one for one in (*ends, tokenizer.eos_token_id) if one is not None}


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn. Temperature 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 1024  # the shorter of the paper's two response lengths


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
