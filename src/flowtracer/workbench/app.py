"""The routes of `flowtracer serve`. Errors are `{"error": "one sentence"}` with the status that fits."""

import json
import re
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from importlib.resources import files
from typing import Any, get_args

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse

from flowtracer.attention.mean import Edges
from flowtracer.models import EMBEDDED
from flowtracer.regions import ANSWER_RULES
from flowtracer.render import page_html
from flowtracer.scorers.table import EXTRA_SCORERS, SCORERS
from flowtracer.workbench.endpoints import routed
from flowtracer.workbench.engine import Engine
from flowtracer.workbench.events import stream_events
from flowtracer.workbench.fields import (
    Refused,
    Request,
    check_names,
    choice,
    numbers_below,
    string,
)
from flowtracer.workbench.gallery import gallery_session, list_gallery
from flowtracer.workbench.guard import Access, App, guarded
from flowtracer.workbench.jobs import Job, Jobs
from flowtracer.workbench.limits import BODY, SESSION_BODY
from flowtracer.workbench.operations import OPERATIONS
from flowtracer.workbench.session import open_session, save_session
from flowtracer.workbench.texts import LETTERS
from flowtracer.workbench.traces import find_trace, help_of, is_local

KINDS = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".html": "text/html",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
}
ASSET_FOLDERS = ("flowtracer.workbench", "flowtracer.render")
EXAMPLES = {
    True: ["Make 33 from 2, 5, 23.", "Make 4 from 16, 20, 24.", "Make 60 from 5, 8, 20."],
    False: [
        "Tom has 3 boxes with 12 pencils each and gives away 7 pencils. How many are left?",
        "A train goes 60 km in 45 minutes. How far does it go in 2 hours?",
    ],
}


def build_app(
    engine: Engine, jobs: Jobs, access: Access, opened: dict[str, Any] | None = None
) -> App:
    """The server as an ASGI application. opened: the session of `--open`."""
    handlers: list[tuple[str, str, Callable[..., Any]]] = [
        ("GET", "/", lambda request: _asset("workbench.html")),
        ("GET", "/assets/{name}", lambda request: _asset(request.path_params["name"])),
        ("GET", "/api/info", partial(_info, engine, opened)),
        ("POST", "/api/jobs", partial(_submit, engine, jobs)),
        ("DELETE", "/api/jobs/{id}", partial(_cancel, jobs)),
        ("GET", "/api/jobs/{id}/events", partial(_events, jobs)),
        ("GET", "/api/texts/{id}", partial(_text, engine)),
        ("POST", "/api/texts", partial(_register, engine)),
        ("POST", "/api/export", partial(_export, engine)),
        ("POST", "/api/session", partial(_open_session, engine)),
        ("POST", "/api/save", partial(_save_session, engine)),
        ("GET", "/api/gallery/{name}", partial(_gallery, engine)),
    ]
    return guarded(routed(handlers), access)


def _asset(name: str) -> Response:
    """A file of the page; names are looked up, never put together to paths."""
    kind = KINDS.get(name[name.rfind(".") :]) if re.fullmatch(r"[a-z0-9_.-]{1,60}", name) else None
    for package in ASSET_FOLDERS if kind else ():
        for file in (files(package) / "assets").iterdir():
            if file.name == name and file.is_file():
                headers = {"cache-control": "no-cache"}
                return Response(file.read_bytes(), media_type=kind, headers=headers)
    raise Refused("there is no such file", 404)


def _info(engine: Engine, opened: dict[str, Any] | None, request: HttpRequest) -> dict[str, Any]:
    limits = engine.limits
    return {
        "model": engine.name,
        "dtype": str(engine.model.dtype).removeprefix("torch."),
        "layer_count": engine.depth,
        "scorers": [
            {
                "name": name,
                "help": help_of(name),
                "local": is_local(name),
                "extra": name in EXTRA_SCORERS,
            }
            for name in (*SCORERS, *EXTRA_SCORERS)
        ],
        "answer_rules": list(ANSWER_RULES),
        "edges": list(get_args(Edges)),
        "chat": bool(getattr(engine.tokenizer, "chat_template", None)),
        "limits": {
            "prompt_tokens": limits.prompt_tokens,
            "response_tokens": limits.response_tokens,
            "body_bytes": BODY,
            "session_bytes": SESSION_BODY,
        },
        "gallery": list_gallery(),
        "open": opened,
        "version": version("flowtracer"),
        "examples": EXAMPLES[engine.loaded.name == EMBEDDED],
    }


def _submit(engine: Engine, jobs: Jobs, request: HttpRequest) -> Response:
    data: Request = request.scope["json"]
    operation = OPERATIONS[choice(data, "kind", list(OPERATIONS), "")]
    check_names(data, ("kind", *operation.fields))
    if "text" in operation.fields:
        engine.find(string(data, "text"))  # refused at once, not behind the queue
    job, position = jobs.submit(partial(operation.run, engine, data))
    return JSONResponse({"job": job.id, "position": position}, 202)


def _cancel(jobs: Jobs, request: HttpRequest) -> dict[str, Any]:
    jobs.cancel(jobs.find(request.path_params["id"]))
    return {}


def _events(jobs: Jobs, request: HttpRequest) -> Response:
    job: Job = jobs.find(request.path_params["id"])
    return StreamingResponse(stream_events(jobs, job), media_type="text/event-stream")


def _text(engine: Engine, request: HttpRequest) -> dict[str, Any]:
    return engine.texts.find(request.path_params["id"]).record()


def _register(engine: Engine, request: HttpRequest) -> dict[str, Any]:
    """A text that the browser still has, by its token ids."""
    data: Request = request.scope["json"]
    check_names(data, ("prompt_ids", "response_ids", "roles", "model"))
    if string(data, "model", engine.name) != engine.name:
        raise Refused(
            f"the text is of model {data['model'][:80]}, and {engine.name} is loaded", 409
        )
    prompt, response = (
        numbers_below(data, name, 1 << 31, most=most, of="a token id")
        for name, most in (
            ("prompt_ids", engine.limits.prompt_tokens),
            ("response_ids", engine.limits.response_tokens),
        )
    )
    user = read_roles(data, len(prompt), len(response))
    with engine.reading() as tokenizer:
        return engine.register(prompt, response, user, tokenizer).record()


def _export(engine: Engine, request: HttpRequest) -> Response:
    """A trace as the page that needs no server, or as the file that `flowtracer show` reads."""
    data: Request = request.scope["json"]
    check_names(data, ("trace", "format"))
    kind = choice(data, "format", ("html", "json"), "html")
    trace = find_trace(engine, string(data, "trace"))
    content = page_html(trace) if kind == "html" else json.dumps(trace.to_json())
    return _attachment(content, f"trace.{kind}")


def _open_session(engine: Engine, request: HttpRequest) -> dict[str, Any]:
    return open_session(engine, request.scope["json"])


def _save_session(engine: Engine, request: HttpRequest) -> Response:
    content = json.dumps(save_session(engine, request.scope["json"]), separators=(",", ":"))
    return _attachment(content, "session.json")


def _gallery(engine: Engine, request: HttpRequest) -> dict[str, Any]:
    return open_session(engine, gallery_session(request.path_params["name"]))


def _attachment(content: str, name: str) -> Response:
    kind = "text/html" if name.endswith("html") else "application/json"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=kind, headers=headers)


def read_roles(data: Request, prompt: int, response: int) -> list[bool]:
    """Which prompt tokens the user wrote; nobody knows where no roles are given."""
    roles = string(data, "roles", "t" * prompt + "r" * response)
    if len(roles) != prompt + response or set(roles) - set(LETTERS):
        raise Refused(
            f"roles must be one letter of {LETTERS} for each of {prompt + response} tokens"
        )
    return [letter == "u" for letter in roles[:prompt]]
