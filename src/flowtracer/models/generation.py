"""Let a model answer: one prompt with progress, or a batch of them."""

from collections.abc import Callable, Mapping, Sequence
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

from flowtracer.models.decoding import can_decode, decode
from flowtracer.models.loading import Loaded
from flowtracer.models.padding import pad_rows
from flowtracer.models.pictures import check_pictured

MAX_NEW_TOKENS = 1024  # our choice: the shorter of the paper's two response lengths

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn. Temperature 0 is greedy; top_p 1 and top_k 0 leave out no token."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = MAX_NEW_TOKENS

    def options(self) -> dict[str, Any]:
        """What transformers' `generate` calls them."""
        limit = {"max_new_tokens": self.max_new_tokens}
        if self.temperature == 0:
            return limit | {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        return limit | {
            "do_sample": True,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
        }


class _Report(StoppingCriteria):
    """Never stops; says how many tokens there are after each one."""

    def __init__(self, prompt_length: int, report: Progress) -> None:
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
    progress: Progress | None = None,
    pictures: Mapping[str, Any] | None = None,
) -> list[int]:
    """Token ids of one response, without the end-of-text token.

    temperature 0 (default) is greedy; above it, plain sampling (no top-k or top-p) with `seed`.
    progress is called with the number of tokens so far. pictures: what the model is called with beside
    the prompt's ids. The caller's random state is untouched.

    Raises ValueError if nothing but the end of text comes.
    """
    sampling = Sampling(temperature, max_new_tokens=max_new_tokens)
    sampled = _sample(
        model, tokenizer, [prompt_ids], sampling, seed=seed, progress=progress, pictures=pictures
    )
    response: list[int] = sampled[0].tolist()
    ends = end_tokens(model, tokenizer)
    while response and response[-1] in ends:
        response.pop()
    if not response:
        raise ValueError("the model ended its response at once; try another prompt or temperature")
    return response


def generate(loaded: Loaded, prompts: Sequence[str], sampling: Sampling, *, seed: int) -> list[str]:
    """One response for each rendered prompt. The caller's random state is untouched."""
    model, tokenizer = loaded.model, loaded.tokenizer
    ids = [tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
    sampled = _sample(model, tokenizer, ids, sampling, seed=seed)
    return tokenizer.batch_decode(sampled, skip_special_tokens=True)


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Ids that end a response."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    ends = configured if isinstance(configured, list) else [configured]
    return {end for end in (*ends, tokenizer.eos_token_id) if end is not None}


def _sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    *,
    seed: int,
    progress: Progress | None = None,
    pictures: Mapping[str, Any] | None = None,
) -> Tensor:
    """New token ids (B, R) of B prompts, padded behind the end of each response."""
    padding = tokenizer.pad_token_id
    if padding is None:
        padding = tokenizer.eos_token_id or 0
    ids, mask = pad_rows(prompts, left=True, value=padding, device=model.device)
    check_pictured(model, ids, pictures or {})
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed(seed)
        run: Callable[..., Tensor] = model.generate  # type: ignore[assignment]
        output = run(
            input_ids=ids,
            attention_mask=mask,
            pad_token_id=padding,
            stopping_criteria=StoppingCriteriaList(
                [_Report(ids.shape[1], progress)] if progress else []
            ),
            custom_generate=decode if not pictures and can_decode(model) else None,
            **sampling.options(),
            **(pictures or {}),
        )
    return output[:, ids.shape[1] :]
