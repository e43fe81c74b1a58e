"""What became of an answer: whether it was reproduced, changed, or is gone."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from flowtracer.evaluation.run import reward_of
from flowtracer.math_answers.equality import same_answer
from flowtracer.regions import Span, decode_text, find_answer
from flowtracer.studies.causal.conditions import PreparedText
from flowtracer.studies.solutions import SolutionSet
from flowtracer.tasks import Task


def new_answer(
    within: SolutionSet, text: PreparedText, new: Sequence[int]
) -> tuple[str, list[Span]]:
    """The response and its answer, if that reaches into what is new: the kept part may hold another."""
    kept = list(text.solution.response_ids[: text.kept])
    response = decode_text(within.tokenizer, [*kept, *new])
    task = _task_of(within, text)
    spans = find_answer(response, task.answer_rule, thinking=bool(task.opening))
    reaches = bool(spans) and spans[-1].stop > len(decode_text(within.tokenizer, kept))
    return response, spans if reaches else []


def _task_of(within: SolutionSet, text: PreparedText) -> Task:
    """The task behind the text's prompt."""
    return within.task.behind(decode_text(within.tokenizer, list(text.solution.prompt_ids)))


def is_complete(within: SolutionSet, text: PreparedText, new: Sequence[int]) -> bool:
    """Whether a response holds an answer, and something behind it: no later token can change it."""
    response, spans = new_answer(within, text, new)
    return bool(spans) and spans[-1].stop < len(response.rstrip())


def judge(
    within: SolutionSet, text: PreparedText, responses: Sequence[Sequence[int]] | None
) -> dict[str, Any]:
    """A text's part of a row: what became of the answer under each condition.

    responses: new token ids by condition; None if nothing was regenerated.
    """
    logs = text.prefilled.log_probability
    judged: list[dict[str, Any]] = [{} for _ in text.conditions]
    for index, drops in enumerate(logs[:1] - logs):
        if len(drops):
            judged[index]["drop"] = round(float(drops.sum()), 5)
        if text.cut is not None and len(drops):  # more than the answer was requested
            answer = drops[-text.solution.answer_tokens :]
            judged[index]["answer_drop"] = round(float(answer.sum()), 5)
        if responses is not None:
            judged[index] |= _judge_answer(within, text, responses[index])
    plain, *knocked_out = judged
    return {
        "cut": text.cut,
        "log_probability": round(float(logs[0].sum()), 5) if logs.shape[1] else None,
        "reproduced": not plain.get("changed", False),
        "plain_answer": plain.get("answer"),
        "conditions": [
            asdict(condition) | answer
            for condition, answer in zip(text.conditions[1:], knocked_out, strict=True)
            if condition is not None
        ],
    }


def _judge_answer(within: SolutionSet, text: PreparedText, new: Sequence[int]) -> dict[str, Any]:
    solution, task = text.solution, _task_of(within, text)
    response, spans = new_answer(within, text, new)
    answer = response[spans[0].start : spans[-1].stop] if spans else None
    right = reward_of(task, response, task.examples[solution.problem]) > 0
    return {
        "answer": answer,
        "changed": answer is None or not same_answer(solution.answer, answer),
        "reversed": right != (solution.reward > 0),
    }
