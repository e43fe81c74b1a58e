"""The work that can be asked for, by the name of its kind."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flowtracer.workbench import knockout, traces, writing
from flowtracer.workbench.engine import Engine
from flowtracer.workbench.fields import Request
from flowtracer.workbench.jobs import Job


@dataclass(frozen=True)
class Operation:
    """A kind of work: what does it, and the fields of the request that it reads."""

    run: Callable[[Engine, Request, Job], dict[str, Any]]
    fields: tuple[str, ...]


_SAMPLING = ("max_new_tokens", "temperature", "seed")
_PROMPT = ("prompt", "messages", "chat")
TRACE_FIELDS = ("text", "answer", "scorer", "layers", "edges", "answer_tokens", "question", "end")
OPERATIONS = {
    "answer": Operation(writing.answer, (*_PROMPT, *_SAMPLING)),
    "paste": Operation(writing.paste, (*_PROMPT, "response")),
    "continue": Operation(writing.continue_text, ("text", "position", "token", *_SAMPLING)),
    "alternatives": Operation(writing.alternatives, ("text", "position", "count")),
    "trace": Operation(traces.trace, TRACE_FIELDS),
    "select": Operation(knockout.select, (*TRACE_FIELDS, "ratio")),
    "hide": Operation(
        knockout.hide, ("text", "tokens", "from", "control", "answer", "max_new_tokens")
    ),
}
