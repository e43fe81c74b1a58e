"""The trainer's part, with verl's own workers, dispatch and TransferQueue in processes of Ray.

Two workers hold verl's FSDP2 engine on the CPU; only sampling (vLLM) and the rest of the loop are left
out. Every assertion is on what lies in TransferQueue after `_compute_advantage`.
"""

import os
from pathlib import Path

import pytest
import ray
import torch
import transfer_queue as tq
from conftest import nested
from omegaconf import OmegaConf
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.single_controller.ray.base import (
    RayClassWithInitArgs,
    RayResourcePool,
    RayWorkerGroup,
    create_colocated_worker_cls,
)
from verl.trainer.ppo.utils import Role
from verl.trainer.ppo.v1 import PPOTrainerSync, get_trainer_cls

import flowtracer
from flowtracer.credit import Credit
from flowtracer.integrations.verl.settings import check_settings
from flowtracer.integrations.verl.trainer import FlowPPOTrainerSync
from flowtracer.integrations.verl.weights import response_weights

HERE = Path(__file__).parent
SOURCE = Path(flowtracer.__file__).parent.parent
KEYS = ["one_0_0", "one_1_0", "two_0_0", "two_1_0"]  # uid, session, output: verl's format
SCORES = (1.0, 0.0, 1.0, 0.0)


@pytest.fixture(scope="module")
def cluster():
    """A Ray of this machine whose processes find the CPU platform and this checkout."""
    path = os.pathsep.join([str(HERE), str(SOURCE)])
    names = ("VERL_USE_EXTERNAL_MODULES", "VERL_ENGINE_DEVICE")
    environment = {name: os.environ[name] for name in names}
    environment |= {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    ray.init(
        num_cpus=8,
        include_dashboard=False,
        runtime_env={"env_vars": environment},
        log_to_driver=False,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def queue(cluster):
    tq.init(OmegaConf.create({"backend": {"SimpleStorage": {"num_data_storage_units": 1}}}))
    yield
    tq.close()


@pytest.fixture
def trainer(verl_config):
    """The trainer as far as the advantage needs it: its own constructor, no rollout engine."""

    def make(*changes, kind=FlowPPOTrainerSync, workers=None):
        one = kind(verl_config(*changes))
        one.actor_rollout_wg = workers
        return one

    return make


@pytest.fixture(scope="module")
def workers(cluster):
    """Two workers of the class that the trainer chooses, made as verl's trainer makes them."""
    from conftest import verl_config as fixture

    config = fixture.__wrapped__()("+flow_credit={}")
    one = FlowPPOTrainerSync(config)
    one._init_resource_pool_mgr()
    (role,) = [role for role in one.role_worker_mapping if role is not Role.Critic]
    made = RayClassWithInitArgs(
        cls=one.role_worker_mapping[role],
        config=config.actor_rollout_ref,
        distillation_config=None,
        role="actor",  # without the rollout engine, which needs a GPU
    )
    group = RayWorkerGroup(
        resource_pool=RayResourcePool([2], use_gpu=False, max_colocate_count=1),
        ray_cls_with_init=create_colocated_worker_cls({"actor": made}),
        device_name="cpu",
    ).spawn(prefix_set=["actor"])["actor"]
    group.init_model()
    return group


@pytest.fixture
def batch(queue, sequences):
    """What sampling, rewards and the log-probability pass leave in the queue."""
    prompts, responses, masks = sequences
    rewards = [torch.zeros(len(one)) for one in responses]
    for reward, score in zip(rewards, SCORES, strict=True):
        reward[-1] = score
    ids = [torch.cat(pair) for pair in zip(prompts, responses, strict=True)]
    fields = TensorDict(
        {
            "input_ids": nested(ids),
            "position_ids": nested(torch.arange(len(one)) for one in ids),
            "loss_mask": nested(masks),
            "prompts": nested(prompts),
            "responses": nested(responses),
            "response_mask": nested(masks),
            "rm_scores": nested(rewards),
            "old_log_probs": nested(torch.full((len(one),), -0.5) for one in responses),
            "uid": [key.split("_")[0] for key in KEYS],
        },
        batch_size=4,
    )
    meta = tq.kv_batch_put(keys=KEYS, partition_id="train", fields=fields, tags=[{}] * 4)
    yield KVBatchMeta(keys=KEYS, tags=[{}] * 4, partition_id="train", fields=meta.fields)
    tq.kv_clear(keys=KEYS, partition_id="train")


def stored(name):
    return tq.kv_batch_get(keys=KEYS, partition_id="train", select_fields=[name])[name]


def test_advantages_are_verls_times_the_weights(trainer, workers, batch, embedded, data):
    plain = trainer(kind=PPOTrainerSync)
    plain._compute_advantage(batch, {})
    before = stored("advantages")
    metrics = {}
    trainer(workers=workers)._compute_advantage(batch, metrics)
    after = stored("advantages")
    expected, _ = response_weights(
        embedded.model,
        embedded.tokenizer,
        {**data, "advantages": before},
        Credit(),
        device="cpu",
    )
    assert torch.equal(after.offsets(), before.offsets())
    for row in range(4):
        assert float(before[row].abs().max()) > 0.5
        assert torch.equal(after[row], before[row] * expected[row])
        own = data["response_mask"][row].bool()
        assert torch.equal(after[row][~own], before[row][~own])  # tool output
    assert torch.equal(after[1], before[1])  # no answer
    assert sum(bool((row == 1.5).any()) for row in expected.unbind()) == 3
    assert metrics["credit/no_answer"] == 0.25 and metrics["credit/responses"] == 3
    assert 0.4 <= metrics["credit/selected"] < 0.45 and metrics["credit/seconds"] > 0


def test_emphasis_one_is_verls_own_bit_by_bit(trainer, batch):
    trainer(kind=PPOTrainerSync)._compute_advantage(batch, {})
    before = stored("advantages")
    metrics = {}
    # No workers: nothing may be asked of them.
    trainer("+flow_credit.emphasis=1")._compute_advantage(batch, metrics)
    assert torch.equal(stored("advantages").values(), before.values())
    assert not [name for name in metrics if name.startswith("credit/")]


def test_the_settings_reach_the_workers(trainer, workers, batch):
    metrics = {}
    one = trainer("+flow_credit.emphasis=3", "+flow_credit.ratio=0.1", workers=workers)
    one._compute_advantage(batch, metrics)
    assert 0.1 <= metrics["credit/selected"] < 0.15
    assert metrics["credit/mean_weight"] == pytest.approx(1 + 2 * metrics["credit/selected"])


def test_without_the_other_pass_nothing_changes(trainer, workers, batch):
    """`bypass_mode` leaves verl's log-probability pass out; credit does not hang on it."""
    trainer(workers=workers)._compute_advantage(batch, {})
    expected = stored("advantages")
    bypass = trainer("algorithm.rollout_correction.bypass_mode=true", workers=workers)
    bypass._compute_advantage(batch, {})
    assert torch.equal(stored("advantages").values(), expected.values())


@pytest.mark.parametrize("packed", [False, True])
def test_weights_out_of_verls_own_pass_are_those_of_another(
    trainer, workers, batch, packed, monkeypatch
):
    metrics, ridden = {}, {}
    quiet = "actor_rollout_ref.rollout.calculate_log_probs=false"
    trainer(quiet, workers=workers)._compute_advantage(batch, metrics)
    expected = stored("advantages")
    one = trainer(quiet, "+flow_credit.credit_forward=ride", workers=workers)
    batch.extra_info["use_remove_padding"] = packed
    after = one._compute_old_log_prob(batch, ridden)
    assert "flow_credit" not in batch.extra_info and "flow_credit" not in after.extra_info
    # Nothing more may be asked of the workers.
    monkeypatch.setattr(workers, "compute_flow_weights", None)
    one._compute_advantage(after, ridden)
    assert torch.equal(stored("advantages").values(), expected.values())
    for name in ("selected", "mean_weight", "no_answer", "responses", "concentration"):
        assert ridden[f"credit/{name}"] == pytest.approx(metrics[f"credit/{name}"], abs=1e-5)


def test_groups_without_spread_cost_nothing(trainer, workers, batch):
    flat = nested(one * 0 for one in stored("rm_scores").unbind())
    tq.kv_batch_put(
        keys=KEYS, partition_id="train", fields=TensorDict({"rm_scores": flat}, batch_size=4)
    )
    metrics = {}
    trainer(workers=workers)._compute_advantage(batch, metrics)
    assert metrics["credit/responses"] == 0 and metrics["credit/mean_weight"] == 1.0


def test_the_mode_is_sync_for_verl(trainer):
    one = trainer("trainer.v1.trainer_mode=flow_sync")
    assert get_trainer_cls("flow_sync") is FlowPPOTrainerSync
    assert one.trainer_mode == "sync" and one.config.trainer.v1.trainer_mode == "sync"
    assert type(one.replay_buffer) is type(trainer(kind=PPOTrainerSync).replay_buffer)
    assert check_settings(one.config) == Credit()


def test_layers_that_the_model_does_not_have_are_refused_before_any_worker_is_started(trainer):
    one = trainer("+flow_credit={layers: 20-30}")
    with pytest.raises(ValueError, match="layers: 20 does not exist; this model has layers 0 to"):
        one._init_tokenizer()
    one = trainer("+flow_credit={layers: 1-2}")
    one._init_tokenizer()
    assert one.tokenizer.vocab_size


def test_a_step_of_verl_trains_on_the_credited_advantages(trainer, workers, batch, data):
    """Its log-probabilities, advantages and actor update, one after the other as in its own step."""
    one = trainer(
        "actor_rollout_ref.rollout.calculate_log_probs=false",
        workers=workers,
    )
    metrics = {}
    for part in (one._compute_old_log_prob, one._compute_advantage, one._update_actor):
        batch = part(batch, metrics)
    advantages = stored("advantages")
    # On policy every ratio is 1: the loss is minus the mean over responses of their mean advantage.
    means = [
        float(advantages[row][mask.bool()].mean())
        for row, mask in enumerate(data["response_mask"].unbind())
    ]
    assert [value > 0 for value in means] == [True, False, True, False]
    assert abs(means[0]) > 1.1 * abs(means[1])  # by the weights; the second has no answer
    assert metrics["actor/pg_loss"] == pytest.approx(-sum(means) / 4, abs=1e-5)
    assert metrics["actor/grad_norm"] > 0
