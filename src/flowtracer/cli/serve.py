"""`flowtracer serve`: the workbench in the browser, or a scorer for trainers."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

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
        options.option(
            options.SERVER, "Secret that the page or client must know, at least 16 characters."
        ),
    ] = "",
    score: Annotated[
        bool,
        options.option(
            options.SCORER, "Serve weights for trainers (docs/scorer.md) instead of the page."
        ),
    ] = False,
    rule: Annotated[
        str, options.option(options.SCORER, "SCORER[@OPTION=VALUE,...], with --score.")
    ] = "flow",
    checkpoints: Annotated[
        Path | None,
        options.option(
            options.SCORER, "Folder of a trainer's checkpoints to refresh from, with --score."
        ),
    ] = None,
    every: Annotated[
        int, options.option(options.SCORER, "Steps between two refreshes, with --score.", min=1)
    ] = 1,
) -> None:
    """Ask, trace, hide tokens, regenerate and compare, on a page in the browser.

    With --score, a server of weights for trainers instead. Everything runs on this machine; the page loads
    nothing from elsewhere. Ctrl-C ends it.
    """
    with needing("serve"):
        from flowtracer.workbench import launch
    if score and open_file is not None:
        raise ValueError("--open is of the page, and with --score there is none; leave it out")
    if not score and (rule, checkpoints, every) != ("flow", None, 1):
        raise ValueError("--rule, --checkpoints and --every are of the scorer; add --score")
    if checkpoints is not None and not checkpoints.is_dir():
        raise ValueError(f"--checkpoints {checkpoints} is not a folder; create it, or name another")
    from rich.console import Console

    access = launch.access_of(host, token)
    loading: dict[str, Any] = {
        "dtype": dtype, "device": device, "trust_remote_code": trust_remote_code
    }  # fmt: skip
    with launch.listen(host, port) as bound:  # a port in use fails before the model is loaded
        address = launch.address_of(bound, host, token)
        silence_transformers()
        status = Console(stderr=True).status(f"loading {model}")
        if score:
            from flowtracer.service.launch import serve_scorer
            from flowtracer.service.scorer import Scorer

            with status:
                scorer = Scorer(model, rule=rule, checkpoints=checkpoints, every=every, **loading)
            started = partial(_say, f"{model} scores by {rule} at {address}")
            serve_scorer(scorer, bound, access=access, started=started)
        else:
            from flowtracer.models import load
            from flowtracer.workbench.engine import Engine
            from flowtracer.workbench.limits import Limits, context_of
            from flowtracer.workbench.session import read_session

            with status:
                loaded = load(model, **loading)
            limits = Limits(max_prompt_tokens, max_response_tokens, context_of(loaded.model))
            engine = Engine(loaded, limits)
            opened = None if open_file is None else read_session(open_file, engine)

            def ready() -> None:
                _say(f"{model} is ready at {address}")
                if browser and launch.has_display():
                    launch.open_browser(address)

            launch.serve(engine, bound, access=access, opened=opened, started=ready)
    sys.stdout.flush()
    os._exit(0)  # nothing is left to do, and taking torch apart can take seconds


def _say(ready: str) -> None:
    print(f"{ready}\nPress Ctrl-C to end.", flush=True)
