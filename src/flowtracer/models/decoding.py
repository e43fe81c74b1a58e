"""The decoding loop of transformers' `generate` without the work that its result does not need.

Handed to `generate` as its `custom_generate`: logits processors and stopping criteria stay transformers'
own, and so do the random numbers, drawn for all rows at every step. Rows that are the same so far run
once, rows that have ended no longer run, and keys and values are written in place; on a GPU, where launches
take longer than the work, a step runs as a CUDA graph instead. Models that prepare their inputs in a way of
their own are left to transformers' loop.
"""

import inspect
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, GenerationMixin, PreTrainedModel

from flowtracer.models.branching import Texts
from flowtracer.models.cache import cache_of, layers_of
from flowtracer.models.decoder import is_sharded
from flowtracer.models.graphed import FixedTexts, runs_in_graphs
from flowtracer.models.layer_kinds import keeps_plain_cache, text_config
from flowtracer.models.padding import text_positions

# What `generate` may be told beside its config for the loop to take over.
PLAIN = {"input_ids", "attention_mask", "generation_config", "disable_compile"}
TAKEN = {"past_key_values", "position_ids", "attention_mask", "logits_to_keep"}  # by the model
_NOT_PLAIN = (
    "assistant_early_exit",
    "prompt_lookup_num_tokens",
    "return_dict_in_generate",
    "penalty_alpha",
    "dola_layers",
    "use_mtp",
)


def decode_fast(model: PreTrainedModel) -> None:
    """Let the model's `generate` use `decode` wherever it can; everything else runs as before."""

    def chosen(self: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        takes_over = not args and set(kwargs) <= PLAIN and can_decode(self)
        configs = [kwargs.get("generation_config"), self.generation_config]
        if takes_over and all(_is_plain(config) for config in configs if config is not None):
            kwargs["custom_generate"] = decode
        kind: Any = type(self)
        return kind.generate(self, *args, **kwargs)

    # As transformers itself replaces it for models that bring a `generate` of their own; a copy of the
    # model gets it bound to itself.
    model.generate = MethodType(chosen, model)  # type: ignore[assignment]


def can_decode(model: nn.Module) -> bool:
    """Whether `decode` gives the tokens of the model's own `generate`.

    Every layer keeps plain keys and values, the model prepares its inputs as transformers does, it is on
    one device, and no other process waits for this one.
    """
    devices = set((getattr(model, "hf_device_map", None) or {}).values())
    prepare = getattr(type(model), "prepare_inputs_for_generation", None)
    takes = inspect.signature(model.forward).parameters
    if (
        is_sharded(model)
        or len(devices) > 1
        or prepare is not GenerationMixin.prepare_inputs_for_generation
        or not takes.keys() >= TAKEN
    ):
        return False
    config = text_config(model)
    return keeps_plain_cache(config) and not config.is_encoder_decoder


def _is_plain(config: GenerationConfig) -> bool:
    beams = (config.num_beams or 1) == 1 and (config.num_return_sequences or 1) == 1
    caches = config.use_cache is not False and config.cache_implementation is None
    return beams and caches and not any(getattr(config, name, None) for name in _NOT_PLAIN)


def decode(
    model: PreTrainedModel,
    input_ids: Tensor,
    logits_processor: Callable[[Tensor, Tensor], Tensor],
    stopping_criteria: Callable[[Tensor, Tensor], Tensor],
    generation_config: GenerationConfig,
    synced_gpus: bool = False,
    streamer: Any = None,
    **model_kwargs: Any,
) -> Tensor:
    """`GenerationMixin._sample` for one sequence a row: the prompts with new tokens, padded, (B, T).

    input_ids: (B, P), with `attention_mask` among `model_kwargs`, padded on the left.
    """
    if synced_gpus or streamer is not None:
        raise ValueError("decode serves one process without a streamer")
    config: Any = generation_config
    mask = model_kwargs.get("attention_mask")
    mask = torch.ones_like(input_ids) if mask is None else mask
    steps = int(config.max_length) - input_ids.shape[1]
    texts, row, logits = _read_prompts(model, input_ids, mask, steps)
    pad = config._pad_token_tensor
    unfinished = torch.ones(len(input_ids), dtype=torch.bool, device=input_ids.device)
    every = torch.zeros(len(input_ids), logits.shape[1], device=input_ids.device)
    while True:
        # Rows that have ended draw from stale logits, so that the others' random numbers stay theirs.
        every[unfinished] = logits[row].float()
        scores = logits_processor(input_ids, every.clone())
        if config.do_sample:
            tokens = torch.multinomial(scores.softmax(-1), num_samples=1)[:, 0]
        else:
            tokens = scores.argmax(-1)
        if pad is not None:
            tokens = torch.where(unfinished, tokens, pad.to(tokens.device))
        input_ids = torch.cat([input_ids, tokens[:, None]], 1)
        ended = stopping_criteria(input_ids, scores)
        row = row[~ended[unfinished]]
        unfinished = unfinished & ~ended
        if not len(row):
            return input_ids
        row, logits = texts.grow(row, tokens[unfinished])


def _read_prompts(
    model: nn.Module, input_ids: Tensor, mask: Tensor, steps: int
) -> tuple[Texts | FixedTexts, Tensor, Tensor]:
    """Texts that begin with the prompts, each copy's row (B,), and logits (rows, V) behind them.

    Distinct prompts are the first rows; where steps run as a graph, every copy is a row.
    """
    both = torch.cat([input_ids, mask.to(input_ids.dtype)], 1)
    distinct, row = both.unique(dim=0, return_inverse=True)
    ids, real = distinct.split(input_ids.shape[1], 1)
    padded = not bool(real.all())
    cache = cache_of([], 1)
    logits = model(
        ids,
        attention_mask=real if padded else None,
        position_ids=text_positions(real),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    if runs_in_graphs(model):
        layers = ((keys[row], values[row]) for keys, values in layers_of(cache))
        every = torch.arange(len(row), device=row.device)
        return FixedTexts(model, layers, real[row], steps), every, logits[row]
    columns = nn.functional.pad(real, (0, steps), value=1) if padded else None
    rows = torch.arange(len(ids), device=ids.device)
    return Texts(model, cache, real.sum(1), columns, ids.shape[1], rows), row, logits
