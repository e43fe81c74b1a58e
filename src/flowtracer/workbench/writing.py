"""Texts that come into being: the model answers, a response is pasted, the model goes on from a token."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from flowtracer.models.continuation import continue_prefixes, read_prefix, sampled
from flowtracer.models.decoder import device_of, find_decoder
from flowtracer.regions import (
    TokenizedText,
    decode_text,
    encode_with_offsets,
    render_prompt,
    token_weights,
    tokenize_prompt,
    user_spans,
)
from flowtracer.regions.prompts import Message
from flowtracer.workbench.engine import Engine, watched_layers
from flowtracer.workbench.fields import (
    Refused,
    Request,
    check_names,
    flag,
    integer,
    items,
    number,
    string,
)
from flowtracer.workbench.grading import grade
from flowtracer.workbench.jobs import Job
from flowtracer.workbench.limits import NEW_TOKENS
from flowtracer.workbench.streaming import StreamedText
from flowtracer.workbench.texts import Text, make_text

MOST_MESSAGES = 200  # of a conversation, our choice
LARGEST_SEED = 2**31 - 1
MOST_ALTERNATIVES = 50  # our choice


def answer(engine: Engine, request: Request, job: Job) -> dict[str, Any]:
    """The model answers a prompt."""
    asked, user = _read_prompt(engine, request)
    new, cut_off = go_on(engine, asked.ids, request, job, room=engine.limits.room(len(asked.ids)))
    if not new:
        raise Refused("the model ended its response at once; try another prompt or temperature")
    return keep(engine, asked.ids, new, user, cut_off=cut_off).record()


def paste(engine: Engine, request: Request, job: Job) -> dict[str, Any]:
    """A prompt with a response that was written elsewhere, tokenized once."""
    response = string(request, "response", most=engine.limits.response_characters)
    if not response.strip():
        raise Refused("the response is empty; paste its text, or let the model answer")
    asked, user = _read_prompt(engine, request)
    answered = encode_with_offsets(engine.tokenizer, response)
    engine.check_known(answered)
    engine.limits.check(len(asked.ids), len(answered.ids))
    return keep(engine, asked.ids, answered.ids, user).record()


def continue_text(engine: Engine, request: Request, job: Job) -> dict[str, Any]:
    """The model goes on behind another token in place of the one at a position."""
    text = engine.find(string(request, "text"))
    position = integer(request, "position", least=text.start, most=text.length)
    token = integer(request, "token", least=0, most=engine.vocabulary - 1)
    kept = text.answered.ids[: position - text.start]
    if token in engine.ends:
        if not kept:
            raise Refused("that token ends the response before it begins; choose another")
        return keep(engine, text.asked.ids, kept, text.user, cut_off=False).record()
    kept = [*kept, token]
    room = engine.limits.room(text.start, len(kept))
    new, cut_off = go_on(engine, [*text.asked.ids, *kept], request, job, room=room, spoken=kept)
    return keep(engine, text.asked.ids, kept + new, text.user, cut_off=cut_off).record()


def alternatives(engine: Engine, request: Request, job: Job) -> dict[str, Any]:
    """What the model could have written at a position, most probable first."""
    text = engine.find(string(request, "text"))
    position = integer(request, "position", least=1, most=text.length)
    count = integer(request, "count", 10, least=1, most=min(MOST_ALTERNATIVES, engine.vocabulary))
    with watched_layers(engine.model, job):
        logits = read_prefix(engine.model, text.ids[:position]).logits
    probabilities = logits.float().softmax(-1)
    best = probabilities.topk(count)
    before = text.ids[max(0, position - 4) : position]
    known = decode_text(engine.tokenizer, before)

    def entry(token: int) -> dict[str, Any]:
        shown = decode_text(engine.tokenizer, [*before, token])
        shown = shown[len(known) :] if shown.startswith(known) else ""
        return {
            "id": token,
            "text": shown or decode_text(engine.tokenizer, [token]),
            "probability": float(probabilities[token]),
            "ends": token in engine.ends,
        }

    here = text.ids[position : position + 1]
    return {
        "position": position,
        "alternatives": [entry(token) for token in best.indices.tolist()],
        "actual": entry(here[0]) if here else None,
    }


def go_on(
    engine: Engine,
    ids: Sequence[int],
    request: Request,
    job: Job,
    *,
    room: int,
    spoken: Sequence[int] = (),
) -> tuple[list[int], bool]:
    """New tokens behind `ids`, each told as it comes, and whether the limit cut them off.

    spoken: tokens of the response so far, on which the text of the next can depend.
    """
    limit = integer(request, "max_new_tokens", min(NEW_TOKENS, room), least=1, most=1 << 30)
    temperature = number(request, "temperature", 0.0, least=0.0, most=5.0)
    seed = integer(request, "seed", 0, least=0, most=LARGEST_SEED)
    generator = torch.Generator(device_of(find_decoder(engine.model))).manual_seed(seed)
    draw, stream = sampled(temperature, generator), StreamedText(engine.tokenizer)
    for token in spoken:
        stream.push(token)

    def choose(logits: Tensor, rows: Tensor) -> Tensor:
        tokens = draw(logits, rows)
        token = int(tokens[0])
        if token not in engine.ends:
            probability = float(logits[rows[0]].float().softmax(-1)[token])
            job.tell("token", id=token, text=stream.push(token), probability=probability)
        return tokens

    with watched_layers(engine.model, job):
        new = continue_prefixes(
            engine.model,
            [read_prefix(engine.model, ids)],
            copies=1,
            limits=[min(limit, room)],
            ends=engine.ends,
            choose=choose,
        )[0]
    ended = bool(new) and new[-1] in engine.ends
    return new[:-1] if ended else new, not ended


def keep(
    engine: Engine,
    prompt_ids: Sequence[int],
    response_ids: Sequence[int],
    user: Sequence[bool],
    *,
    cut_off: bool | None = None,
) -> Text:
    """A text of these ids, kept under its name; its answer is graded where that can be done."""
    text = make_text(
        engine.tokenizer, engine.name, prompt_ids, response_ids, user=user, cut_off=cut_off
    )
    return engine.texts.add(replace(text, correct=grade(engine.loaded, text)))


def _read_prompt(engine: Engine, request: Request) -> tuple[TokenizedText, list[bool]]:
    """The prompt's tokens, and which of them the user wrote."""
    limits, chat = engine.limits, flag(request, "chat", None)
    prompt: str | list[Message]
    if "messages" in request:
        prompt = [
            _read_message(message, limits.prompt_characters) for message in _messages(request)
        ]
    else:
        prompt = string(request, "prompt", most=limits.prompt_characters)
    rendered = render_prompt(engine.tokenizer, prompt, chat=chat)
    asked = tokenize_prompt(engine.tokenizer, rendered)
    limits.check(len(asked.ids), 0)
    engine.check_known(asked)
    spans = user_spans(engine.tokenizer, asked.text, rendered.messages)
    return asked, (token_weights(spans, asked.offsets) > 0).tolist()


def _messages(request: Request) -> Sequence[Any]:
    if "prompt" in request:
        raise Refused("give a prompt or messages, not both")
    return items(request, "messages", most=MOST_MESSAGES)


def _read_message(message: Any, most: int) -> Message:
    if not isinstance(message, dict):
        raise Refused("messages must be a list of {role, content}")
    check_names(message, ("role", "content"))
    return {name: string(message, name, most=most) for name in ("role", "content")}
