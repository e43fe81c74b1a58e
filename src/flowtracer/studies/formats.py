r"""`flowtracer study formats`: does the flow depend on how the answer is worded? (section 5.2)

A model's own solutions keep every token up to the content of the box; only that content changes:
the answer alone, a whole line, the answer with its explanation, or the letter of a multiple choice
whose options are put behind the question. The paper says no more than these names; the wordings are
our choice. Compared are the sets of the top 40% of the response's tokens in front of the content.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowtracer.credit import structural_vocabulary
from flowtracer.evaluation.intervals import bootstrap
from flowtracer.flow import BACKBONE_RATIO, select_backbone
from flowtracer.models import Loaded
from flowtracer.regions import decode_text, render_prompt, tokenize_prompt
from flowtracer.studies.measures import parse_measure, score_measures
from flowtracer.studies.provenance import provenance, provenance_line, without_paths
from flowtracer.studies.resume import Progress, SolutionStudy, run_over_solutions, solutions_line
from flowtracer.studies.solutions import Solution, score_batches
from flowtracer.studies.table import percent, write_table
from flowtracer.tasks import Task

OPTIONS = 4  # of a multiple choice, our choice
FORMATS = ("answer only", "full line", "explanation", "multiple choice")
PAPER = {"full line": 1.00, "explanation": 1.00, "multiple choice": 0.93}


@dataclass(frozen=True)
class FormatStudy(SolutionStudy):
    """Whose solutions are worded anew, and by which measure how many tokens are chosen."""

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

    before: the response up to the content of the box; its last whole line with an equation is the
    explanation. others: wrong options.
    """
    whole = before.split("\n")[:-1]  # the last line is the one that the box stands in
    equations = [one.strip() for one in whole if "=" in one and one.count("{") == one.count("}")]
    reason = equations[-1] if equations else "this follows from the steps above"
    options = [answer, *others]
    draw.shuffle(options)
    letters = [chr(ord("A") + place) for place in range(len(options))]
    listed = "\n".join(f"{letter}. {text}" for letter, text in zip(letters, options, strict=True))
    return {
        "answer only": Wording(answer),
        "full line": Wording(f"The final answer is {answer}."),
        "explanation": Wording(f"{answer}, because {reason}"),
        "multiple choice": Wording(letters[options.index(answer)], f"\n\n{listed}"),
    }


def overlap(chosen: Tensor, reference: Tensor) -> float:
    """Share of the reference's tokens that are chosen too; both (T,) bool. 0 for an empty reference."""
    return float((chosen & reference).sum()) / max(1, int(reference.sum()))


def run_formats(
    study: FormatStudy,
    loaded: Loaded,
    task: Task,
    folder: Path,
    *,
    solutions_folder: Path | None = None,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Do what is missing and return a row a problem: overlaps with the answer alone."""
    if task.answer_rule != "boxed":
        raise ValueError(f"task {task.name} has no box to put wordings into; use one that has")
    structural = structural_vocabulary(loaded.tokenizer)
    return run_over_solutions(
        study,
        loaded,
        task,
        folder,
        lambda one, solutions: _row(study, loaded, task, one, solutions, structural),
        stage="wording",
        solutions_folder=solutions_folder,
        progress=progress,
    )


def _row(
    study: FormatStudy,
    loaded: Loaded,
    task: Task,
    solution: Solution,
    solutions: Sequence[Solution],
    structural: Tensor,
) -> dict[str, Any]:
    answers = sorted({one.answer for one in solutions})
    draw = random.Random(study.solutions.seed * 1_000_003 + solution.problem)
    wrong = [one for one in answers if one != solution.answer]
    others = draw.sample(wrong, min(OPTIONS - 1, len(wrong)))
    kept = list(solution.response_ids[: solution.before])
    rest = list(solution.response_ids[solution.before + solution.answer_tokens :])
    before = decode_text(loaded.tokenizer, kept)
    chosen: dict[str, Tensor] = {}
    for name, wording in wordings(solution.answer, before, others, draw).items():
        worded, messages = _worded(loaded, task, solution, wording, kept, rest)
        batches = score_batches(
            loaded.tokenizer,
            worded,
            rule=task.answer_rule,
            messages=messages,
            structural=structural,
        )
        measure = parse_measure(study.measure)
        scores = score_measures(loaded.model, batches, [measure])[measure.name]
        start = len(worded.prompt_ids)
        own = scores[start : start + solution.before]
        everyone = torch.ones(1, len(own), dtype=torch.bool)
        chosen[name] = select_backbone(own[None], everyone, ratio=study.ratio)[0]
    reference = chosen["answer only"]
    found = {name: round(overlap(chosen[name], reference), 5) for name in FORMATS[1:]}
    return {"problem": solution.problem, "tokens": solution.before, "overlap": found}


def _worded(
    loaded: Loaded,
    task: Task,
    solution: Solution,
    wording: Wording,
    kept: list[int],
    rest: list[int],
) -> tuple[Solution, list[dict[str, str]]]:
    """The solution with another content of its box; its tokens in front of it are the same."""
    example = task.examples[solution.problem]
    messages = task.prompt(replace(example, question=example.question + wording.options))
    prompt_ids = solution.prompt_ids
    if wording.options:
        chat = bool(getattr(loaded.tokenizer, "chat_template", None))
        asked = render_prompt(loaded.tokenizer, messages if chat else messages[-1]["content"])
        prompt_ids = tuple(tokenize_prompt(loaded.tokenizer, asked).ids)
    content = solution.response_ids[solution.before : solution.before + solution.answer_tokens]
    if wording.content != solution.answer:
        text = decode_text(loaded.tokenizer, list(content))
        text = text.replace(solution.answer, wording.content)
        content = tuple(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])
    return replace(solution, prompt_ids=prompt_ids, response_ids=(*kept, *content, *rest)), messages


def write_report(
    study: FormatStudy, rows: Sequence[dict[str, Any]], out: Path, *, command: str = ""
) -> Path:
    """Write `table.md` and `figures.json` into `out`; returns the table's path."""
    origin = provenance(study.solutions.model, command, out)
    found = {
        name: bootstrap(np.array([row["overlap"][name] for row in rows])) for name in FORMATS[1:]
    }
    lines = [
        f"The same {solutions_line(study, len(rows))} with the content of the box worded "
        f"anew: share of the top {100 * study.ratio:g}% tokens by {study.measure} that stay, compared "
        "with the answer alone, among the response's tokens in front of the content. 95% bootstrap "
        f"intervals over problems. Chance would give {100 * study.ratio:g}%.",
        "",
        "| wording | overlap, percent | the paper's |",
        "|---|---|---|",
        *(f"| {name} | {percent(one)} | {100 * PAPER[name]:.0f} |" for name, one in found.items()),
        "",
        provenance_line(origin),
    ]
    figures = {
        "study": without_paths(study),
        "origin": origin,
        "overlap": {name: asdict(one) for name, one in found.items()},
    }
    return write_table(out, lines, figures)
