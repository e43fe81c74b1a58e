"""What the command line is to trace: a sample, a problem, two files, or a row of a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowtracer.models import EMBEDDED, Loaded, load_processor
from flowtracer.records import (
    PROMPT_FIELDS,
    REFERENCE_FIELDS,
    RESPONSE_FIELDS,
    check_kind,
    first_field,
    parse_record,
    read_lines,
)
from flowtracer.regions import encode_with_offsets, first_unknown

if TYPE_CHECKING:
    from flowtracer.tracing.data import Trace

SAMPLE_PROBLEM = (
    "Make 4 from 16, 20, 24."  # not seen in training; two attempts fail, the third works
)


@dataclass(frozen=True)
class TracedText:
    """A prompt, and its response unless the model is to answer."""

    prompt: str | list[dict[str, str]]
    response: str | list[int] | None = None  # token ids of a response that was kept
    reference: str | None = None  # the right answer, where the row has it

    @property
    def question(self) -> str:
        """What the user wrote last."""
        if isinstance(self.prompt, str):
            return self.prompt
        return str(self.prompt[-1].get("content", "")) if self.prompt else ""

    def graded(self, traced: "Trace") -> "Trace":
        """The trace of this text, with whether its answer is right where that is known."""
        from flowtracer.tasks.known import grade_known

        right = grade_known(self.question, traced.response, traced.answer, self.reference)
        return replace(traced, correct=right)


def text_to_trace(
    *,
    model: str,
    problem: str | None,
    prompt_file: Path | None,
    response_file: Path | None,
    jsonl: Path | None,
    row: int,
) -> TracedText:
    """Read the one input that was chosen. Raises ValueError for none, several or unreadable ones."""
    chosen = [
        name
        for name, value in (
            ("--problem", problem),
            ("--prompt-file", prompt_file),
            ("--jsonl", jsonl),
        )
        if value is not None
    ]
    if len(chosen) > 1:
        raise ValueError(f"give only one of {', '.join(chosen)}")
    if response_file is not None and prompt_file is None:
        raise ValueError("--response-file needs --prompt-file, the prompt it answers")
    if problem is not None:
        return TracedText(problem)
    if prompt_file is not None:
        response = None if response_file is None else _read(response_file)
        return TracedText(_read(prompt_file), response)
    if jsonl is not None:
        return _row(jsonl, row)
    if model != EMBEDDED:
        raise ValueError("say what to trace: --problem TEXT, --prompt-file FILE or --jsonl FILE")
    return TracedText(SAMPLE_PROBLEM)


def open_pictures(
    paths: Sequence[Path], *, model: str, trust_remote_code: bool
) -> tuple[list[Any], Any]:
    """Pictures of PIL and the model's processor; none of either without paths.

    Raises ValueError for files that are no pictures, before a model is loaded, and ModelError for a model
    that takes none.
    """
    if not paths:
        return [], None
    if model == EMBEDDED:
        raise ValueError("the embedded model takes no pictures; choose another model with --model")
    from flowtracer.tracing.pictures import open_picture

    images = [open_picture(path) for path in paths]
    return images, load_processor(model, trust_remote_code=trust_remote_code)


def check_vocabulary(loaded: Loaded, traced: TracedText) -> None:
    """Raise ValueError for token ids or words that the model does not have."""
    size = len(loaded.tokenizer)
    if isinstance(traced.response, list) and not all(
        0 <= token < size for token in traced.response
    ):
        raise ValueError(
            f"response_ids are not those of the model {loaded.name}, which has {size} tokens; name the "
            "model that gave them with --model"
        )
    if loaded.name != EMBEDDED or not isinstance(traced.prompt, str):
        return
    text = encode_with_offsets(loaded.tokenizer, traced.prompt)
    unknown = first_unknown(loaded.tokenizer, text)
    if unknown is not None:
        raise ValueError(
            f"the embedded model only knows problems like {SAMPLE_PROBLEM!r} with numbers up to 200, "
            f"not {unknown!r}; choose another model with --model"
        )


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is not UTF-8 text; convert it first") from None
    if not text.strip():
        raise ValueError(f"{path}: is empty")
    return text


def _row(path: Path, number: int) -> TracedText:
    """Row `number` of a JSON Lines file, blank lines not counted; other rows are not parsed."""
    count, line = 0, b""
    for count, row in enumerate(read_lines(path), start=1):
        line = row[2]
        if count > number >= 0:
            break
    if not 0 <= number < count:
        raise ValueError(f"{path}: has no row {number}; it has {count} rows and 0 is the first")
    try:
        record = parse_record(line)
        prompt, response = (
            first_field(record, names) for names in (PROMPT_FIELDS, RESPONSE_FIELDS)
        )
        if not isinstance(prompt, str | list):
            raise ValueError(f"has no prompt; one of {', '.join(PROMPT_FIELDS)} is needed")
        if response is not None and not isinstance(response, str):
            raise ValueError("the response is not a text")
        ids = record.get("response_ids")
        if ids is not None:
            check_kind(ids, [int], "response_ids")
            response = ids or response
    except ValueError as error:
        raise ValueError(f"{path}, row {number}: {error}") from None
    return TracedText(prompt, response, _reference(record))


def _reference(record: Mapping[str, Any]) -> str | None:
    """The right answer; None where the row has none, or several: one may be what a model said.

    Also of a row with options, whose answer may be a letter, a number or the text of one.
    """
    if any(record.get(name) is not None for name in ("choices", "options")):
        return None
    answers = [record[name] for name in REFERENCE_FIELDS if record.get(name) is not None]
    texts = {str(answer).strip() for answer in answers if type(answer) in (str, int, float)}
    if len(texts) != 1 or not all(type(answer) in (str, int, float) for answer in answers):
        return None
    if any(isinstance(answer, float) and not isfinite(answer) for answer in answers):
        return None
    return texts.pop()
