"""Sessions opened and saved: texts by their token ids, with their traces and experiments."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowtracer.regions import TokenizedText
from flowtracer.tracing.data import SCHEMA as TRACE_SCHEMA
from flowtracer.tracing.data import Trace
from flowtracer.tracing.file import TraceFileError, trace_from_json
from flowtracer.workbench.engine import Engine
from flowtracer.workbench.fields import Refused, parse_body
from flowtracer.workbench.limits import SESSION_BODY
from flowtracer.workbench.session_schema import (
    LONGEST_NOTE,
    MOST_TEXTS,
    RECORD,
    SCHEMA,
    VERSION,
    checked,
    only,
    results_of,
)
from flowtracer.workbench.texts import LETTERS, Text, name_of
from flowtracer.workbench.traces import data_of, keep_trace


def read_session(path: Path, engine: Engine) -> dict[str, Any]:
    """The session or trace in a file, opened. Raises ValueError, which names the file."""
    try:
        if path.stat().st_size > SESSION_BODY:
            raise ValueError(f"is larger than {SESSION_BODY // 1_000_000} MB")
        return open_session(engine, parse_body(path.read_bytes()))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).replace('the body', 'the file')}") from None


def open_session(engine: Engine, data: Mapping[str, Any]) -> dict[str, Any]:
    """A session as the page takes it: every text with its record, and its trace's page data.

    data: a session, or a trace as `flowtracer trace` writes it. Texts of the model that is loaded are
    read from their ids; others can only be viewed. Raises Refused.
    """
    if data.get("schema") == TRACE_SCHEMA:
        data = session_of(_trace(data))
    if data.get("schema") != SCHEMA or data.get("version") != VERSION:
        raise Refused(
            f"this is neither a session (schema {SCHEMA!r}, version {VERSION}) nor a trace of flowtracer"
        )
    session = checked(data)
    texts, others = session["texts"], session.pop("others", [])
    if len(texts) + len(others) > MOST_TEXTS:
        raise Refused(f"the session has more than the {MOST_TEXTS} texts that are taken", 413)
    for name in ("title", "note", "state"):
        session[name] = session.get(name, "")[:LONGEST_NOTE]
    for other in others:
        engine.texts.add(_text(engine, other))
    return session | {"texts": [_opened(engine, text) for text in texts]}


def session_of(trace: Trace, *, title: str = "") -> dict[str, Any]:
    """A session with one text and its trace, as a file has it."""
    prompt, response = trace.ids[: trace.response_start], trace.ids[trace.response_start :]
    letters = {"template": "t", "user": "u", "response": "r", "answer": "r"}
    made = trace.provenance
    cut = trace.offsets[trace.response_start][0]
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "model": made.model,
        "title": title,
        "texts": [
            {
                "id": name_of(made.model, prompt, response),
                "name": title or f"trace of {made.model}",
                "ids": {
                    "model": made.model,
                    "prompt_ids": list(prompt),
                    "response_ids": list(response),
                    "roles": "".join(letters[role] for role in trace.roles),
                },
                "record": {
                    "prompt": trace.text[:cut],
                    "response": trace.text[cut:],
                    "pieces": [
                        {"text": unit.text, "first": unit.first, "last": unit.last}
                        for unit in trace.units
                    ],
                },
                "traced": json.loads(json.dumps(trace.to_json())),
            }
        ],
    }


def save_session(engine: Engine, data: Mapping[str, Any]) -> dict[str, Any]:
    """A session file out of what the page has: records and traces that the server knows are put in.

    A text's `trace` is the name of its trace. Raises Refused.
    """
    names = [text.get("trace") for text in data.get("texts", []) if isinstance(text, dict)]
    session: dict[str, Any] = {"schema": SCHEMA, "version": VERSION, "model": engine.name} | dict(
        data
    )
    session = checked(session)
    others: dict[str, Any] = {}
    for text, name in zip(session["texts"], names, strict=True):
        _complete(engine, text)
        made = engine.traces.get(name) if isinstance(name, str) else None
        if (
            made is not None
            and list(made.ids) == text["ids"]["prompt_ids"] + text["ids"]["response_ids"]
        ):
            text["traced"] = made.to_json()
        for result in results_of(text):
            other = {
                "id": result["id"],
                "ids": text["ids"] | {"response_ids": result["response_ids"]},
            }
            other["ids"].pop("roles", None)
            others[result["id"]] = _complete(engine, other)
    return session | {"others": list(others.values())}


def _complete(engine: Engine, entry: dict[str, Any]) -> dict[str, Any]:
    try:
        record = engine.texts.find(entry["id"]).record()
    except Refused:  # the page still has its ids
        return entry
    entry["record"] = only(record, RECORD)
    entry["ids"] = entry["ids"] | {"roles": record["roles"]}
    return entry


def _opened(engine: Engine, entry: dict[str, Any]) -> dict[str, Any]:
    """A text of a session with its record and page data, in place of what the file has for them."""
    text = engine.texts.add(_text(engine, entry))
    old, length = len(text.answered.ids), text.length
    positions = [
        *entry.get("hidden", []),
        *(t for trial in entry.get("trials", []) for t in trial["tokens"]),
    ]
    ranges = [
        (position, count)
        for result in results_of(entry)
        for positions, count in (
            (result["changed"]["old"], old),
            (result["changed"]["new"], len(result["response_ids"])),
        )
        for position in positions
    ]
    fits = all(
        len(position) == 2 and 0 <= position[0] <= position[1] < count for position, count in ranges
    )
    if not fits or any(not 0 <= position < length for position in positions):
        raise Refused("the session is damaged: it names tokens that do not exist")
    names = ("id", "options", "hidden", "trials")
    opened: dict[str, Any] = {name: entry[name] for name in names if name in entry}
    opened |= {
        "name": entry.get("name", "")[:LONGEST_NOTE] or "text",
        "ids": entry["ids"],
        "record": text.record(),
    }
    if "traced" in entry:
        made = _trace(entry["traced"])
        shown = text.asked.text + text.answered.text
        if list(made.ids) != text.ids or made.response_start != text.start or made.text != shown:
            raise Refused("the session is damaged: a trace is of another text")
        digest = hashlib.sha256(json.dumps(made.to_json()).encode()).hexdigest()[:12]
        keep_trace(engine, digest, made)
        opened |= {"data": data_of(made), "trace": digest}
    return opened


def _text(engine: Engine, entry: Mapping[str, Any]) -> Text:
    """A text of this model from its ids, one of another model from what the session says of it."""
    ids = entry["ids"]
    prompt, response, model = ids["prompt_ids"], ids["response_ids"], ids["model"]
    roles = ids.get("roles", "t" * len(prompt) + "r" * len(response))
    known = entry.get("cut_off")
    if len(roles) != len(prompt) + len(response) or set(roles) - set(LETTERS):
        raise Refused("the session is damaged: roles do not fit the tokens of a text")
    if entry["id"] != name_of(model, prompt, response):
        raise Refused("the session is damaged: the name of a text is not that of its token ids")
    user = [letter == "u" for letter in roles[: len(prompt)]]
    if model == engine.name:
        with engine.reading() as tokenizer:
            return engine.register(prompt, response, user, tokenizer, cut_off=known)
    engine.limits.check(len(prompt), len(response))
    if "record" not in entry:
        raise Refused(
            f"the session has a text of model {model[:80]} without its characters; open it where that model "
            "is loaded, and save it again",
            409,
        )
    asked, answered = (
        _tokenized(entry["record"], name, part, first)
        for name, part, first in (("prompt", prompt, 0), ("response", response, len(prompt)))
    )
    return Text(entry["id"], model, asked, answered, tuple(user), known, entry.get("correct"))


def _tokenized(record: Mapping[str, Any], name: str, ids: list[int], first: int) -> TokenizedText:
    """One side of a text out of its pieces, which must tile it."""
    offsets: list[tuple[int, int]] = []
    position, stop = 0, first + len(ids)
    for piece in record["pieces"]:
        if not first <= piece["first"] < stop:
            continue
        end = position + len(piece["text"])
        if piece["first"] != first + len(offsets) or not piece["first"] <= piece["last"] < stop:
            raise Refused("the session is damaged: the pieces of a text do not tile it")
        offsets += [(position, end)] * (piece["last"] - piece["first"] + 1)
        position = end
    if len(offsets) != len(ids) or position != len(record[name]):
        raise Refused("the session is damaged: the pieces of a text do not tile it")
    return TokenizedText(record[name], ids, offsets)


def _trace(data: object) -> Trace:
    try:
        return trace_from_json(data)
    except TraceFileError as error:
        raise Refused(f"the trace {error}") from None
