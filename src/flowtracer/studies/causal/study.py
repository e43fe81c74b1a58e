"""`flowtracer study causal`: knock out the tokens that a scorer takes; what becomes of the answer?

Protocol "answer": everything before the answer's first token stays as it was written, some of its
tokens knocked out, and the answer alone is regenerated. Protocol "rest": the response is cut part of
the way to its answer, tokens before the cut are knocked out, and everything after it is regenerated. Tokens
that are knocked out are the response's own, or the prompt's. Always greedy; each text also runs with
nothing knocked out, and one whose answer is then not reproduced (numerics of another batch) is
reported and left out.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Unpack

from flowtracer.intervention import attention_knockout, check_knockout, decode
from flowtracer.intervention.knockout import Knockout
from flowtracer.models import Loaded
from flowtracer.models.generation import end_tokens
from flowtracer.records import Kind
from flowtracer.studies.causal.conditions import PreparedText, prepare_text
from flowtracer.studies.causal.judging import is_complete, judge
from flowtracer.studies.causal.settings import CausalStudy
from flowtracer.studies.resume import StudyRun, run_over_solutions
from flowtracer.studies.scorer_choices import parse_scorers, score_solution
from flowtracer.studies.solutions import Solution, SolutionSet
from flowtracer.tasks import Task

CONDITION: dict[str, Kind] = {
    "scorer": str, "ratio": float, "excluded": int, "knocked_out": int, "changed?": bool,
    "answer?": str | None, "reversed?": bool, "drop?": float, "answer_drop?": float,
}  # fmt: skip
FIELDS: dict[str, Kind] = {
    "problem": int,
    "texts": [{"cut": float | None, "reproduced": bool, "conditions": [CONDITION]}],
}
LONGER = 24  # tokens that a new answer may have more than the old one, our choice


def run_causal(
    study: CausalStudy,
    loaded: Loaded,
    task: Task,
    folder: Path,
    **run: Unpack[StudyRun],
) -> list[dict[str, Any]]:
    """Do what is missing and return a row a problem; see `run_over_solutions`."""
    check_knockout(loaded.model)
    parse_scorers(study.scorers, loaded.model, side=study.scored_side)
    make_rows = partial(_make_rows, study)
    return run_over_solutions(
        study,
        loaded,
        task,
        folder,
        make_rows,
        fields=FIELDS,
        stage="knocking out",
        batch=study.batch,
        **run,
    )


def _make_rows(
    study: CausalStudy, within: SolutionSet, batch: Sequence[Solution]
) -> Iterator[dict[str, Any]]:
    scorers = parse_scorers(study.scorers, side=study.scored_side)
    scores = [
        score_solution(within, solution, scorers, seed=study.solutions.seed + solution.problem)
        for solution in batch
    ]
    with attention_knockout(within.model) as knockout:
        texts = [
            prepare_text(study, within, solution, of_solution, cut, knockout)
            for solution, of_solution in zip(batch, scores, strict=True)
            for cut in (study.cuts if study.protocol == "rest" else (None,))
        ]
        responses = _regenerate(study, within, texts, knockout) if study.regenerate else None
    judged = [
        judge(within, text, responses[index] if responses else None)
        for index, text in enumerate(texts)
    ]
    for solution in batch:
        yield {
            "problem": solution.problem,
            "id": solution.id,
            "tokens": len(solution.response_ids),
            "before": solution.before,
            "answer": solution.answer,
            "correct": solution.reward > 0,
            "texts": [
                row for text, row in zip(texts, judged, strict=True) if text.solution is solution
            ],
        }


def _regenerate(
    study: CausalStudy, within: SolutionSet, texts: Sequence[PreparedText], knockout: Knockout
) -> list[list[list[int]]]:
    """New token ids by text and condition, all rows generated together."""
    text_of_row = [text for text in texts for _ in text.conditions]

    def finished(row: int, new: list[int]) -> bool:
        return study.protocol == "answer" and is_complete(within, text_of_row[row], new)

    def limit(text: PreparedText) -> int:
        if study.protocol == "answer":
            return text.solution.answer_tokens + LONGER
        return study.solutions.max_new_tokens - text.kept

    rows = decode(
        within.model,
        knockout,
        [text.prefilled for text in texts],
        limits=[limit(text) for text in text_of_row],
        ends=end_tokens(within.model, within.tokenizer),
        finished=finished,
    )
    by_row = iter(rows)
    return [list(islice(by_row, len(text.conditions))) for text in texts]
