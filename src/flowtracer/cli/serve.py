"""`flowtracer serve`: the workbench in the browser."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from flowtracer.cli.extras import needing
from flowtracer.cli.progress import silence_transformers


def serve(
    *,
    model: Annotated[
        str,
        typer.Option(help="Hub id, folder, .gguf file, or 'embedded' (a small Countdown model)."),
    ] = "embedded",
    open_file: Annotated[
        Path | None,
        typer.Option(
            "--open", help="A session that the page saved, or a trace.json, to begin with."
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port; 0 takes any that is free.")
    ] = 8642,
    host: Annotated[
        str,
        typer.Option(help="Address to listen at; any but this machine's own needs --token."),
    ] = "127.0.0.1",
    token: Annotated[
        str, typer.Option(help="Secret that the page must know, at least 16 characters.")
    ] = "",
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    max_prompt_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens of a prompt at most.")
    ] = 4096,
    max_response_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens of a response at most.")
    ] = 4096,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
    ] = False,
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
