"""From sampled token ids to a batch that can be scored: where the answers and the delimiters are."""

import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from flowtracer.regions import (
    AnswerRule,
    Span,
    TokenizedText,
    answer_weights,
    decode_all_with_offsets,
    decode_with_offsets,
    find_answer,
    user_spans,
)
from flowtracer.regions.prompts import Message
from flowtracer.regions.tokens import token_weights
from flowtracer.scorers.batch import ScoreBatch


def score_batch(
    tokenizer: PreTrainedTokenizerBase,
    *,
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    completion_ids: Tensor,
    completion_mask: Tensor,
    tool_mask: Tensor | None = None,
    answer: AnswerRule = "boxed",
    steps: AnswerRule | None = None,
    users: Sequence[Sequence[Message]] | None = None,
    delimiters: Tensor | None = None,
) -> ScoreBatch:
    """Prompt and completion (B, P) and (B, C) as sequences of P + C tokens.

    tool_mask: (B, C), 0 at tool output, which is part of the graph but never a candidate nor an
    answer. answer: the rule of `find_answer`. steps: see `Credit`. users: the conversations, if flow
    is to enter at the user's messages only. delimiters: `structural_vocabulary`, (V,), if they have
    to be known.
    """
    own = completion_mask.bool() if tool_mask is None else (completion_mask * tool_mask).bool()
    question = prompt_mask.bool()
    if users is not None:
        question = question & user_tokens(tokenizer, prompt_ids, prompt_mask, users)
    return whole_batch(
        tokenizer,
        input_ids=torch.cat([prompt_ids, completion_ids], 1),
        attention_mask=torch.cat([prompt_mask, completion_mask], 1),
        question=torch.cat([question, torch.zeros_like(own)], 1),
        response=torch.cat([torch.zeros_like(prompt_mask), completion_mask], 1),
        own=torch.cat([torch.zeros_like(question), own], 1),
        answer=answer,
        steps=steps,
        delimiters=delimiters,
    )


def whole_batch(
    tokenizer: PreTrainedTokenizerBase,
    *,
    input_ids: Tensor,
    attention_mask: Tensor,
    question: Tensor,
    response: Tensor,
    own: Tensor,
    answer: AnswerRule,
    steps: AnswerRule | None,
    delimiters: Tensor | None,
) -> ScoreBatch:
    """Sequences (B, T) with what is known of their tokens, all masks (B, T).

    question: where flow enters. response: everything behind the prompt, which holds the answer and
    the steps. own: what the policy wrote of it. The rest as in `score_batch`.
    """
    return ScoreBatch(
        input_ids=input_ids,
        attention_mask=attention_mask,
        question=question,
        candidates=own,
        answer=answer_tokens(tokenizer, input_ids, response, answer) * own,
        steps=None if steps is None else step_scores(tokenizer, input_ids, response, steps),
        structural=None if delimiters is None else is_structural(delimiters, input_ids),
    )


def answer_tokens(
    tokenizer: PreTrainedTokenizerBase, ids: Tensor, mask: Tensor, rule: AnswerRule
) -> Tensor:
    """Weight of each completion token as answer, (B, C) float; a row without an answer is all 0.

    So is a row on which a rule of the user's own fails, which is warned of.
    """
    weights = torch.zeros(ids.shape, dtype=torch.float32)
    for row, places, text in _texts(tokenizer, ids, mask):
        try:
            weights[row, places] = answer_weights(rule, text)
        except (
            Exception
        ) as error:  # a user's function; one odd response must not end a training run
            if isinstance(rule, str):
                raise
            _warn("answer", error)
    return weights.to(ids.device)


def step_scores(
    tokenizer: PreTrainedTokenizerBase, ids: Tensor, mask: Tensor, rule: AnswerRule
) -> Tensor:
    """Score of the step that each completion token belongs to, (B, C) float; 1 outside of steps.

    rule: a function from the response to (start, stop, score) spans, scores 0 or more. A row on which
    it fails is all 1, which is warned of.
    """
    scores = torch.ones(ids.shape, dtype=torch.float32)
    for row, places, text in _texts(tokenizer, ids, mask):
        try:
            spans = rule(text.text) if callable(rule) else find_answer(text.text, rule)
            for start, stop, score in spans or ():  # type: ignore[attr-defined]
                if not 0 <= score < float("inf"):
                    raise ValueError(f"step score {score} is not a number of 0 or more")
                inside = token_weights([Span(start, stop, 1.0)], text.offsets) > 0
                scores[row, torch.tensor(places)[inside]] = float(score)
        except Exception as error:
            _warn("steps", error)
            scores[row] = 1.0
    return scores.to(ids.device)


def _texts(
    tokenizer: PreTrainedTokenizerBase, ids: Tensor, mask: Tensor
) -> Iterator[tuple[int, list[int], TokenizedText]]:
    """Row, places of its real tokens and their text, of every row that has any."""
    special = set(tokenizer.all_special_ids)
    places: list[list[int]] = []
    rows: list[list[int]] = []
    for tokens, real in zip(ids.tolist(), mask.tolist(), strict=True):
        kept = [place for place, one in enumerate(real) if one]
        while kept and tokens[kept[-1]] in special:  # an end-of-text token is not a last line
            kept.pop()
        places.append(kept)
        rows.append([tokens[place] for place in kept])
    for row, text in enumerate(decode_all_with_offsets(tokenizer, rows)):
        if text.ids:
            yield row, places[row], text


def _warn(what: str, error: Exception) -> None:
    warnings.warn(
        f"the function for {what} failed on a response, which gets no credit of it: "
        f"{type(error).__name__}: {error}",
        stacklevel=3,
    )


def user_tokens(
    tokenizer: PreTrainedTokenizerBase,
    ids: Tensor,
    mask: Tensor,
    conversations: Sequence[Sequence[Message]],
) -> Tensor:
    """Prompt tokens that the user wrote, (B, P) bool; all of the prompt where they cannot be found."""
    found = torch.zeros(ids.shape, dtype=torch.bool)
    for row, messages in enumerate(conversations):
        kept = mask[row].nonzero()[:, 0].tolist()
        text = decode_with_offsets(tokenizer, ids[row, kept].tolist())
        inside = token_weights(user_spans(text.text, messages), text.offsets) > 0
        found[row, kept] = inside if bool(inside.any()) else torch.ones_like(inside)
    return found.to(ids.device)


def is_structural(delimiters: Tensor, ids: Tensor) -> Tensor:
    """Which ids are delimiters, bool; ids of a vocabulary padded beyond the tokenizer's are none."""
    known = len(delimiters)
    return delimiters.to(ids.device)[ids.clamp(max=known - 1)] & (ids < known)


def structural_vocabulary(tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Which token ids are delimiters, (V,) bool: their text has no letter and no digit."""
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    return torch.tensor([not any(mark.isalnum() for mark in text) for text in texts])
