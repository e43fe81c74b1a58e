"""Where rows come from: a folder of JSON Lines, one file, or the Hugging Face hub; and their fields."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowtracer.records import read_records
from flowtracer.regions.answers import find_answer
from flowtracer.tasks.task import Example, import_datasets

# Names that public copies of the data sets use; the first that is there counts.
QUESTION_FIELDS = ("question", "problem", "prompt", "Question", "Problem", "input")
ANSWER_FIELDS = ("answer", "final_answer", "expected_answer", "ground_truth", "Answer", "Final Answer",
                 "solution", "Solution")  # fmt: skip
ID_FIELDS = ("id", "unique_id", "ID", "question_id", "index")
CHOICE_FIELDS = ("choices", "options")
EXTRA_FIELDS = {  # our name: names in the sources
    "multiple": ("multiple", "is_multiple_answer"),
    "unit": ("unit",),
    "tolerance": ("tolerance", "error"),
    "answer_type": ("answer_type",),
    "level": ("level",),
    "subject": ("subject", "type"),
}
NESTED = ("reward_model", "meta_data", "metadata")  # records inside a row that are searched too


@dataclass(frozen=True)
class Hub:
    """A data set on the Hugging Face hub.

    splits: from our split to the hub's, the same names where it says nothing.
    """

    path: str
    config: str | None = None
    splits: Mapping[str, str] = field(default_factory=dict)


def rows_of_folder(folder: Path, name: str, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of `<folder>/<name>/<split>.jsonl`.

    Raises ValueError if the folder or the split is missing, and as `read_records`.
    """
    if not folder.is_dir():
        raise ValueError(f"data folder {folder}: there is no such folder; correct the path")
    there = sorted(path.stem for path in (folder / name).glob("*.jsonl"))
    if not there:
        raise ValueError(
            f"data folder {folder}: has no task {name}; put its rows into {name}/{split}.jsonl there"
        )
    if split not in there:
        raise ValueError(
            f"task {name}: has no split {split!r} in {folder}; there is {', '.join(there)}"
        )
    yield from read_records(folder / name / f"{split}.jsonl")


def rows_of_hub(hub: Hub, name: str, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of a data set on the hub.

    Raises ImportError without `datasets`, ValueError if the data set or the split cannot be had.
    """
    library = import_datasets()
    name_there = hub.splits.get(split, split)
    try:
        rows: Iterable[dict[str, Any]] = library.load_dataset(
            hub.path, hub.config, split=name_there
        )
    except Exception as error:  # datasets raises many kinds for one unreachable or changed source
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"task {name}: split {name_there!r} of {hub.path} cannot be loaded from the hub "
            f"({lines[0]}); give a folder of JSON Lines as source or in FLOWTRACER_DATA"
        ) from error
    for number, row in enumerate(rows):
        yield f"{hub.path}, {name_there} row {number}", row


def example_of(where: str, row: Mapping[str, Any], number: int) -> Example:
    """A row as an example, whatever its source calls the fields.

    Raises ValueError if it has no question or no answer.
    """
    question, answer = _question(_first(row, QUESTION_FIELDS)), _answer(row)
    if not question:
        raise ValueError(f"{where}: has no question; give one of {', '.join(QUESTION_FIELDS)}")
    if not answer:
        raise ValueError(f"{where}: has no answer; give one of {', '.join(ANSWER_FIELDS)}")
    extra: dict[str, Any] = {}
    for ours, names in EXTRA_FIELDS.items():
        value = _first(row, names)
        if isinstance(value, str | int | float):
            extra[ours] = value
    choices = _choices(_first(row, CHOICE_FIELDS))
    if choices:
        extra["choices"] = choices
        if not all(text in question for text in choices):
            lettered = (f"{chr(ord('A') + k)}. {text}" for k, text in enumerate(choices))
            question += "\n\n" + "\n".join(lettered)
    name = _first(row, ID_FIELDS)
    return Example(str(number if name is None else name), question, answer, extra)


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The first of the fields that has a value, in the row or in a record inside it."""
    records = [row, *(row[inner] for inner in NESTED if isinstance(row.get(inner), Mapping))]
    for record in records:
        for name in names:
            if record.get(name) not in (None, "", []):
                return record[name]
    return None


def _question(value: Any) -> str:
    """The text of a question, which may be a conversation."""
    if isinstance(value, list) and value and isinstance(value[-1], Mapping):
        value = value[-1].get("content")
    return value.strip() if isinstance(value, str) else ""


def _answer(row: Mapping[str, Any]) -> str:
    """The final answer, out of a solution where that is what the field holds."""
    value = _first(row, ANSWER_FIELDS)
    if isinstance(value, list | tuple):  # OlympiadBench
        value = ",".join(str(part) for part in value)
    if value is None or isinstance(value, bool | Mapping):
        return ""
    text = str(value).strip()
    for rule in ("boxed", "gsm8k"):
        for span in find_answer(text, rule):
            text = text[span.start : span.stop]
    if re.fullmatch(r"-?[0-9]+\.0", text):  # AMC23 on the hub holds floats
        text = text[:-2]
    if text.startswith("$") and text.endswith("$") and text.count("$") == 2:
        text = text[1:-1]
    return text.strip()


def _choices(value: Any) -> list[str]:
    """The texts of the options, without their letters; nothing if there is no list of them."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, list):
        return []
    return [re.sub(r"^\(?[A-Z][.:)]\s+", "", str(text)).strip() for text in value]
