"""`flowtracer serve`: the workbench in the browser."""

import os
import sys
from pathlib import Path
from typing import Annotated

from flowtracer.cli import options
from flowtracer.cli.extras import needing
from flowtracer.cli.progress import silence_transformers


def serve(
    *,
    model: options.Model = "embedded",
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    trust_remote_code: options.TrustRemoteCode = False,
    open_file: Annotated[
        Path | None,
        options.option(
            options.PAGE,
            "A session that the page saved, or a trace.json, to begin with.",
            "--open",
        ),
    ] = None,
    max_prompt_tokens: Annotated[
        int, options.option(options.PAGE, "Most tokens of a prompt.", min=1)
    ] = 4096,
    max_response_tokens: Annotated[
        int, options.option(options.PAGE, "Most tokens of a response.", min=1)
    ] = 4096,
    port: Annotated[
        int, options.option(options.SERVER, "Port; 0 takes any that is free.", min=0, max=65535)
    ] = 8642,
    host: Annotated[
        str,
        options.option(
            options.SERVER, "Address to listen at; any but this machine's own needs --token."
        ),
    ] = "127.0.0.1",
    browser: Annotated[
        bool, options.option(options.SERVER, "Open the page in the browser.")
    ] = True,
    token: Annotated[
        str,
        options.option(options.SERVER, "Secret that the page must know, at least 16 characters."),
    ] = "",
) -> None:
    """Ask, trace, hide tokens, regenerate and compare, on a page in the browser.

    Everything runs on this machine; the page loads nothing from elsewhere. Ctrl-C ends it.
    """
    with needing("serve"):
        from flowtracer.workbench import launch
    from rich.console import Console

    from flowtracer.models import load
    from flowtracer.workbench.engine import Engine
    from flowtracer.workbench.limits import Limits, context_of
    from flowtracer.workbench.session import read_session

    access = launch.access_of(host, token)
    with launch.listen(host, port) as bound:  # a port in use fails before the model is loaded
        silence_transformers()
        with Console(stderr=True).status(f"loading {model}"):
            loaded = load(model, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
        limits = Limits(max_prompt_tokens, max_response_tokens, context_of(loaded.model))
        address = launch.address_of(bound, host, token)

        def started() -> None:
            print(f"{model} is ready at {address}\nPress Ctrl-C to end.", flush=True)
            if browser and launch.has_display():
                launch.open_browser(address)

        engine = Engine(loaded, limits)
        opened = None if open_file is None else read_session(open_file, engine)
        launch.serve(engine, bound, access=access, opened=opened, started=started)
    sys.stdout.flush()
    os._exit(0)  # nothing is left to do, and taking torch apart can take seconds
