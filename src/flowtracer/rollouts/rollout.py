"""A rollout out of a row of a file: token ids of prompt and response, and what is known of them."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from flowtracer.records import PROMPT_FIELDS, RESPONSE_FIELDS, first_field
from flowtracer.regions import (
    answer_weights,
    decode_with_offsets,
    render_prompt,
    tokenize_prompt,
)
from flowtracer.regions.prompts import holds_pictures

LARGEST = torch.finfo(torch.float32).max  # advantages are multiplied in float32
# As datasets of TRL, verl and vLLM call them.
PICTURE_FIELDS = ("image", "images", "video", "videos", "multi_modal_data")
LIKELY_CHARACTERS = 8  # of a token, our choice: few texts have more
PROMPTS = 16  # kept, our choice: enough for groups in turn, little memory if they are long


@dataclass(frozen=True)
class Rollout:
    """One prompt and its response."""

    row: int  # in the entire input, 0 first
    id: str | None
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    response_mask: tuple[bool, ...]  # of the response's tokens: False for tool output
    answer: tuple[float, ...] | None  # weights of the response's tokens, where the row has them
    advantages: tuple[float, ...] | None  # of the response's tokens

    @property
    def tokens(self) -> int:
        return len(self.prompt_ids) + len(self.response_ids)


@dataclass(frozen=True)
class Limits:
    """What a row must keep within."""

    vocabulary: int
    max_tokens: int


def read_rollout(
    tokenizer: PreTrainedTokenizerBase,
    record: Mapping[str, Any],
    row: int,
    *,
    limits: Limits,
    prompts: "PromptReader | None" = None,
) -> Rollout:
    """A row as a rollout; text is tokenized, ids are taken as they are.

    Fields: prompt_ids and response_ids, or a prompt (text or conversation; one of `PROMPT_FIELDS`) and
    a response (one of `RESPONSE_FIELDS`); optionally id, tool_mask (one number per response id, 0 for
    tool output), answer (character spans of the response, with weights or without), advantage (a
    number) or advantages (one per response token). prompts: reads prompts, and keeps those of other rows.

    Raises ValueError with what is wrong.
    """
    pictured = any(record.get(name) for name in PICTURE_FIELDS)
    if pictured or holds_pictures(first_field(record, PROMPT_FIELDS)):
        raise ValueError(
            "has pictures, which are not read from files; score it in Python, `token_credit` takes them as "
            "`model_inputs`"
        )
    prompt = _ids(record, "prompt_ids", limits)
    if prompt is None:
        prompts = prompts or PromptReader(tokenizer, limits)
        prompt = prompts.ids(first_field(record, PROMPT_FIELDS))
    response = _ids(record, "response_ids", limits)
    if response is None:
        text = first_field(record, RESPONSE_FIELDS)
        if not isinstance(text, str) or not text:
            raise ValueError(f"has no response; one of {', '.join(RESPONSE_FIELDS)} is needed")
        _check_length(tokenizer, text, limits)
        response = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    if not prompt or not response:
        raise ValueError("has an empty prompt or response")
    total = len(prompt) + len(response)
    if total > limits.max_tokens:
        raise ValueError(f"has {total:,} tokens, more than --max-tokens {limits.max_tokens:,}")
    return Rollout(
        row,
        None if record.get("id") is None else str(record["id"]),
        prompt,
        response,
        _response_mask(record, len(response)),
        _answer(tokenizer, record, response),
        _advantages(record, len(response)),
    )


class PromptReader:
    """Token ids of prompts; the last ones are kept, as the responses to a prompt are adjacent."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, limits: Limits, chat: bool | None = None
    ) -> None:
        """chat: as in `render_prompt`."""
        self._tokenizer, self._limits, self._chat = tokenizer, limits, chat
        self._kept: OrderedDict[str, tuple[int, ...]] = OrderedDict()

    def ids(self, prompt: Any) -> tuple[int, ...]:
        """Of a text or a conversation. Raises ValueError for anything else or too long a text."""
        key = repr(prompt)
        if key not in self._kept:
            self._kept[key] = _prompt(self._tokenizer, prompt, self._limits, self._chat)
            if len(self._kept) > PROMPTS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def _prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: Any, limits: Limits, chat: bool | None
) -> tuple[int, ...]:
    if isinstance(prompt, list):
        prompt = [dict(turn) if isinstance(turn, Mapping) else turn for turn in prompt]
        contents = [turn.get("content") for turn in prompt if isinstance(turn, dict)]
        text = "".join(content for content in contents if isinstance(content, str))
    elif isinstance(prompt, str):
        text = prompt
    else:
        raise ValueError(f"has no prompt; one of {', '.join(PROMPT_FIELDS)} is needed")
    _check_length(tokenizer, text, limits)
    return tuple(tokenize_prompt(tokenizer, render_prompt(tokenizer, prompt, chat=chat)).ids)


def _check_length(tokenizer: PreTrainedTokenizerBase, text: str, limits: Limits) -> None:
    """Raise ValueError if the beginning of a long text has too many tokens already.

    A token takes hundreds of bytes while a text is tokenized, so that a text of megabytes at once
    would take gigabytes.
    """
    size = limits.max_tokens * LIKELY_CHARACTERS
    while size < len(text):
        if len(tokenizer(text[:size], add_special_tokens=False)["input_ids"]) > limits.max_tokens:
            raise ValueError(f"has more than --max-tokens {limits.max_tokens:,} tokens")
        size *= 2


def _ids(record: Mapping[str, Any], name: str, limits: Limits) -> tuple[int, ...] | None:
    ids = record.get(name)
    if ids is None:
        return None
    if not isinstance(ids, list) or not all(type(token) is int for token in ids):
        raise ValueError(f"{name} is not a list of integers")
    wrong = next((token for token in ids if not 0 <= token < limits.vocabulary), None)
    if wrong is not None:
        raise ValueError(
            f"{name} holds {wrong}, which is not in a vocabulary of {limits.vocabulary}"
        )
    return tuple(ids)


def _response_mask(record: Mapping[str, Any], length: int) -> tuple[bool, ...]:
    mask = record.get("tool_mask")
    if mask is None:
        return (True,) * length
    if not isinstance(mask, list) or not all(value in (0, 1) for value in mask):
        raise ValueError("tool_mask is not a list of 0 and 1")
    if len(mask) != length:
        raise ValueError(f"tool_mask has {len(mask)} entries for {length} response tokens")
    return tuple(map(bool, mask))


def _answer(
    tokenizer: PreTrainedTokenizerBase, record: Mapping[str, Any], response: tuple[int, ...]
) -> tuple[float, ...] | None:
    spans = record.get("answer")
    if not isinstance(spans, list):
        return None  # a reference answer as text says nothing of where the response has it
    text = decode_with_offsets(tokenizer, list(response))
    return tuple(answer_weights(spans, text).tolist())


def _advantages(record: Mapping[str, Any], length: int) -> tuple[float, ...] | None:
    values = record.get("advantages")
    if values is None and record.get("advantage") is not None:
        values = [record["advantage"]] * length
    if values is None:
        return None
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise ValueError("the advantage is not a number, or the advantages are no list of numbers")
    if len(values) != length:
        raise ValueError(f"there are {len(values)} advantages for {length} response tokens")
    if not all(abs(value) <= LARGEST for value in values):
        raise ValueError("an advantage is not finite")
    return tuple(map(float, values))
