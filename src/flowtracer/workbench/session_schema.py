"""Session files: what the page saves and opens again. All of one is checked, nothing of it is run.

A file holds texts by their token ids, each with its options, hidden tokens and experiments; for those who
have not loaded its model also how it reads (`record`) and its trace (`traced`, as in trace.json).
"""

from collections.abc import Mapping
from typing import Any

from flowtracer.records import Kind, check_kind
from flowtracer.workbench.fields import Refused

SCHEMA = "flowtracer.session"
VERSION = 1
MOST_TEXTS = 200  # our choice
LONGEST_NOTE = 2000  # characters of a title, a name or a note, our choice

IDS: dict[str, Kind] = {"model": str, "prompt_ids": [int], "response_ids": [int], "roles?": str}
OPTIONS: dict[str, Kind] = {
    "rule?": str, "spans?": [[int]], "layers?": str, "edges?": str, "question?": str, "answer_tokens?": str,
    "scorer?": str, "end?": str,
}  # fmt: skip
RESULT: dict[str, Kind] = {
    "id": str, "response_ids": [int], "tokens": [int], "ignored?": int, "kept": int,
    "changed": {"old": [[int]], "new": [[int]]}, "cut_off?": bool | None, "answer_old": str | None,
    "answer_new": str | None, "answer_changed": bool | None, "note?": str,
    "log_probability_old": float | None, "log_probability_hidden": float | None,
    "reproduced?": bool | None,
}  # fmt: skip
TRIAL: dict[str, Kind] = {
    "tokens": [int], "how": str, "from": str | int, "answer?": str, "result": RESULT,
    "controls?": [{"seed": int, "result": RESULT}],
}  # fmt: skip
RECORD: dict[str, Kind] = {
    "prompt": str, "response": str, "pieces": [{"text": str, "first": int, "last": int}],
}  # fmt: skip
TEXT: dict[str, Kind] = {
    "id": str, "name?": str, "ids": IDS, "options?": OPTIONS, "hidden?": [int], "trials?": [TRIAL],
    "correct?": bool | None, "cut_off?": bool | None, "record?": RECORD,
    "traced?": dict,
}  # fmt: skip
SESSION: dict[str, Kind] = {
    "schema": str, "version": int, "model": str, "title?": str, "note?": str, "state?": str,
    "texts": [TEXT], "others?": [{"id": str, "ids": IDS, "record?": RECORD}],
}  # fmt: skip


def checked(data: Mapping[str, Any]) -> dict[str, Any]:
    """A session without what nobody reads. Raises Refused if something in it is of another kind."""
    try:
        check_kind(dict(data), SESSION, "the session")
    except ValueError as error:
        raise Refused(f"the session is damaged: {error}") from None
    session: dict[str, Any] = only(data, SESSION)
    return session


def only(value: Any, kind: Kind) -> Any:
    """A checked value without the fields that its kind does not name."""
    if isinstance(kind, dict):
        names = [name.removesuffix("?") for name in kind]
        return {
            name: only(value[name], inner)
            for name, inner in zip(names, kind.values(), strict=True)
            if name in value
        }
    return [only(item, kind[0]) for item in value] if isinstance(kind, list) else value


def results_of(text: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results of all experiments with a text."""
    return [
        result
        for trial in text.get("trials", [])
        for result in (
            trial["result"],
            *(control["result"] for control in trial.get("controls", [])),
        )
    ]
