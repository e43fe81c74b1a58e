"""`flowtracer study causal`: hide the tokens that a measure picks, and see what becomes of the answer.

Protocol "answer": everything before the answer's first token stays as it was written, some of its
tokens hidden, and the answer alone is generated anew. Protocol "rest": the response is cut part of the
way to its answer, tokens before the cut are hidden, and all the rest is generated anew. Hidden tokens
are the response's own. Always greedy; each text also runs with nothing hidden, and one whose answer
then does not come back (numerics of another batch) is reported and left out.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowtracer.credit import structural_vocabulary
from flowtracer.intervention import Prefilled, attention_knockout, decode, prefill
from flowtracer.math_answers.equality import same_answer
from flowtracer.models import Loaded
from flowtracer.models.generation import end_tokens
from flowtracer.regions import Span, decode_text, find_answer
from flowtracer.storage import check_settings, lock
from flowtracer.studies.measures import Measure, choose, parse_measures, score_measures
from flowtracer.studies.resume import STUDY_FILE, Progress, rows_of
from flowtracer.studies.solutions import (
    Solution,
    SolutionSettings,
    collect_solutions,
    score_batches,
)
from flowtracer.tasks import Task

LONGER = 24  # tokens that a new answer may have more than the old one, our choice


@dataclass(frozen=True)
class CausalStudy:
    """What is hidden, and what is generated anew."""

    model: str
    task: str
    measures: tuple[str, ...]
    ratios: tuple[float, ...] = (
        0.2,
    )  # of the tokens that may be hidden; 20%, table 1 of the paper
    protocol: str = "answer"
    cuts: tuple[float, ...] = (0.5,)  # of the way to the answer; protocol "rest" only
    spared: tuple[int, ...] = (0,)  # last tokens before the answer or the cut that are never hidden
    regenerate: bool = True  # False: only the drop in log-probability, protocol "answer"
    problems: int = 200
    split: str = "test"
    max_new_tokens: int = 512
    batch: int = 4  # problems whose new texts are generated together
    seed: int = 0
    dtype: str = "auto"

    def __post_init__(self) -> None:
        if self.protocol not in ("answer", "rest"):
            raise ValueError(f"protocol is {self.protocol!r}; use answer or rest")
        if self.protocol == "rest" and not self.regenerate:
            raise ValueError("protocol 'rest' is about what is generated; leave regenerate on")
        for name in ("ratios", "cuts"):
            if not all(0 < one <= 1 for one in getattr(self, name)) or not getattr(self, name):
                raise ValueError(f"{name} must be above 0 and at most 1")
        if any(one < 0 for one in self.spared) or not self.spared:
            raise ValueError("spared is a number of tokens, 0 or more")
        if self.problems < 1 or self.batch < 1:
            raise ValueError("problems and batch must be at least 1")
        parse_measures(self.measures)


@dataclass(frozen=True)
class _Variant:
    """One text of a solution that is run under all conditions."""

    solution: Solution
    cut: float | None
    context: int  # response tokens before what is generated anew
    text: Prefilled
    keys: list[dict[str, Any]]  # of each condition: measure, ratio, spared, hidden
    plain_log_probability: float


def run_causal(
    study: CausalStudy,
    loaded: Loaded,
    task: Task,
    folder: Path,
    *,
    solutions_folder: Path | None = None,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Do what is missing and return a row a problem.

    solutions_folder: where the model's solutions are or are put, to be shared by several studies;
    default: `solutions` in the folder.

    Batches of problems are fixed, so that a study that was killed goes on to the same rows.

    Raises ValueError if the folder holds another study or is in use, or the task has too few problems.
    """
    with lock(folder, "another study"):
        # More problems may be asked for later: the first ones stay what they are.
        check_settings(folder / STUDY_FILE, asdict(study), what="a study", free=("problems",))
        measures = parse_measures(study.measures, loaded.model)
        solutions = collect_solutions(
            loaded,
            task,
            solutions_folder or folder / "solutions",
            settings=SolutionSettings(
                study.model, study.task, study.split, study.max_new_tokens, study.seed, study.dtype
            ),
            wanted=study.problems,
            progress=lambda done, of: progress("solving", done, of),
        )
        structural = structural_vocabulary(loaded.tokenizer)
        return rows_of(
            solutions,
            folder,
            lambda part: _run_batch(study, measures, loaded, task, part, structural),
            batch=study.batch,
            progress=lambda done, of: progress("hiding", done, of),
        )


def _run_batch(
    study: CausalStudy,
    measures: list[Measure],
    loaded: Loaded,
    task: Task,
    solutions: list[Solution],
    structural: Tensor,
) -> Iterator[dict[str, Any]]:
    model, tokenizer = loaded.model, loaded.tokenizer
    scored = [
        score_measures(
            model,
            score_batches(
                loaded.tokenizer,
                one,
                rule=task.answer_rule,
                messages=task.prompt(task.examples[one.problem]),
                structural=structural,
            ),
            measures,
            seed=study.seed + one.problem,
        )
        for one in solutions
    ]
    with attention_knockout(model) as knockout:
        variants = [
            _prefilled(study, measures, loaded, one, scores, cut, structural, knockout)
            for one, scores in zip(solutions, scored, strict=True)
            for cut in (study.cuts if study.protocol == "rest" else (None,))
        ]
        new: list[list[int]] = []
        if study.regenerate:
            of_row = [variant for variant in variants for _ in variant.keys]
            new = decode(
                model,
                knockout,
                [variant.text for variant in variants],
                limits=[_limit(study, variant) for variant in of_row],
                ends=end_tokens(model, tokenizer),
                finished=lambda row, tokens: (
                    study.protocol == "answer"
                    and _closed(loaded, task.answer_rule, of_row[row], tokens)
                ),
            )
    for solution in solutions:
        texts = []
        for variant in variants:
            if variant.solution is solution:
                made, new = new[: len(variant.keys)], new[len(variant.keys) :]
                texts.append(_judged(loaded, task, variant, made))
        yield {
            "problem": solution.problem,
            "id": solution.id,
            "tokens": len(solution.response_ids),
            "before": solution.before,
            "answer": solution.answer,
            "correct": solution.reward > 0,
            "texts": texts,
        }


def _prefilled(
    study: CausalStudy,
    measures: list[Measure],
    loaded: Loaded,
    solution: Solution,
    scores: dict[str, Tensor],
    cut: float | None,
    structural: Tensor,
    knockout: Any,
) -> _Variant:
    """All conditions of one text, run up to where it is generated anew; the first hides nothing."""
    prompt = len(solution.prompt_ids)
    context = solution.before if cut is None else max(1, round(cut * solution.before))
    ids = [*solution.prompt_ids, *solution.response_ids]
    place = torch.arange(prompt + context)
    delimiter = structural[torch.tensor(ids[: prompt + context])]
    keys: list[dict[str, Any]] = [{"measure": None, "hidden": 0}]
    hidden = [torch.zeros(prompt + context, dtype=torch.bool)]
    for spared in study.spared:
        eligible = (place >= prompt) & (place < prompt + context - spared)
        for ratio in study.ratios:
            for one in measures:
                taken = choose(scores[one.name][: len(place)], eligible, one, ratio, delimiter)
                count = int(taken.sum())
                keys.append(
                    {"measure": one.name, "ratio": ratio, "spared": spared, "hidden": count}
                )
                hidden.append(taken)
    target = solution.response_ids[context : context + solution.answer_tokens]
    text = prefill(
        loaded.model,
        knockout,
        ids[: prompt + context],
        torch.stack(hidden),
        target=() if study.protocol == "rest" else target,
        keep=study.regenerate,
    )
    return _Variant(solution, cut, context, text, keys, float(text.log_probability[0]))


def _limit(study: CausalStudy, variant: _Variant) -> int:
    if variant.cut is None:
        return variant.solution.answer_tokens + LONGER
    return study.max_new_tokens - variant.context


def _new_answer(
    loaded: Loaded, rule: str, variant: _Variant, new: list[int]
) -> tuple[str, list[Span]]:
    """The text and its answer, if that reaches into what is new: the kept text may hold another."""
    kept = list(variant.solution.response_ids[: variant.context])
    text, before = decode_text(loaded.tokenizer, kept + new), decode_text(loaded.tokenizer, kept)
    spans = find_answer(text, rule)
    return text, spans if spans and spans[-1].stop > len(before) else []


def _closed(loaded: Loaded, rule: str, variant: _Variant, new: list[int]) -> bool:
    """Whether the text holds an answer, and something behind it: no later token can change it."""
    text, spans = _new_answer(loaded, rule, variant, new)
    return bool(spans) and spans[-1].stop < len(text.rstrip())


def _judged(loaded: Loaded, task: Task, variant: _Variant, new: list[list[int]]) -> dict[str, Any]:
    """What became of the answer under each condition."""
    solution, example = variant.solution, task.examples[variant.solution.problem]
    conditions = []
    for place, condition in enumerate(variant.keys):
        row = dict(condition)
        if variant.cut is None:
            drop = variant.plain_log_probability - float(variant.text.log_probability[place])
            row["drop"] = round(drop, 5)
        if new:
            text, spans = _new_answer(loaded, task.answer_rule, variant, new[place])
            row["answer"] = text[spans[0].start : spans[-1].stop] if spans else None
            row["changed"] = not spans or not same_answer(solution.answer, row["answer"])
            row["reversed"] = (task.grade(text, example) > 0) != (solution.reward > 0)
        conditions.append(row)
    plain, *hidden = conditions
    return {
        "cut": variant.cut,
        "log_probability": None if variant.cut else round(variant.plain_log_probability, 5),
        "came_back": not plain.get("changed", False),
        "plain_answer": plain.get("answer"),
        "conditions": hidden,
    }
