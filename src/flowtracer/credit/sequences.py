"""Credit for complete sequences as trainers keep them: padded (B, T), or packed without padding."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from flowtracer.credit.credit import Credit, TokenCredit, token_credit
from flowtracer.credit.packing import packing_of
from flowtracer.models.pictures import BY_TOKEN, ModelInputs, as_model_inputs
from flowtracer.scorers.batch import ScoreBatch
from flowtracer.scorers.responses import sequence_batch, structural_vocabulary


def sequence_credit(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    input_ids: Tensor,
    response_mask: Tensor,
    *,
    credit: Credit | None = None,
    attention_mask: Tensor | None = None,
    cu_seq_lens: Tensor | None = None,
    position_ids: Tensor | None = None,
    row_mask: Tensor | None = None,
    all_reduce_max: Callable[[int], int] = lambda forwards: forwards,
    delimiters: Tensor | None = None,
    model_inputs: ModelInputs | Mapping[str, Any] | None = None,
) -> TokenCredit:
    """`token_credit` of sequences of prompt and response, in the shape in which they came.

    A row of the input is a sequence, padded on either side. With `cu_seq_lens`, or with `position_ids`
    that begin anew within a row, a row holds several sequences, and its weights are the ones that they
    have when each is a row of its own.

    Args:
        input_ids: (B, T), all tokens of prompt and response.
        response_mask: (B, T), 1 at tokens that the policy wrote. What precedes a sequence's
            first one is its prompt; later tokens without it (tool output) are part of the graph only.
        attention_mask: (B, T), 0 at padding. None: no padding.
        cu_seq_lens, position_ids: see `packing_of`.
        row_mask: bool, sequences to score, (B,), or (N,) of packed ones in their order.
        all_reduce_max: see `token_credit`.
        delimiters: `structural_vocabulary` of the tokenizer. None: computed if it is needed.
        model_inputs: the processor's output for texts with pictures, see `mean_attention`; of packed
            rows, its pictures in the order of the sequences.

    Returns weights, scores and chosen (B, T); answered and scored per sequence.
    """
    credit = Credit() if credit is None else credit
    credit.check_token_ids()
    real = attention_mask
    packing = None
    if cu_seq_lens is not None or position_ids is not None:
        check_shape(response_mask, input_ids)
        packing = packing_of(
            input_ids,
            cu_seq_lens=cu_seq_lens,
            position_ids=position_ids,
            attention_mask=attention_mask,
        )
        input_ids, response_mask = packing.unpack(input_ids), packing.unpack(response_mask)
        real = packing.real
        if isinstance(model_inputs, Mapping):  # the rest follows from the ids
            model_inputs = {k: v for k, v in model_inputs.items() if k not in BY_TOKEN}
    batch = batch_of_sequences(
        tokenizer,
        input_ids,
        response_mask,
        credit,
        attention_mask=real,
        delimiters=delimiters,
        model_inputs=as_model_inputs(model, model_inputs, input_ids),
    )
    result = token_credit(model, batch, credit, row_mask=row_mask, all_reduce_max=all_reduce_max)
    if packing is None:
        return result
    return replace(
        result,
        weights=packing.pack(result.weights, fill=1.0),
        scores=packing.pack(result.scores),
        chosen=packing.pack(result.chosen),
    )


def batch_of_sequences(
    tokenizer: PreTrainedTokenizerBase,
    input_ids: Tensor,
    response_mask: Tensor,
    credit: Credit,
    *,
    attention_mask: Tensor | None = None,
    delimiters: Tensor | None = None,
    model_inputs: ModelInputs | None = None,
) -> ScoreBatch:
    """What `sequence_credit` scores, of sequences that are padded on either side; arguments as there."""
    check_shape(response_mask, input_ids)
    if delimiters is None and credit.needs_structure:
        delimiters = structural_vocabulary(tokenizer)
    real = torch.ones_like(input_ids) if attention_mask is None else attention_mask.long()
    response_mask = response_mask.bool() & real.bool()
    prompt = (response_mask.long().cumsum(1) == 0) & real.bool()
    return sequence_batch(
        tokenizer,
        input_ids=input_ids,
        attention_mask=real,
        question=prompt,
        completion_mask=real * ~prompt,
        response_mask=response_mask,
        answer=credit.answer,
        steps=credit.steps,
        delimiters=delimiters,
        model_inputs=model_inputs,
    )


def check_shape(response_mask: Tensor, input_ids: Tensor) -> None:
    """Raise ValueError for a mask of another shape than the tokens'."""
    if response_mask.shape != input_ids.shape:
        raise ValueError(
            f"response_mask has shape {tuple(response_mask.shape)} but input_ids has "
            f"{tuple(input_ids.shape)}"
        )
