"""verl's own FSDP engine on this CPU: its model is read, and works as before afterwards."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import nested
from made_engine import make_engine
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu

from flowtracer.credit import Credit, token_credit
from flowtracer.credit.riding import RiddenCredit
from flowtracer.integrations.verl.weights import padded_batch, response_weights
from flowtracer.integrations.verl.worker import autocast, check_readable, tokenizer_of

HERE = Path(__file__).parent


@pytest.fixture(params=["fsdp2", "fsdp"])
def engine(request, process_group):
    return make_engine(request.param)


def log_probs(engine, sequences, packed=False):
    """verl's own pass, micro-batches of two."""
    prompts, responses, masks = sequences
    ids = [torch.cat(pair) for pair in zip(prompts, responses, strict=True)]
    batch = TensorDict(
        {
            "input_ids": nested(ids),
            "position_ids": nested(torch.arange(len(one)) for one in ids),
            "loss_mask": nested(masks),
            "responses": nested(responses),
        },
        batch_size=4,
    )
    settings = {
        "use_dynamic_bsz": False,
        "micro_batch_size_per_gpu": 2,
        "use_remove_padding": packed,
        "use_fused_kernels": False,
        "temperature": 1.0,
        "calculate_entropy": True,
    }
    tu.assign_non_tensor(batch, **settings)
    with engine.eval_mode():
        return engine.infer_batch(batch)["model_output"]


def test_the_engine_gives_the_weights_of_the_plain_model(engine, embedded, data):
    check_readable(engine)
    expected, sums = response_weights(
        embedded.model, embedded.tokenizer, data, Credit(), device="cpu"
    )
    with engine.eval_mode(), autocast(engine):
        weights, counted = response_weights(
            engine.module, tokenizer_of(engine), data, Credit(), device="cpu"
        )
    assert bool((expected.values() == 1.5).any())
    assert torch.equal(weights.values(), expected.values())
    torch.testing.assert_close(counted, sums, rtol=0, atol=1e-5)


@pytest.mark.parametrize("packed", [False, True])
def test_verls_own_pass_shows_every_response_and_is_not_changed(engine, sequences, data, packed):
    before = log_probs(engine, sequences, packed)
    batch = padded_batch(tokenizer_of(engine), data, answer="auto", delimiters=None, device="cpu")
    ridden = RiddenCredit(engine.module, batch, Credit(), by_tokens=True)
    with ridden.observing():
        during = log_probs(engine, sequences, packed)
    assert ridden.complete and ridden.seconds > 0
    for name in ("log_probs", "entropy"):
        assert torch.equal(before[name].values(), during[name].values())
    with engine.eval_mode():
        expected = token_credit(engine.module, batch, Credit())
    assert bool(expected.chosen.any())
    torch.testing.assert_close(ridden.credit().scores, expected.scores, atol=1e-6, rtol=1e-5)


def test_verls_own_pass_is_the_same_before_and_after(engine, sequences, data):
    before = log_probs(engine, sequences)
    with engine.eval_mode():
        response_weights(engine.module, tokenizer_of(engine), data, Credit(), device="cpu")
    after = log_probs(engine, sequences)
    assert float(before["log_probs"].values().exp().max()) > 0.9  # a model that knows its task
    for name in ("log_probs", "entropy"):
        assert torch.equal(before[name].values(), after[name].values())


def test_an_engine_that_cannot_be_read_is_refused(engine, monkeypatch):
    monkeypatch.setattr(engine, "ulysses_sequence_parallel_size", 2)
    with pytest.raises(ValueError, match="needs all of a response"):
        check_readable(engine)
    monkeypatch.setattr(engine, "ulysses_sequence_parallel_size", 1)
    monkeypatch.setattr(engine.model_config.hf_config, "vision_config", {}, raising=False)
    with pytest.raises(ValueError, match="takes images, video or audio"):
        check_readable(engine)


@pytest.mark.parametrize("strategy", ["fsdp2", "fsdp"])
def test_two_processes_that_share_a_model_agree(strategy, tmp_path):
    """The second has nothing to score and makes the first one's forwards with it."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    ended = subprocess.run(
        [*command, str(HERE / "two_processes.py"), strategy, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"out.{rank}") for rank in (0, 1))
    assert first["same"] and second["same"]
    assert first["chosen"] > 10 and second["chosen"] == 0
    assert first["forwards"] == second["forwards"] == 1
