"""A rollout out of a row of a file: token ids of prompt and response, and what is known of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from flowtracer.records import PROMPT_FIELDS, RESPONSE_FIELDS, first_field
from flowtracer.regions import (
    answer_weights,
    decode_with_offsets,
    encode_with_offsets,
    render_prompt,
    tokenize_prompt,
)

LIKELY_CHARACTERS = 8  # of a token, our choice: few texts have more


@dataclass(frozen=True)
class Rollout:
    """One prompt and its response."""

    row: int  # in the whole input, 0 first
    id: str | None
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    response_mask: tuple[bool, ...]  # of the response's tokens: False for tool output
    answer: (
        tuple[float, ...] | None
    )  # weight of each response token as answer, where the row says it
    advantages: tuple[float, ...] | None  # of the response's tokens

    @property
    def tokens(self) -> int:
        return len(self.prompt_ids) + len(self.response_ids)


@dataclass(frozen=True)
class Limits:
    """What a row must keep within."""

    vocabulary: int
    most_tokens: int


def read_rollout(
    tokenizer: PreTrainedTokenizerBase,
    record: Mapping[str, Any],
    row: int,
    *,
    limits: Limits,
    chat: bool | None = None,
) -> Rollout:
    """A row as a rollout; text is tokenized, ids are taken as they are.

    Fields: prompt_ids and response_ids, or a prompt (text or conversation; one of `PROMPT_FIELDS`) and
    a response (one of `RESPONSE_FIELDS`); optionally id, tool_mask (one number per response id, 0 for
    tool output), answer (character spans of the response, with weights or without), advantage (a
    number) or advantages (one per response token).

    Raises ValueError with what is wrong.
    """
    prompt = _ids(record, "prompt_ids", limits)
    if prompt is None:
        prompt = _prompt(tokenizer, first_field(record, PROMPT_FIELDS), limits, chat)
    response = _ids(record, "response_ids", limits)
    if response is None:
        text = first_field(record, RESPONSE_FIELDS)
        if not isinstance(text, str) or not text:
            raise ValueError(f"has no response; one of {', '.join(RESPONSE_FIELDS)} is needed")
        _check_length(tokenizer, text, limits)
        response = tuple(encode_with_offsets(tokenizer, text).ids)
    if not prompt or not response:
        raise ValueError("has an empty prompt or response")
    total = len(prompt) + len(response)
    if total > limits.most_tokens:
        raise ValueError(f"has {total:,} tokens, more than --max-tokens {limits.most_tokens:,}")
    return Rollout(
        row,
        None if record.get("id") is None else str(record["id"]),
        prompt,
        response,
        _response_mask(record, len(response)),
        _answer(tokenizer, record, response),
        _advantages(record, len(response)),
    )


def _prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: Any, limits: Limits, chat: bool | None
) -> tuple[int, ...]:
    if isinstance(prompt, list):
        prompt = [dict(one) if isinstance(one, Mapping) else one for one in prompt]
        parts = [one.get("content") if isinstance(one, dict) else None for one in prompt]
        text = "".join(one for one in parts if isinstance(one, str))
    elif isinstance(prompt, str):
        text = prompt
    else:
        raise ValueError(f"has no prompt; one of {', '.join(PROMPT_FIELDS)} is needed")
    _check_length(tokenizer, text, limits)
    return tuple(tokenize_prompt(tokenizer, render_prompt(tokenizer, prompt, chat=chat)).ids)


def _check_length(tokenizer: PreTrainedTokenizerBase, text: str, limits: Limits) -> None:
    """Raise ValueError if the beginning of a long text has too many tokens already.

    A token takes hundreds of bytes while a text is tokenized, so that a text of megabytes as a whole
    would take gigabytes.
    """
    size = limits.most_tokens * LIKELY_CHARACTERS
    while size < len(text):
        if len(tokenizer(text[:size], add_special_tokens=False)["input_ids"]) > limits.most_tokens:
            raise ValueError(f"has more than --max-tokens {limits.most_tokens:,} tokens")
        size *= 2


def _ids(record: Mapping[str, Any], name: str, limits: Limits) -> tuple[int, ...] | None:
    given = record.get(name)
    if given is None:
        return None
    if not isinstance(given, list) or not all(type(one) is int for one in given):
        raise ValueError(f"{name} is not a list of whole numbers")
    wrong = next((one for one in given if not 0 <= one < limits.vocabulary), None)
    if wrong is not None:
        raise ValueError(
            f"{name} holds {wrong}, which is not in a vocabulary of {limits.vocabulary}"
        )
    return tuple(given)


def _response_mask(record: Mapping[str, Any], length: int) -> tuple[bool, ...]:
    given = record.get("tool_mask")
    if given is None:
        return (True,) * length
    if not isinstance(given, list) or not all(one in (0, 1) for one in given):
        raise ValueError("tool_mask is not a list of 0 and 1")
    if len(given) != length:
        raise ValueError(f"tool_mask has {len(given)} entries for {length} response tokens")
    return tuple(bool(one) for one in given)


def _answer(
    tokenizer: PreTrainedTokenizerBase, record: Mapping[str, Any], response: tuple[int, ...]
) -> tuple[float, ...] | None:
    given = record.get("answer")
    if not isinstance(given, list):
        return None  # a reference answer as text says nothing of where the response has it
    text = decode_with_offsets(tokenizer, list(response))
    return tuple(answer_weights(given, text).tolist())


def _advantages(record: Mapping[str, Any], length: int) -> tuple[float, ...] | None:
    given = record.get("advantages")
    if given is None and record.get("advantage") is not None:
        given = [record["advantage"]] * length
    if given is None:
        return None
    if not isinstance(given, list) or not all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in given
    ):
        raise ValueError("the advantage is not a number, or the advantages are no list of numbers")
    if len(given) != length:
        raise ValueError(f"there are {len(given)} advantages for {length} response tokens")
    values = tuple(float(one) for one in given)
    if not bool(torch.tensor(values).isfinite().all()):
        raise ValueError("an advantage is not finite")
    return values
