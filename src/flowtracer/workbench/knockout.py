"""Hide tokens and let the model go on without them: what becomes of the answer?

Built on `flowtracer.intervention`: a hidden token does not exist for any token behind it. Greedy.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from flowtracer.intervention import Prefilled, attention_knockout, decode, prefill
from flowtracer.workbench.answers import Answer, aligned_text, answer_behind, old_answer
from flowtracer.workbench.diff import changed_ranges, common_prefix
from flowtracer.workbench.engine import Engine, watched_layers
from flowtracer.workbench.fields import (
    Refused,
    Request,
    choice,
    integer,
    number,
    numbers_below,
    string,
)
from flowtracer.workbench.jobs import Job
from flowtracer.workbench.streaming import StreamedText
from flowtracer.workbench.texts import Text
from flowtracer.workbench.traces import read_options, trace_text
from flowtracer.workbench.writing import LARGEST_SEED, keep

FROM = ("hidden", "answer", "start")
LONGER = 24  # tokens that a new answer may have more than the old one, our choice
MORE = 128  # tokens that a new response may have more than the old one, our choice


@dataclass(frozen=True)
class Plan:
    """What is hidden, and what is written anew behind it.

    kept: response tokens that stay. tokens: positions in prompt and response. ignored: how many of
    those asked for stand at or behind the cut, where there is nothing left to hide.
    """

    kept: int
    tokens: list[int]
    ignored: int


def hide(engine: Engine, request: Request, job: Job) -> dict[str, Any]:
    """Hide tokens, regenerate, and compare with what the text said before."""
    text = engine.find(string(request, "text"))
    answer = old_answer(text, request)
    plan = plan_of(text, request, answer)
    ids = text.ids[: text.start + plan.kept]
    room = engine.limits.room(text.start, plan.kept)
    short = request.get("from") == "answer"
    default = len(answer.tokens) + LONGER if short else len(text.answered.ids) - plan.kept + MORE
    limit = integer(request, "max_new_tokens", min(default, room), least=1, most=1 << 30)
    limit = min(limit, room, default if short else room)
    conditions = torch.zeros(2, len(ids), dtype=torch.bool)
    conditions[1, plan.tokens] = True
    asked = answer.tokens if answer.tokens and answer.tokens[0] >= plan.kept else ()
    target = text.answered.ids[plan.kept : asked[-1] + 1] if asked else []
    tell = _teller(engine, text, plan, answer, job, short=short)
    with watched_layers(engine.model, job), attention_knockout(engine.model) as knockout:
        both = prefill(engine.model, knockout, ids, conditions, target=target)
        new = decode(
            engine.model, knockout, [_second(both)], limits=[limit], ends=engine.ends, finished=tell
        )[0]
    kept = text.answered.ids[: plan.kept]
    cut_off = None if short else len(new) == limit
    written = keep(engine, text.asked.ids, kept + new, text.user, cut_off=cut_off)
    logs = both.log_probability[:, [token - plan.kept for token in asked]].sum(1).tolist()
    return (
        written.record()
        | {"tokens": plan.tokens, "ignored": plan.ignored, "kept": plan.kept}
        | compare(text, written, answer, plan.kept, short=short)
        | {
            "log_probability_old": _finite(logs[0]) if asked else None,
            "log_probability_hidden": _finite(logs[1]) if asked else None,
            # Greedy decoding with nothing hidden: the control without which no change means anything.
            "reproduced": bool(both.most_probable[0].all()) if asked else None,
        }
    )


def plan_of(text: Text, request: Request, answer: Answer) -> Plan:
    """What a request hides and keeps. Raises Refused where nothing is hidden, or nothing is left."""
    if not text.answered.ids:
        raise Refused("the response is empty; let the model answer, or paste a response")
    asked = sorted(
        set(
            numbers_below(
                request, "tokens", text.length, most=text.length, of="a token of the text"
            )
        )
    )
    if not asked:
        raise Refused("choose at least one token to hide")
    kept = _kept(text, request, answer, asked)
    stop = text.start + kept
    tokens = [token for token in asked if token < stop]
    if not tokens:
        raise Refused(
            "all tokens to hide stand at or behind what is written anew; hide earlier ones, or regenerate "
            "from further back"
        )
    control = request.get("control")
    if control is not None:
        if not isinstance(control, dict):
            raise Refused("control must be null or {seed}")
        seed = integer(control, "seed", 0, least=0, most=LARGEST_SEED)
        tokens = random_tokens(text, tokens, stop, answer.tokens, seed)
    if len(tokens) == stop:
        raise Refused("nothing would be left for the model to see; hide fewer tokens")
    return Plan(kept, tokens, len(asked) - len(tokens))


def random_tokens(
    text: Text, tokens: Sequence[int], stop: int, answer: Sequence[int], seed: int
) -> list[int]:
    """As many tokens of the same regions below `stop`, the answer left out, drawn at random."""
    roles, generator = text.roles, random.Random(seed)
    excluded = {text.start + token for token in answer}
    drawn: list[int] = []
    for region in "tur":
        count = sum(roles[token] == region for token in tokens)
        pool = [i for i in range(stop) if roles[i] == region and i not in excluded]
        if count > len(pool):
            raise Refused("there are not as many other tokens in front of the answer; hide fewer")
        drawn += generator.sample(pool, count)
    return sorted(drawn)


def compare(text: Text, new: Text, answer: Answer, kept: int, *, short: bool) -> dict[str, Any]:
    """What changed between two responses, and whether the answer did.

    short: whether the new response ends with its answer, so that what stood behind the old one is not
    compared.
    """
    old_ids, new_ids = text.answered.ids, new.answered.ids
    if short:
        old_ids = old_ids[: max(answer.tokens[-1] + 1, len(new_ids))]
    old_ranges, new_ranges = changed_ranges(old_ids, new_ids)
    result: dict[str, Any] = {
        "unchanged_prefix": common_prefix(old_ids, new_ids),
        "changed": {"old": old_ranges, "new": new_ranges},
        "answer_old": answer.text or None,
        "answer_new": None,
        "answer_changed": None,
        "note": "",
    }
    if not answer.tokens:
        return result | {"note": "the response had no answer that could change"}
    if answer.tokens[-1] < kept:
        return result | {"note": "the answer stands in front of what was written anew"}
    answer_new = (
        answer_behind(new, answer.rule, kept) if answer.rule else aligned_text(text, new, answer)
    )
    changed = not answer.same_as(answer_new) if answer_new is not None else None
    return result | {"answer_new": answer_new, "answer_changed": changed}


def select(engine: Engine, request: Request, job: Job) -> dict[str, Any]:
    """The response tokens in front of the answer that score highest or lowest."""
    text = engine.find(string(request, "text"))
    asked = read_options(engine, request, text)
    ratio = number(request, "ratio", 0.1, least=0.0, most=1.0)
    end = choice(request, "end", ("top", "bottom"), "top")
    _, made = trace_text(engine, text, asked, job)
    scores = made.throughput if asked.scorer == "flow" else made.scores[asked.scorer]
    roles = made.roles
    last = max(i for i, role in enumerate(roles) if role == "answer")
    pool = [i for i in range(text.start, last) if roles[i] != "answer"]
    pool.sort(key=lambda i: (scores[i] if end == "bottom" else -scores[i], i))
    return {"tokens": sorted(pool[: math.ceil(ratio * len(pool))]), "of": len(pool)}


def _kept(text: Text, request: Request, answer: Answer, tokens: Sequence[int]) -> int:
    """Response tokens in front of what is written anew."""
    start = request.get("from", "hidden")
    if isinstance(start, int):
        position = integer(request, "from", least=text.start, most=text.length)
        return position - text.start
    start = choice(request, "from", FROM, "hidden")
    if start == "start":
        return 0
    first = answer.tokens[0] if answer.tokens else len(text.answered.ids)
    if start == "answer":
        if not answer.tokens:
            raise Refused(
                "no answer was found that could be written anew; mark it, or choose a rule"
            )
        return first
    own = [token - text.start for token in tokens if token >= text.start]
    in_front = [token for token in own if token < first]
    return max(in_front or own, default=-1) + 1


def _teller(
    engine: Engine, text: Text, plan: Plan, answer: Answer, job: Job, *, short: bool
) -> Callable[[int, list[int]], bool]:
    """Tells each new token; and, where only the answer is written anew, whether it is complete."""
    stream = StreamedText(engine.tokenizer)
    kept = text.answered.ids[: plan.kept]
    for token in kept:
        stream.push(token)

    def tell(row: int, new: list[int]) -> bool:
        job.tell("token", id=new[-1], text=stream.push(new[-1]), probability=None)
        if not short:
            return False
        return answer.complete(engine.tokenizer, text, kept, new)

    return tell


def _second(both: Prefilled) -> Prefilled:
    """The second condition alone."""
    return Prefilled(
        [(keys[1:], values[1:]) for keys, values in both.layers],
        both.length,
        both.hidden[1:],
        both.logits[1:],
        both.log_probability[1:],
        both.most_probable[1:],
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
