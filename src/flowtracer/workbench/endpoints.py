"""Functions as endpoints: results as JSON, and `{"error": "one sentence"}` with the status that fits."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flowtracer.workbench.fields import Refused, one_line


def endpoint(handler: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """A handler in a thread of its own, so that reading a long text holds up nobody.

    handler: its result is a response, something that JSON has, or a Future of either, for which no thread
    waits.
    """

    async def run(request: HttpRequest) -> Response:
        try:
            result = await asyncio.to_thread(handler, request)
            if isinstance(result, Future):
                result = await asyncio.wrap_future(result)
        except (ValueError, HTTPException):
            raise
        except Exception as error:
            message = f"{type(error).__name__}: {one_line(error)}"
            return JSONResponse({"error": message}, 500)
        return result if isinstance(result, Response) else JSONResponse(result)

    return run


async def refused(request: HttpRequest, error: Exception) -> Response:
    """The answer to a request that was refused."""
    if isinstance(error, HTTPException):  # starlette's own, of routes and methods that do not exist
        return JSONResponse({"error": error.detail}, error.status_code)
    status, headers = 400, {}
    if isinstance(error, Refused):
        status = error.status
        if error.retry_after is not None:
            headers = {"retry-after": str(error.retry_after)}
    return JSONResponse({"error": one_line(error)}, status, headers)


EXCEPTION_HANDLERS: Mapping[Any, Any] = {
    Refused: refused, ValueError: refused, HTTPException: refused
}  # fmt: skip


def routed(handlers: Iterable[tuple[str, str, Callable[[HttpRequest], Any]]]) -> Starlette:
    """An application of handlers, each with its method and path."""
    return Starlette(
        routes=[
            Route(path, endpoint(handler), methods=[method]) for method, path, handler in handlers
        ],
        exception_handlers=EXCEPTION_HANDLERS,
    )
