"""Table, pictures and rows of the study of true credit."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from flowtracer.records import read_records
from flowtracer.render.charts import save_chart
from flowtracer.render.visible import one_line
from flowtracer.statistics.intervals import Interval
from flowtracer.storage import atomic_write
from flowtracer.studies.table import percent, table_lines, write_judged
from flowtracer.studies.value.figure import draw_against, draw_agreement, draw_response
from flowtracer.studies.value.study import ValueStudy
from flowtracer.studies.value.summary import (
    CEILING,
    RATIOS,
    SURPRISE,
    Agreement,
    Brought,
    agreements,
)
from flowtracer.studies.verdicts import Verdict, in_words, judge

VALUES_FILE = "values.parquet"
COLOURED = 3  # scorers below the coloured response, our choice: flow and the extremes


def write_report(
    study: ValueStudy,
    rows: Sequence[dict[str, Any]],
    out: Path,
    *,
    command: str,
    brought: Brought | None = None,
    tokenizer: Any = None,
) -> Path:
    """Write `table.md`, `figures.json`, `values.parquet` and the pictures; the table's path.

    brought: scores of the user's own, see `read_scores`. tokenizer: for the coloured response, which is
    left out without it.
    """
    write_values(rows, out / VALUES_FILE)  # first: they are kept where nothing can be judged
    evenly = study.at == "lines"
    agreed = agreements(rows, evenly=evenly, brought=brought)
    judged = [agreement for agreement in agreed if agreement.name != CEILING]
    verdicts = judge({agreement.name: agreement.against_chance for agreement in judged})
    paragraph = in_words(
        verdicts,
        baseline=f"chance at holding credit in the top {RATIOS[-1]:.0%} of tokens",
        units="problems",
        count=len(rows),
    )
    ordered = sorted(judged, key=lambda agreement: -agreement.in_top[RATIOS[-1]].value)
    stored = {name for row in rows for r in row["responses"] for name in r["scores"]}
    names = [agreement.name for agreement in ordered if agreement.name in stored]
    silent = sorted({*stored, *(brought or {})} - {agreement.name for agreement in judged})
    shown = list(dict.fromkeys([*[n for n in names if n == "flow"], *names[:1], *names[-1:]]))
    pictures = {"against.png": draw_against(rows, names, evenly=evenly)}
    captions = ["![Credit of every unit over the rank of its score](against.png)", ""]
    if tokenizer is not None:
        response = _typical(rows)
        texts = [one_line(tokenizer.decode([token])) or "∅" for token in response["response_ids"]]
        pictures["response.png"] = draw_response(response, shown[:COLOURED], texts, evenly=evenly)
        captions += ["![A response coloured by true credit and by scores](response.png)", ""]
    for name, figure in pictures.items():
        save_chart(figure, out / name)
    return write_judged(
        study,
        out,
        command=command,
        title="True credit",
        what=_what(study, rows) + _not_judged(silent),
        table=[*_table([*ordered, agreed[-1]], verdicts), "", *captions[:-1]],
        verdicts=verdicts,
        paragraph=paragraph,
        figures={"scorers": [_plain(agreement) for agreement in agreed]},
        figure=draw_agreement(agreed, RATIOS[-1]),
    )


def write_values(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Every response with its values as Parquet; docs/referee.md has the schema."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist(
        [
            {
                "id": row["id"],
                "problem": row["problem"],
                "response": number,
                "prompt_ids": row["prompt_ids"],
                **{name: value for name, value in response.items() if name != "scores"},
                "scores": [
                    {"scorer": name, "scores": scores}
                    for name, scores in response["scores"].items()
                ],
            }
            for row in rows
            for number, response in enumerate(row["responses"])
        ]
    )
    with atomic_write(path) as partial:
        pyarrow.parquet.write_table(table, partial)


def read_scores(path: Path, rows: Sequence[dict[str, Any]]) -> dict[tuple[str, int], list[float]]:
    """Scores of a user's own: JSON Lines with id, response (0 first) and scores, one a response token.

    Raises ValueError if a response of the study is missing or has another number of tokens.
    """
    scores: dict[tuple[str, int], list[float]] = {}
    for where, record in read_records(path):
        values = record.get("scores")
        if not isinstance(values, list) or not all(
            isinstance(v, int | float) and not isinstance(v, bool) and v >= 0 for v in values
        ):
            raise ValueError(f"{where}: scores is not a list of numbers from 0")
        scores[str(record.get("id")), int(record.get("response") or 0)] = list(map(float, values))
    for row in rows:
        for number, response in enumerate(row["responses"]):
            values = scores.get((row["id"], number))
            if values is None or len(values) != len(response["response_ids"]):
                raise ValueError(
                    f"{path}: has {'no' if values is None else len(values)} scores for response {number} "
                    f"of {row['id']!r}, which has {len(response['response_ids'])} tokens; give one a token"
                )
    return scores


def _typical(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The answered response whose |credit| is the median: neither dull nor striking (our choice)."""
    responses = [response for row in rows for response in row["responses"]]
    responses = [response for response in responses if response["answered"]] or responses
    responses.sort(key=lambda response: float(np.abs(response["credit"]).sum()))
    return responses[len(responses) // 2]


def _what(study: ValueStudy, rows: Sequence[dict[str, Any]]) -> str:
    responses = [response for row in rows for response in row["responses"]]
    points = sum(len(response["points"]) for response in responses)
    tokens = sum(len(response["response_ids"]) for response in responses)
    right = sum(response["reward"] > 0 for response in responses)
    unanswered = sum(not response["answered"] for response in responses)
    where = (
        f"decisions (tokens of probability below {study.threshold})"
        if study.at == "decisions"
        else "lines and sentences"
        + (f" of {study.line_tokens} tokens or more" if study.line_tokens > 1 else "")
    )
    return (
        f"{len(responses)} responses to {len(rows)} problems ({right} right), temperature "
        f"{study.temperature:g}, seed {study.seed}. Values at {points:,} {where} of {tokens:,} tokens, by "
        f"{study.continuations} continuations each. {unanswered} responses have no answer; scorers that need "
        "one are judged by the others. 95% intervals by a bootstrap over problems."
    )


def _not_judged(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f" Not judged, because they rank no response with credit: {', '.join(names)}."


def _table(agreed: Sequence[Agreement], verdicts: Sequence[Verdict]) -> list[str]:
    words = {verdict.name: verdict.word for verdict in verdicts}
    ratios = RATIOS[::-1]  # the last is the one that is judged
    columns = [
        "scorer",
        "verdict",
        *(f"credit in the top {ratio:.0%}" for ratio in ratios),
        "rank correlation with its size",
        "position taken out",
        "sign, right responses",
        "sign, wrong responses",
        "responses",
    ]
    return table_lines(
        columns,
        [
            [
                agreement.name if agreement.name in (CEILING, SURPRISE) else f"`{agreement.name}`",
                words.get(agreement.name, ""),
                *(percent(agreement.in_top[ratio]) for ratio in ratios),
                *map(_two_digits, (agreement.correlation, agreement.without_position)),
                *map(_two_digits, (agreement.sign_right, agreement.sign_wrong)),
                str(agreement.responses),
            ]
            for agreement in agreed
        ],
    )


def _two_digits(interval: Interval | None) -> str:
    if interval is None:
        return ""
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _plain(agreement: Agreement) -> dict[str, Any]:
    values = asdict(agreement)
    values["in_top"] = {str(ratio): asdict(value) for ratio, value in agreement.in_top.items()}
    values["against_chance"] = [float(f"{value:.6g}") for value in agreement.against_chance]
    return values
