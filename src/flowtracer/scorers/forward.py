"""One plain forward pass of a model, and its own head on any states.

The head is applied to a few states at a time, because the logits of a complete batch can be larger than
the model. Whatever the architecture does to its logits (caps, scales) is done: the model's own
forward runs, with its stack of layers answering from memory.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import MoeModelOutputWithPast

from flowtracer.attention import AttentionCaptureError
from flowtracer.models.decoder import device_of, find_decoder, is_sharded, layer_stack
from flowtracer.models.padding import text_positions
from flowtracer.models.pictures import check_pictured, run_with_pictures
from flowtracer.models.swap import evaluating, only_in_this_thread
from flowtracer.scorers.batch import ScoreBatch

LOGITS_AT_ONCE = 1 << 24  # our choice: 64 MiB in float32


class States(NamedTuple):
    """Of one forward pass, (B, T, D) each; None where it was not requested."""

    middle: Tensor | None  # after layer floor(L / 2), counted from 0
    final: Tensor | None  # what the head sees


class _Enough(Exception):
    """Ends the forward pass: the middle layer's states are known."""


def read_states(
    model: nn.Module, batch: ScoreBatch, *, middle: bool = False, final: bool = True
) -> States:
    """Run the model once, in evaluation mode, and keep what is requested.

    Layers above the middle one do not run if only that one is requested, unless the model is sharded and
    every process has to leave it at its end.
    """
    decoder = find_decoder(model)
    kept: dict[str, Tensor] = {}

    def keep_middle(module: nn.Module, inputs: Any, output: Any) -> None:
        kept["middle"] = output if isinstance(output, Tensor) else output[0]
        if not final and not is_sharded(model):
            raise _Enough

    def keep_final(module: nn.Module, inputs: Any, output: Any) -> None:
        kept["final"] = output[0]

    handles = []
    try:
        if middle:
            handles.append(
                _middle_layer(model).register_forward_hook(only_in_this_thread(keep_middle))
            )
        if final:
            handles.append(decoder.register_forward_hook(only_in_this_thread(keep_final)))
        inputs = _inputs(model, batch)
        check_pictured(model, inputs["input_ids"], inputs)
        with run_with_pictures(model), torch.compiler.set_stance("force_eager"):
            # Entered at its top, where the hooks of sharding and placement are.
            model(**inputs, logits_to_keep=1)
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return States(kept.get("middle"), kept.get("final"))


def apply_head(model: nn.Module, states: Tensor) -> Tensor:
    """Logits of some final states: (N, D) to (N, V), by the model's own forward.

    Raises AttentionCaptureError for a model without language-model head and for a sharded one, whose
    processes would have to agree on the number of calls.
    """
    decoder = find_decoder(model)
    if is_sharded(model):
        raise AttentionCaptureError(
            f"{type(model).__name__} is sharded by FSDP or ZeRO-3, and scorers that need logits or "
            "gradients read unsharded models only; choose a scorer that reads attention"
        )
    answer = MoeModelOutputWithPast(last_hidden_state=states[None])  # the most fields of its kind
    ids = torch.zeros(1, len(states), dtype=torch.long, device=states.device)
    with evaluating(model), _answering(decoder, answer):
        logits = getattr(model(input_ids=ids, use_cache=False), "logits", None)
    if logits is None:
        raise AttentionCaptureError(
            f"{type(model).__name__} has no language-model head; load it as a causal language model"
        )
    return logits[0]


def head_slices(model: nn.Module, count: int, at_once: int = LOGITS_AT_ONCE) -> list[slice]:
    """Split `count` states so that each part has at most `at_once` logits, or a single state."""
    vocabulary = find_decoder(model).config.get_text_config().vocab_size
    step = max(1, at_once // vocabulary)
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def predicted(batch: ScoreBatch, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of those tokens that have a token before them, (N,) each.

    tokens: (B, T) bool. A row's first token comes out of no distribution and is left out.
    """
    real = batch.attention_mask > 0
    follows = nn.functional.pad(real[:, :-1], (1, 0)) & real
    rows, columns = (tokens & follows).nonzero(as_tuple=True)
    return rows, columns


@contextmanager
def _answering(decoder: PreTrainedModel, answer: MoeModelOutputWithPast) -> Iterator[None]:
    """The stack of layers replaced by what it is to answer, in this thread."""
    attributes: dict[str, Callable[..., Any]] = decoder.__dict__
    before = attributes.get("forward")  # accelerate puts one there
    forward, thread = decoder.forward, threading.get_ident()

    def respond(*args: Any, **kwargs: Any) -> Any:
        return answer if threading.get_ident() == thread else forward(*args, **kwargs)

    attributes["forward"] = respond
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        if before is None:
            del attributes["forward"]
        else:
            attributes["forward"] = before


def _inputs(model: nn.Module, batch: ScoreBatch) -> dict[str, Any]:
    """What the model is called with; positions count the real tokens of a row, or are the model's own."""
    device = device_of(find_decoder(model))
    pictures = {} if batch.model_inputs is None else batch.model_inputs.arguments(device)
    mask = batch.attention_mask.to(device)
    padded = not bool(mask.all())
    return {
        "input_ids": batch.input_ids.to(device),
        "attention_mask": mask if padded else None,
        "position_ids": text_positions(mask) if padded and not pictures else None,
        "use_cache": False,
        "return_dict": True,
    } | pictures


def _middle_layer(model: nn.Module) -> nn.Module:
    """Layer floor(L / 2) of the stack, our choice of a middle."""
    stack = layer_stack(model)
    return stack[len(stack) // 2]
