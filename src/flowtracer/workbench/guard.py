"""What stands in front of the routes: who may ask, and how much."""

import asyncio
import hmac
import json
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from flowtracer.workbench.fields import Refused, parse_body
from flowtracer.workbench.limits import BODY, SESSION_BODY

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_SECONDS = 30.0  # that a body may take to arrive, our choice
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
BODIES = dict.fromkeys(("/api/session", "/api/save"), SESSION_BODY)
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_ADDRESS = re.compile(r"\[[0-9a-fA-F:.]+\]|[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Access:
    """Who may ask. hosts: names that the server goes by. addresses: whether any IP address is one too.

    An address in Host cannot come from a name that somebody else points here, and a server that listens
    on all of a machine's addresses has several.
    """

    hosts: frozenset[str]
    addresses: bool = False
    token: str = ""


def allowed_host(host: str, access: Access) -> bool:
    """Whether the Host header names this server: against names of others that lead here (rebinding)."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match[1].lower()
    return name in access.hosts or (access.addresses and bool(_ADDRESS.fullmatch(name)))


def allowed_origin(origin: str | None, site: str | None, host: str) -> bool:
    """Whether a request is of our own page, or of no page at all.

    origin, site: the headers Origin and Sec-Fetch-Site, None where there are none.
    """
    if site not in (None, "same-origin", "none"):
        return False
    return origin is None or origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")


def allowed_token(authorization: str, token: str) -> bool:
    """Whether `Bearer TOKEN` holds the token, compared in constant time."""
    return not token or hmac.compare_digest(
        authorization.encode("utf-8", "replace"), f"Bearer {token}".encode()
    )


def check_request(scope: Mapping[str, Any], access: Access) -> None:
    """Raise Refused for a request that is not of our page, or without the token. Reads no body."""
    headers = scope["headers"]
    host = _single(headers, b"host")
    if host is None or not allowed_host(host, access):
        raise Refused("this server does not go by the name in the Host header", 403)
    if not scope["path"].startswith("/api/"):
        return
    origin, site = _single(headers, b"origin"), _single(headers, b"sec-fetch-site")
    if not allowed_origin(origin, site, host):
        raise Refused("requests of other sites are not served", 403)
    if not allowed_token(_single(headers, b"authorization") or "", access.token):
        raise Refused(
            "the token is missing or wrong; open the address that the server printed, or send its token "
            "as `Authorization: Bearer TOKEN`",
            401,
        )


def check_body_headers(headers: Collection[tuple[bytes, bytes]], most: int) -> None:
    """Raise Refused for a body that is not JSON, or says that it is longer than `most` bytes."""
    kind = (_single(headers, b"content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused("the body must be JSON, with content-type application/json", 415)
    if (_single(headers, b"content-encoding") or "identity") != "identity":
        raise Refused("the body must not be compressed", 415)
    length = _single(headers, b"content-length") or "0"
    if not length.isdecimal():
        raise Refused("the header Content-Length is no number")
    if len(length) > 15 or int(length) > most:
        raise too_large(most)


def too_large(most: int) -> Refused:
    """The refusal of a body."""
    return Refused(f"the body is larger than the {most // 1_000_000} MB that are taken", 413)


async def read_body(receive: Receive, most: int) -> bytes:
    """The body; no more than `most` bytes of it are ever held. Raises Refused."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise Refused("the client went away")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > most:
                    raise too_large(most)
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise Refused(f"the body did not arrive within {BODY_SECONDS:g} s", 408) from None


def guarded(app: App, access: Access, bodies: Mapping[str, int] = BODIES) -> App:
    """The app behind the checks, with security headers on every response.

    It finds the parsed body of a POST in `scope["json"]`. bodies: bytes that a body may have, by path, where
    they are not `BODY`.
    """

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await app(scope, receive, send)
            else:
                await receive()
                await send({"type": "websocket.close", "code": 1008})
            return

        async def secured(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                added = [
                    (k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in own
                ]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        try:
            check_request(scope, access)
            if scope["method"] == "POST":
                most = bodies.get(scope["path"], BODY)
                check_body_headers(scope["headers"], most)
                body = await read_body(receive, most)
                scope["json"] = await asyncio.to_thread(parse_body, body)
        except Refused as error:
            await refuse(error, secured)
            return
        await app(scope, receive, secured)

    return guard


async def refuse(error: Refused, send: Send) -> None:
    """Answer with the error as JSON; the connection ends, as its body may not have been read."""
    body = json.dumps({"error": str(error)}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _single(headers: Collection[tuple[bytes, bytes]], name: bytes) -> str | None:
    """The value of a header, None without one. Raises Refused for several."""
    values = [value for key, value in headers if key.lower() == name]
    if len(values) > 1:
        raise Refused(f"the header {name.decode()} is there twice")
    return values[0].decode("latin-1") if values else None
