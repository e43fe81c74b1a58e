"""Start the server: a socket first, then the model, then the page in the browser."""

import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote

import uvicorn

from flowtracer.workbench.app import build_app
from flowtracer.workbench.engine import Engine
from flowtracer.workbench.guard import LOOPBACK, Access, App
from flowtracer.workbench.jobs import Jobs

SHORTEST_TOKEN = 16  # characters, our choice
GRACE = 1  # second for streams to end, our choice: Ctrl-C ends at once


def access_of(host: str, token: str) -> Access:
    """Who may ask a server at this address. Raises ValueError for an open one without a token."""
    check_token(token, "--token")
    if is_loopback(host):
        return Access(frozenset(LOOPBACK), token=token)
    if not token:
        raise ValueError(
            f"--host {host} lets other machines ask this one: give --token with at least "
            f"{SHORTEST_TOKEN} characters, or leave --host out"
        )
    names = {host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
    return Access(frozenset((*LOOPBACK, *names)), addresses=True, token=token)


def check_token(token: str, option: str) -> str:
    """The token. Raises ValueError, naming the option, for one that is short or cannot be sent."""
    if token and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise ValueError(
            f"{option} must have at least {SHORTEST_TOKEN} characters, all of them plain ASCII"
        )
    return token


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket at the address; port 0 takes any that is free. Raises ValueError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise ValueError(
            f"port {port} at {host} cannot be used: {error.strerror}; choose another with --port, or any "
            "free one with --port 0"
        ) from None
    return bound


def address_of(bound: socket.socket, host: str, token: str) -> str:
    """What to open in a browser. The token stands in the fragment, which is sent to nobody."""
    port = bound.getsockname()[1]
    name = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    name = f"[{name}]" if ":" in name else name
    return f"http://{name}:{port}/" + (f"#token={quote(token, safe='')}" if token else "")


def has_display() -> bool:
    """Whether a browser could show something here."""
    return sys.platform in ("win32", "darwin") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


class _Server(uvicorn.Server):
    """Uvicorn that ends all work, and with it all answers, as soon as it is asked to end."""

    def __init__(
        self, config: uvicorn.Config, close: Callable[[], object], started: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._close = close
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but the signal ends the server and is not raised again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Called in the main thread, between two of its instructions: so another one ends the work."""
        threading.Thread(target=self._close, daemon=True).start()
        super().handle_exit(sig, frame)


def serve(
    engine: Engine,
    bound: socket.socket,
    *,
    access: Access,
    opened: dict[str, Any] | None = None,
    started: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGINT or SIGTERM. The worker may still be in a forward pass then, which nobody waits for.

    started: called when the server answers.
    """
    jobs = Jobs()
    jobs.warm_up(engine.warm_up)
    run_app(build_app(engine, jobs, access, opened), bound, close=jobs.close, started=started)


def run_app(
    app: App, bound: socket.socket, *, close: Callable[[], object], started: Callable[[], None]
) -> None:
    """Serve an application until SIGINT or SIGTERM. close: ends its work; called then and afterwards."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=GRACE,
    )
    _Server(config, close, started).run(sockets=[bound])
    close()


def open_browser(address: str) -> None:
    """Show the page, without waiting for the browser."""
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
