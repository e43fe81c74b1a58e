r"""`flowtracer study formats`: does the flow depend on how the answer is worded? (section 5.2)

A model's own solutions keep every token up to the content of the box; only that content changes:
the answer alone, a complete line, the answer with its explanation, or the letter of a multiple choice
whose options are put behind the question. The paper says no more than these names; the wordings are
our choice. Compared are the sets of the top 40% of the response's tokens in front of the content.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from flowtracer.flow import BACKBONE_RATIO, select_backbone
from flowtracer.models import Loaded
from flowtracer.regions import decode_text
from flowtracer.statistics.intervals import rate_interval
from flowtracer.studies.provenance import provenance, provenance_line, without_paths
from flowtracer.studies.resume import SolutionStudy, StudyRun, run_over_solutions, solutions_line
from flowtracer.studies.scorer_choices import parse_scorer, score_solution
from flowtracer.studies.solutions import Solution, SolutionSet, tokenize_conversation
from flowtracer.studies.table import percent, table_lines, write_table
from flowtracer.tasks import Task

OPTIONS = 4  # of a multiple choice, our choice
FORMATS = ("answer only", "full line", "explanation", "multiple choice")
PAPER = {"full line": 1.00, "explanation": 1.00, "multiple choice": 0.93}


@dataclass(frozen=True)
class FormatStudy(SolutionStudy):
    """Whose solutions are reworded, and which scorer takes how many of their tokens."""

    scorer: str = "flow"
    ratio: float = BACKBONE_RATIO  # section 3.3 of the paper


@dataclass(frozen=True)
class Wording:
    """The content of the box, and what is put behind the question."""

    content: str
    options: str = ""


def wordings(
    answer: str, before: str, others: Sequence[str], draw: random.Random
) -> dict[str, Wording]:
    """The four wordings of one answer.

    before: the response up to the content of the box; its last complete line with an equation is the
    explanation. others: wrong options.
    """
    complete = before.split("\n")[:-1]  # the last line is the one that the box is in
    equations = [
        line.strip() for line in complete if "=" in line and line.count("{") == line.count("}")
    ]
    reason = equations[-1] if equations else "this follows from the steps above"
    options = [answer, *others]
    draw.shuffle(options)
    letters = [chr(ord("A") + index) for index in range(len(options))]
    listed = "\n".join(f"{letter}. {text}" for letter, text in zip(letters, options, strict=True))
    return {
        "answer only": Wording(answer),
        "full line": Wording(f"The final answer is {answer}."),
        "explanation": Wording(f"{answer}, because {reason}"),
        "multiple choice": Wording(letters[options.index(answer)], f"\n\n{listed}"),
    }


def overlap(chosen: Tensor, reference: Tensor) -> float:
    """Ratio of the reference's tokens that are chosen too; both (T,) bool. 0 for an empty reference."""
    return float((chosen & reference).sum()) / max(1, int(reference.sum()))


def run_formats(
    study: FormatStudy,
    loaded: Loaded,
    task: Task,
    folder: Path,
    **run: Unpack[StudyRun],
) -> list[dict[str, Any]]:
    """Do what is missing and return a row a problem: overlaps with the answer alone."""
    if task.answer_rule != "boxed":
        raise ValueError(f"task {task.name} has no box to put wordings into; use one that has")
    return run_over_solutions(
        study,
        loaded,
        task,
        folder,
        lambda within, batch: [_make_row(study, within, solution) for solution in batch],
        fields={"problem": int, "overlap": dict.fromkeys(FORMATS[1:], float)},
        stage="rewording",
        **run,
    )


def _make_row(study: FormatStudy, within: SolutionSet, solution: Solution) -> dict[str, Any]:
    answers = sorted({other.answer for other in within.solutions})
    draw = random.Random(study.solutions.seed * 1_000_003 + solution.problem)
    wrong = [answer for answer in answers if answer != solution.answer]
    others = draw.sample(wrong, min(OPTIONS - 1, len(wrong)))
    before = decode_text(within.tokenizer, list(solution.response_ids[: solution.before]))
    choice = parse_scorer(study.scorer)
    candidates = torch.ones(1, solution.before, dtype=torch.bool)
    chosen: dict[str, Tensor] = {}
    for name, wording in wordings(solution.answer, before, others, draw).items():
        reworded, messages = _reword(within, solution, wording)
        scores = score_solution(within, reworded, [choice], messages=messages)[choice.name]
        start = len(reworded.prompt_ids)
        scores_before = scores[None, start : start + solution.before]
        chosen[name] = select_backbone(scores_before, candidates, ratio=study.ratio)[0]
    overlaps = {
        name: round(overlap(chosen[name], chosen["answer only"]), 5) for name in FORMATS[1:]
    }
    return {"problem": solution.problem, "tokens": solution.before, "overlap": overlaps}


def _reword(
    within: SolutionSet, solution: Solution, wording: Wording
) -> tuple[Solution, list[dict[str, str]]]:
    """The solution with another content of its box, and the conversation that it then answers."""
    example = within.task.examples[solution.problem]
    messages = within.task.prompt(replace(example, question=example.question + wording.options))
    prompt_ids = solution.prompt_ids
    if wording.options:
        prompt_ids = tuple(tokenize_conversation(within.tokenizer, messages).ids)
    end = solution.before + solution.answer_tokens
    content = solution.response_ids[solution.before : end]
    if wording.content != solution.answer:
        text = decode_text(within.tokenizer, list(content))
        text = text.replace(solution.answer, wording.content)
        content = tuple(within.tokenizer(text, add_special_tokens=False)["input_ids"])
    response_ids = (
        *solution.response_ids[: solution.before],
        *content,
        *solution.response_ids[end:],
    )
    return replace(solution, prompt_ids=prompt_ids, response_ids=response_ids), messages


def write_report(
    study: FormatStudy, rows: Sequence[dict[str, Any]], out: Path, *, command: str = ""
) -> Path:
    """Write `table.md` and `figures.json` into `out`; returns the table's path."""
    origin = provenance(study.solutions.model, command, out)
    overlaps = {
        name: rate_interval(np.array([row["overlap"][name] for row in rows]))
        for name in FORMATS[1:]
    }
    lines = [
        f"The same {solutions_line(study, len(rows))} with the content of the box reworded: how many of "
        f"the top {100 * study.ratio:g}% tokens by {study.scorer} stay, compared with the answer alone, "
        "among the response's tokens in front of the content. 95% intervals over problems. "
        f"Chance would give {100 * study.ratio:g}%.",
        "",
        *table_lines(
            ["wording", "overlap, percent", "the paper's"],
            [[name, percent(o), f"{100 * PAPER[name]:.0f}"] for name, o in overlaps.items()],
        ),
        "",
        provenance_line(origin),
    ]
    figures = {
        "study": without_paths(study),
        "origin": origin,
        "overlap": {name: asdict(interval) for name, interval in overlaps.items()},
    }
    return write_table(out, lines, figures)
