"""Responses as a scorer takes them, and checkpoints for it."""

import random
import threading
from contextlib import contextmanager

import pytest

from helpers.responses import GOOD, NO_BOX, SHORT

PROMPT = "<|user|>Make 33 from {a}, 7, 18.<|end|><|assistant|>"


def token_rows(loaded, count=6, seed=0):
    """Token ids without padding, of several lengths, and the lengths of their prompts."""
    draw = random.Random(seed)
    ids, lengths = [], []
    for number in range(count):
        prompt = PROMPT.format(a=number // 2 % 9 + 1)
        tried = "18 + 7 = 25, 25 + 3 = 28, not 33.\n" * draw.randint(0, 3)
        asked, response = (
            loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (prompt, tried + (GOOD, SHORT, NO_BOX)[number % 3])
        )
        ids.append([*asked, *response])
        lengths.append(len(asked))
    return ids, lengths


def save_checkpoint(loaded, folder, *, scale=1.0):
    """The model in a folder; its first layer's queries are scaled, so that its weights differ."""
    weight = loaded.model.model.layers[2].self_attn.q_proj.weight
    before = weight.detach().clone()
    weight.data *= scale
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    weight.data.copy_(before)
    return folder


@contextmanager
def scoring_app(scorer, *, access=None, **settings):
    """A client of the server's application without a socket; `batcher` is an attribute."""
    pytest.importorskip("starlette")
    from starlette.testclient import TestClient

    from flowtracer.service.app import build_app
    from flowtracer.service.batching import Batcher
    from flowtracer.workbench.guard import LOOPBACK, Access

    batcher = Batcher(scorer, **settings)
    app = build_app(batcher, access or Access(frozenset(LOOPBACK)))
    client = TestClient(app, base_url="http://127.0.0.1:8642")
    client.batcher = batcher
    try:
        yield client
    finally:
        batcher.close()


@contextmanager
def scoring_server(scorer, *, token="", **settings):
    """A server at a socket, in a thread: its address, with the token, and its batcher."""
    uvicorn = pytest.importorskip("uvicorn")
    from flowtracer.service.app import build_app
    from flowtracer.service.batching import Batcher
    from flowtracer.workbench.launch import access_of, address_of, listen

    batcher = Batcher(scorer, **settings)
    with listen("127.0.0.1", 0) as bound:
        app = build_app(batcher, access_of("127.0.0.1", token))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
        thread.start()
        try:
            yield address_of(bound, "127.0.0.1", token), batcher
        finally:
            batcher.close()
            server.should_exit = True
            thread.join(10)
