"""From sampled token ids to a batch that can be scored: where the answers and the delimiters are."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from flowtracer.models.pictures import ModelInputs
from flowtracer.regions import (
    AnswerRule,
    ReadTokens,
    Span,
    answer_weights,
    decode_text,
    decode_with_offsets,
    find_answer,
    opened_thought,
    read_all,
    token_weights,
    user_spans,
)
from flowtracer.regions.prompts import Message
from flowtracer.scorers.batch import ScoreBatch

LONGEST_TAG = (
    16  # tokens of a tag and the blanks behind it; our choice, a byte each for the longest
)


def score_batch(
    tokenizer: PreTrainedTokenizerBase,
    *,
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    completion_ids: Tensor,
    completion_mask: Tensor,
    tool_mask: Tensor | None = None,
    answer: AnswerRule = "auto",
    steps: AnswerRule | None = None,
    conversations: Sequence[Sequence[Message]] | None = None,
    delimiters: Tensor | None = None,
    model_inputs: ModelInputs | None = None,
) -> ScoreBatch:
    """Prompt and completion (B, P) and (B, C) as sequences of P + C tokens.

    tool_mask: (B, C), 0 at tool output, which is part of the graph but never a candidate nor an
    answer. answer: the rule of `find_answer`. steps: see `Credit`. conversations: the prompts'
    messages, if flow is to enter at the user's only, and at pictures. delimiters:
    `structural_vocabulary`, (V,), if they have to be known. model_inputs: pictures of the P + C tokens.
    """
    response_mask = completion_mask.bool()
    if tool_mask is not None:
        response_mask = response_mask & tool_mask.bool()
    question = prompt_mask.bool()
    if conversations is not None:
        by_user = user_tokens(tokenizer, prompt_ids, prompt_mask, conversations)
        if model_inputs is not None:
            by_user |= model_inputs.in_pictures[:, : prompt_ids.shape[1]].to(by_user.device)
        question = question & by_user
    return sequence_batch(
        tokenizer,
        input_ids=torch.cat([prompt_ids, completion_ids], 1),
        attention_mask=torch.cat([prompt_mask, completion_mask], 1),
        question=torch.cat([question, torch.zeros_like(response_mask)], 1),
        completion_mask=torch.cat([torch.zeros_like(prompt_mask), completion_mask], 1),
        response_mask=torch.cat([torch.zeros_like(question), response_mask], 1),
        answer=answer,
        steps=steps,
        delimiters=delimiters,
        model_inputs=model_inputs,
    )


def sequence_batch(
    tokenizer: PreTrainedTokenizerBase,
    *,
    input_ids: Tensor,
    attention_mask: Tensor,
    question: Tensor,
    completion_mask: Tensor,
    response_mask: Tensor,
    answer: AnswerRule,
    steps: AnswerRule | None,
    delimiters: Tensor | None,
    model_inputs: ModelInputs | None = None,
) -> ScoreBatch:
    """Sequences (B, T) with what is known of their tokens, all masks (B, T).

    question: where flow enters. completion_mask: everything behind the prompt, which holds the steps.
    response_mask: what the policy wrote of it, which holds the answer. The rest as in `score_batch`.
    """
    return ScoreBatch(
        input_ids=input_ids,
        attention_mask=attention_mask,
        question=question,
        candidates=response_mask,
        answer=find_answers(tokenizer, input_ids, completion_mask, response_mask, answer),
        steps=None if steps is None else step_scores(tokenizer, input_ids, completion_mask, steps),
        structural=None if delimiters is None else is_structural(delimiters, input_ids),
        tokenizer=tokenizer,
        model_inputs=model_inputs,
    )


def find_answers(
    tokenizer: PreTrainedTokenizerBase,
    ids: Tensor,
    completion_mask: Tensor,
    response_mask: Tensor,
    rule: AnswerRule,
) -> Tensor:
    """Weight of each completion token as answer, (B, T) float; a row without an answer is all 0.

    A rule reads what the policy wrote, with tool output blanked: most take the last match, and one in
    later tool output would hide the policy's own. Where the prompt opens a thought, the response begins
    in it. A row on which the user's own function fails is all 0
    and warned of.
    """
    weights = np.zeros(tuple(ids.shape), dtype=np.float32)
    opened = _opened_thoughts(tokenizer, ids)
    written = _as_bool(response_mask)
    for row, positions, text in _texts(tokenizer, ids, completion_mask, written):
        by_policy = written[row, positions]
        try:
            answer_weight = answer_weights(
                rule, text.blanked(by_policy), thinking=opened(row, int(positions[0]))
            )
            weights[row, positions] = answer_weight.numpy() * by_policy
        except Exception as error:
            if isinstance(rule, str):  # a fault of ours, and of no single response
                raise
            _warn("answer", error)
    return torch.from_numpy(weights).to(ids.device)


def step_scores(
    tokenizer: PreTrainedTokenizerBase, ids: Tensor, mask: Tensor, rule: AnswerRule
) -> Tensor:
    """Score of the step that each completion token belongs to, (B, T) float; 1 outside of steps.

    rule: a function from the response to (start, stop, score) spans, scores 0 or more. A row on which
    it fails is all 1, which is warned of.
    """
    scores = torch.ones(ids.shape, dtype=torch.float32)
    for row, positions, text in _texts(tokenizer, ids, mask):
        try:
            spans = rule(text.text) if callable(rule) else find_answer(text.text, rule)
            for start, stop, score in spans or ():  # type: ignore[attr-defined]
                if not 0 <= score < float("inf"):
                    raise ValueError(f"step score {score} is not a number of 0 or more")
                step = [Span(start, stop, 1.0)]
                inside = token_weights(step, text.offsets_for(step)) > 0
                scores[row, torch.from_numpy(positions)[inside]] = float(score)
        except Exception as error:
            _warn("steps", error)
            scores[row] = 1.0
    return scores.to(ids.device)


def _opened_thoughts(tokenizer: PreTrainedTokenizerBase, ids: Tensor) -> Callable[[int, int], bool]:
    """Whether the prompt in a row, which ends before a position, opens a thought."""

    tokens = ids.cpu().numpy()

    @cache
    def opens(end: tuple[int, ...]) -> bool:
        return bool(opened_thought(decode_text(tokenizer, list(end))))

    return lambda row, stop: opens(tuple(tokens[row, max(0, stop - LONGEST_TAG) : stop].tolist()))


def _texts(
    tokenizer: PreTrainedTokenizerBase,
    ids: Tensor,
    mask: Tensor,
    written: np.ndarray | None = None,
) -> Iterator[tuple[int, np.ndarray, ReadTokens]]:
    """Row, positions of its masked tokens and their text, of every row that has any.

    written: what the policy wrote; the text ends where that does. Special tokens at the end are left
    out: an end-of-text token is no last line.
    """
    tokens, inside = ids.cpu().numpy(), _as_bool(mask)
    ends = inside if written is None else written & inside
    special = set(tokenizer.all_special_ids)
    rows, positions = [], []
    for row, end in enumerate(ends):
        own = np.flatnonzero(end)
        while len(own) and int(tokens[row, own[-1]]) in special:
            own = own[:-1]
        if len(own):
            rows.append(row)
            positions.append(np.flatnonzero(inside[row, : own[-1] + 1]))
    kept = [tokens[row, at] for row, at in zip(rows, positions, strict=True)]
    yield from zip(rows, positions, read_all(tokenizer, kept), strict=True)


def _as_bool(mask: Tensor) -> np.ndarray:
    return mask.bool().cpu().numpy()


def _warn(name: str, error: Exception) -> None:
    warnings.warn(
        f"the function for {name} failed on a response, which gets no credit from it: "
        f"{type(error).__name__}: {error}",
        stacklevel=3,
    )


def user_tokens(
    tokenizer: PreTrainedTokenizerBase,
    ids: Tensor,
    mask: Tensor,
    conversations: Sequence[Sequence[Message]],
) -> Tensor:
    """Prompt tokens that the user wrote, (B, P) bool; the entire prompt where they cannot be found."""
    users = torch.zeros(ids.shape, dtype=torch.bool)
    known: dict[tuple[str, str], list[Span]] = {}  # a group has one prompt
    for row, messages in enumerate(conversations):
        kept = mask[row].nonzero()[:, 0].tolist()
        text = decode_with_offsets(tokenizer, ids[row, kept].tolist())
        key = (text.text, repr(messages))
        if key not in known:
            known[key] = user_spans(tokenizer, text.text, messages)
        inside = token_weights(known[key], text.offsets) > 0
        users[row, kept] = inside if bool(inside.any()) else torch.ones_like(inside)
    return users.to(ids.device)


def is_structural(delimiters: Tensor, ids: Tensor) -> Tensor:
    """Which ids are delimiters, bool; ids of a vocabulary padded beyond the tokenizer's are none."""
    vocabulary = len(delimiters)
    return delimiters.to(ids.device)[ids.clamp(max=vocabulary - 1)] & (ids < vocabulary)


def structural_vocabulary(tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Which token ids are delimiters, (V,) bool: their text has no letter and no digit."""
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    return torch.tensor([not any(c.isalnum() for c in text) for text in texts])
