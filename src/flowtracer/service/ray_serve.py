"""Replicas of a scorer under Ray Serve, each with a model and a GPU of its own.

    serve run flowtracer.service.ray_serve:app model=Qwen/Qwen3-0.6B replicas=4 gpus=1

They answer what `flowtracer serve --score` answers, so that `ScorerClient` is their client too.
"""

from collections.abc import Mapping
from typing import Any

from ray import serve
from ray.serve import Application
from starlette.applications import Starlette

from flowtracer.service.app import build_app
from flowtracer.service.batching import WAITING, Batcher
from flowtracer.service.launch import watch
from flowtracer.service.scorer import Scorer
from flowtracer.workbench.guard import LOOPBACK, Access, App, Receive, Scope, Send
from flowtracer.workbench.launch import check_token

_OF_SCORER: dict[str, type] = {
    "model": str, "rule": str, "dtype": str, "device": str, "checkpoints": str, "every": int,
    "max_tokens": int,
}  # fmt: skip
OPTIONS = _OF_SCORER | {
    "token": str, "hosts": str, "replicas": int, "gpus": float, "cpus": float,
}  # fmt: skip


class _Forward:
    """An application that every replica has, before it has one of its own."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await Starlette()(scope, receive, send)
            return
        replica: Any = serve.get_replica_context().servable_object
        await replica.routes(scope, receive, send)


@serve.deployment(name="scorer", max_ongoing_requests=WAITING, max_queued_requests=WAITING)
@serve.ingress(_Forward())
class Replica:
    """A scorer, its queue and its routes."""

    routes: App

    def __init__(self, scorer: Mapping[str, Any], access: Access) -> None:
        """scorer: arguments of `Scorer`."""
        self._batcher = Batcher(Scorer(**scorer))
        self._ended = watch(self._batcher.scorer)
        self.routes = build_app(self._batcher, access)


def app(arguments: Mapping[str, Any]) -> Application:
    """What `serve run` deploys.

    arguments: those of `Scorer` but for `window_tokens`; `token`, the secret of clients; `hosts`, names by
    which the proxy goes, with commas; `replicas`; `gpus` and `cpus` of each.

    Raises ValueError for one that is unknown, and if there are hosts but no token.
    """
    unknown = [name for name in arguments if name not in OPTIONS]
    if unknown:
        raise ValueError(f"option {unknown[0]!r} is unknown; use {', '.join(OPTIONS)}")
    values = {name: _value(name, text) for name, text in arguments.items()}
    token = check_token(values.get("token", ""), "token")
    hosts = [name.strip().lower() for name in values.get("hosts", "").split(",") if name.strip()]
    if hosts and not token:
        raise ValueError("hosts let other machines ask: give a token with at least 16 characters")
    access = Access(frozenset((*LOOPBACK, *hosts)), addresses=bool(token), token=token)
    resources = {f"num_{kind}": values[kind] for kind in ("gpus", "cpus") if kind in values}
    deployment: Any = Replica
    sized = deployment.options(
        num_replicas=values.get("replicas", 1), ray_actor_options=resources or None
    )
    return sized.bind({name: values[name] for name in _OF_SCORER if name in values}, access)


def _value(name: str, text: Any) -> Any:
    try:
        return OPTIONS[name](text)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {text!r}; it must be a number") from None
