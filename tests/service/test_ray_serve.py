"""Replicas of a scorer under Ray Serve, on this machine."""

import os
import socket
from pathlib import Path

import pytest
from helpers.scoring import token_rows

from flowtracer import Scorer, ScorerClient

serve = pytest.importorskip("ray.serve", reason="needs ray[serve]", exc_type=ImportError)
app = pytest.importorskip("flowtracer.service.ray_serve").app

SOURCE = Path(__file__).parents[2] / "src"
TOKEN = "0123456789abcdef"


def test_options_are_checked():
    for arguments, said in (
        ({"models": "embedded"}, "option 'models' is unknown; use model, rule"),
        ({"every": "often"}, "every is 'often'; it must be a number"),
        ({"token": "short"}, "token must have at least 16 characters"),
        ({"hosts": "gpu1"}, "hosts let other machines ask"),
    ):
        with pytest.raises(ValueError, match=said):
            app(arguments)


@pytest.mark.slow
def test_two_replicas_give_the_scorers_weights(embedded):
    import ray

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    paths = f"{SOURCE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    environment = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    ray.init(num_cpus=3, include_dashboard=False, runtime_env={"env_vars": environment})
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(app({"model": "embedded", "replicas": "2", "cpus": "0.5", "token": TOKEN}))
        client = ScorerClient(f"http://127.0.0.1:{port}", token=TOKEN, patience=60)
        ids, lengths = token_rows(embedded, 5)
        expected = Scorer(embedded).weights(ids, lengths)
        assert all(client.weights(ids, lengths) == expected for _ in range(6))
        with pytest.raises(PermissionError, match="the token is missing or wrong"):
            ScorerClient(client.url, token="wrong").info()
        with pytest.raises(ValueError, match="holds 9999"):
            client.weights([[1, 9999]], [1])
    finally:
        serve.shutdown()
        ray.shutdown()
