"""Read trace files: JSON with a schema version, checked field by field."""

import json
import os
import reprlib
from pathlib import Path
from typing import Any, get_args

from flowtracer.flow import Edge, Route
from flowtracer.tracing.data import SCHEMA, SCHEMA_VERSION, Provenance, Role, Trace
from flowtracer.tracing.picture import Picture

_PER_TOKEN = ("ids", "offsets", "roles", "answer_weights", "potential", "inflow", "throughput")


LARGEST = 1e100  # of a score, our choice: sums of them are finite


class TraceFileError(ValueError):
    """A file is not a readable trace; the message says which file and why."""


def save_trace(trace: Trace, path: str | os.PathLike[str]) -> None:
    """`trace.save(path)`, as a function."""
    trace.save(path)


def load_trace(path: str | os.PathLike[str]) -> Trace:
    """Read a trace that `save_trace` wrote.

    Raises TraceFileError if the file is missing, damaged, or of another schema version.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise TraceFileError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise TraceFileError(
            f"{path}: is not a JSON file, or is cut off ({error}); trace the text again"
        ) from error
    try:
        return trace_from_json(data)
    except TraceFileError as error:
        raise TraceFileError(f"{path}: {error}") from None


def trace_from_json(data: object) -> Trace:
    """The trace in what `Trace.to_json` gave. Raises TraceFileError."""
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise TraceFileError("is not a flowtracer trace (no schema 'flowtracer.trace')")
    version = data.get("version")
    if version not in (1, SCHEMA_VERSION) or isinstance(version, bool):
        raise TraceFileError(
            f"has schema version {version!r:.40}, this flowtracer reads 1 and {SCHEMA_VERSION}; "
            "use the flowtracer that wrote it, or trace the text again"
        )
    try:
        if version == 1:
            data = _upgraded(data)
        trace = Trace(
            text=_typed(data["text"], str),
            ids=tuple(_typed(token, int) for token in data["ids"]),
            offsets=tuple((_typed(a, int), _typed(b, int)) for a, b in data["offsets"]),
            roles=tuple(_role(role) for role in data["roles"]),
            answer_weights=_numbers(data["answer_weights"]),
            potential=_numbers(data["potential"]),
            inflow=_numbers(data["inflow"]),
            throughput=_numbers(data["throughput"]),
            edges=tuple(
                Edge(_typed(i, int), _typed(k, int), _number(flow)) for i, k, flow in data["edges"]
            ),
            routes=tuple(
                Route(tuple(_typed(token, int) for token in tokens), _number(probability))
                for tokens, probability in data["routes"]
            ),
            hubs=tuple(_typed(token, int) for token in data["hubs"]),
            provenance=_provenance(data["provenance"]),
            matched_rule=_typed(data["matched_rule"], str),
            direct=None if data["direct"] is None else _number(data["direct"]),
            through_one=None if data["through_one"] is None else _number(data["through_one"]),
            scores={
                _typed(name, str): _numbers(values)
                for name, values in _typed(data["scores"], dict).items()
            },
            layer_throughput=tuple(map(_numbers, data["layer_throughput"])),
            correct=_known(data["correct"]),
            cut_off=_known(data["cut_off"]),
            pictures=tuple(map(_picture, data.get("pictures", ()))),
        )
    except KeyError as error:
        raise TraceFileError(f"is damaged: {error.args[0]!r} is missing") from None
    except (TypeError, ValueError, IndexError) as error:
        raise TraceFileError(f"is damaged: {error}") from None
    _check(trace)
    return trace


def _upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """The content of a version 1 file in the form of version 2.

    Routes were single paths from a token of the prompt to one of the answer, most of one hop, and are
    left out; hubs could be answer tokens.
    """
    hubs = [hub for hub in data["hubs"] if data["roles"][hub] != "answer"]
    rule = _typed(data["provenance"], dict)["answer_rule"]
    return data | {
        "routes": [], "hubs": hubs, "matched_rule": rule, "direct": None, "through_one": None,
        "scores": {}, "layer_throughput": [], "correct": None, "cut_off": None,
    }  # fmt: skip


def _check(trace: Trace) -> None:
    """Raise TraceFileError unless all fields are about the same tokens."""
    count = len(trace.ids)
    for name in _PER_TOKEN:
        if len(getattr(trace, name)) != count:
            raise TraceFileError(
                f"is damaged: {name} does not have one entry for each of {count} tokens"
            )
    for values in (*trace.scores.values(), *trace.layer_throughput):
        if len(values) != count:
            raise TraceFileError(
                f"is damaged: its scores do not have one entry for each of {count} tokens"
            )
    if len(trace.layer_throughput) not in (0, len(trace.provenance.layers)):
        raise TraceFileError("is damaged: it does not have the throughput of every layer")
    if not any(role in ("response", "answer") for role in trace.roles):
        raise TraceFileError("is damaged: it has no response")
    if any(not 0 <= start <= stop <= len(trace.text) for start, stop in trace.offsets):
        raise TraceFileError("is damaged: offsets lie outside the text")
    tokens = [*trace.hubs, *(token for route in trace.routes for token in route.tokens)]
    tokens += [token for edge in trace.edges for token in (edge.source, edge.target)]
    if any(not 0 <= token < count for token in tokens):
        raise TraceFileError("is damaged: it names tokens that do not exist")
    if any(edge.flow == 0 or edge.source >= edge.target for edge in trace.edges):
        raise TraceFileError("is damaged: it has edges without flow, or not from earlier to later")
    rising = [trace.hubs, *(route.tokens for route in trace.routes)]
    if any(list(tokens) != sorted(set(tokens)) for tokens in rising) or not all(rising[1:]):
        raise TraceFileError("is damaged: it has hubs or routes that are not in order")
    answered = [role in ("response", "answer") for role in trace.roles]
    if answered != sorted(answered):
        raise TraceFileError("is damaged: a token of the prompt is behind the response")
    starts = [picture.first for picture in trace.pictures] + [trace.response_start]
    if any(
        picture.last >= start for picture, start in zip(trace.pictures, starts[1:], strict=True)
    ):
        raise TraceFileError(
            "is damaged: it has pictures that are not in the prompt, one after another"
        )
    if not trace.provenance.layers:
        raise TraceFileError("is damaged: it names no layers")


def _typed(value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{reprlib.repr(value)} is not of type {kind.__name__}")
    return value


def _known(value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{reprlib.repr(value)} is not true, false or null")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value <= LARGEST:
        raise ValueError(f"{reprlib.repr(value)} is not a finite number of at least 0")
    return float(value)


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(_number(value) for value in values)


def _role(value: Any) -> Role:
    if value not in get_args(Role):
        raise ValueError(f"{reprlib.repr(value)} is not a role")
    return value


def _picture(data: Any) -> Picture:
    fields = _typed(data, dict)
    numbers = ("first", "last", "rows", "columns", "width", "height")
    return Picture(
        **{name: _typed(fields[name], int) for name in numbers},
        thumbnail=_typed(fields["thumbnail"], str),
        dropped=_number(fields["dropped"]),
    )


def _provenance(data: Any) -> Provenance:
    fields = _typed(data, dict)
    texts = ("model", "dtype", "answer_rule", "answer_tokens", "question")
    versions = _typed(fields["versions"], dict)
    return Provenance(
        **{name: _typed(fields[name], str) for name in texts},
        layers=tuple(_typed(layer, int) for layer in fields["layers"]),
        versions={name: _typed(version, str) for name, version in versions.items()},
        edges=_typed(fields.get("edges", "mean"), str),
        unseen_layers=tuple(_typed(layer, int) for layer in fields.get("unseen_layers", ())),
    )
