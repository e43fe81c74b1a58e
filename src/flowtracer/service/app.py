"""The routes of `flowtracer serve --score`. Errors are `{"error": "one sentence"}`."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from flowtracer.models import ModelError
from flowtracer.service.batching import BODY, Answer, Batcher
from flowtracer.service.wire import MOST_ROWS, MOST_TOKENS, REQUEST_FIELDS
from flowtracer.workbench.endpoints import routed
from flowtracer.workbench.fields import Refused, check_names, string
from flowtracer.workbench.guard import Access, App, guarded


def build_app(batcher: Batcher, access: Access) -> App:
    """The server as an ASGI application, behind the checks of the workbench."""
    handlers: list[tuple[str, str, Callable[..., Any]]] = [
        ("POST", "/api/weights", partial(_weights, batcher)),
        ("GET", "/api/info", partial(_info, batcher)),
        ("POST", "/api/refresh", partial(_refresh, batcher)),
        ("GET", "/health", lambda request: {"status": "ok"}),  # for balancers, which have no token
    ]
    return guarded(routed(handlers), access, {"/api/weights": BODY})


def _weights(batcher: Batcher, request: HttpRequest) -> Future[Response]:
    data = request.scope["json"]
    check_names(data, REQUEST_FIELDS)
    return _respond(batcher.submit(data))


def _respond(answer: Answer) -> Future[Response]:
    """The same future as a response; the answer's own is shared with tries that come again."""
    response: Future[Response] = Future()

    def finish(done: Answer) -> None:
        if not response.set_running_or_notify_cancel():
            return
        error = done.exception()
        if error is not None:
            response.set_exception(error)
        else:
            response.set_result(Response(done.result(), media_type="application/json"))

    answer.add_done_callback(finish)
    return response


def _info(batcher: Batcher, request: HttpRequest) -> dict[str, Any]:
    scorer = batcher.scorer
    return {
        "model": scorer.model_name,
        "rule": scorer.rule,
        "revision": scorer.revision,
        "step": scorer.step,
        "vocabulary": scorer.vocabulary,
        "limits": {
            "rows": MOST_ROWS,
            "tokens": MOST_TOKENS,
            "tokens_of_a_row": scorer.max_tokens,
            "body_bytes": BODY,
        },
        "waiting": batcher.waiting,
        "totals": asdict(batcher.totals),
        "version": version("flowtracer"),
    }


def _refresh(batcher: Batcher, request: HttpRequest) -> dict[str, Any]:
    data = request.scope["json"]
    check_names(data, ("checkpoint",))
    try:
        batcher.scorer.refresh_by_name(string(data, "checkpoint", "", most=200))
    except ModelError as error:
        raise Refused(str(error), 422) from None
    return _info(batcher, request)
