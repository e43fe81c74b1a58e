"""verl on this machine's CPU, and a batch of real responses of the embedded model's task."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
# Before verl is imported anywhere, also in processes that Ray starts.
os.environ["VERL_USE_EXTERNAL_MODULES"] = "cpu_platform"
os.environ["VERL_ENGINE_DEVICE"] = "cuda"  # the name under which verl registers its FSDP engine
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
)

import pytest  # noqa: E402
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from hydra import compose, initialize_config_module  # noqa: E402

from flowtracer.models import load, model_path  # noqa: E402


@pytest.fixture(scope="session")
def embedded():
    """A real model and its tokenizer."""
    return load("embedded")


@pytest.fixture(scope="session")
def process_group(tmp_path_factory):
    """One process that is its own group."""
    store = tmp_path_factory.mktemp("group") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture
def verl_config():
    """verl's own configuration with changes."""

    def make(*changes):
        settings = [
            f"actor_rollout_ref.model.path={model_path('embedded')}",
            "actor_rollout_ref.model.use_remove_padding=False",
            "actor_rollout_ref.model.enable_gradient_checkpointing=False",
            "+actor_rollout_ref.model.override_config.attn_implementation=sdpa",
            "actor_rollout_ref.actor.strategy=fsdp2",
            "actor_rollout_ref.actor.fsdp_config.strategy=fsdp2",
            "actor_rollout_ref.actor.fsdp_config.model_dtype=fp32",
            f"+actor_rollout_ref.actor.fsdp_config.mixed_precision={FULL_PRECISION}",
            "actor_rollout_ref.actor.fsdp_config.use_torch_compile=False",
            "actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean",
            "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=2",
            "actor_rollout_ref.actor.ppo_mini_batch_size=2",
            "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=2",
            "actor_rollout_ref.rollout.n=2",
            "actor_rollout_ref.rollout.name=vllm",
            "algorithm.adv_estimator=grpo",
            "data.train_batch_size=2",
            "trainer.device=cpu",
            "trainer.n_gpus_per_node=2",
            "trainer.nnodes=1",
        ]
        with initialize_config_module("verl.trainer.config", version_base=None):
            return compose("ppo_trainer", overrides=[*settings, *changes])

    return make


FULL_PRECISION = "{param_dtype: fp32, reduce_dtype: fp32, buffer_dtype: fp32}"
PROMPTS = ("Make 33 from 3, 7, 18.", "Make 21 from 7, 5, 8, 1.")
RESPONSES = (
    "18 + 7 = 25, 25 + 3 = 28, not 33.\n18 - 7 = 11, 11 * 3 = 33, yes.\n\\boxed{(18 - 7) * 3}<|end|>",
    "18 + 7 = 25, 25 + 3 = 28, not 33.\n",  # no answer
    "8 * 7 = 56, 56 - 5 = 51, not 21.\n7 * 1 = 7.\n\\boxed{(8 - 5) * 7}<|end|>",
    "8 - 5 = 3, 3 * 7 = 21, yes.\n\\boxed{(8 - 5) * 7}<|end|>",
)


def nested(rows):
    return torch.nested.as_nested_tensor(list(rows), layout=torch.jagged)


def make_sequences(tokenizer):
    """Four responses to two prompts of different lengths, as lists of ids, and what a model wrote."""

    def ids(text):
        return torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])

    prompts = [ids(f"<|user|>{one}<|end|><|assistant|>") for one in PROMPTS for _ in range(2)]
    responses = [ids(one) for one in RESPONSES]
    masks = [torch.ones(len(one), dtype=torch.long) for one in responses]
    masks[3][3:9] = 0  # what a tool wrote
    return prompts, responses, masks


def make_data(sequences, values):
    """What a worker gets, jagged, every response with one advantage."""
    prompts, responses, masks = sequences
    return {
        "prompts": nested(prompts),
        "responses": nested(responses),
        "response_mask": nested(masks),
        "advantages": nested(value * mask for mask, value in zip(masks, values, strict=True)),
    }


@pytest.fixture
def sequences(embedded):
    return make_sequences(embedded.tokenizer)


@pytest.fixture
def data(sequences):
    """The third response has no advantage."""
    return make_data(sequences, (1.0, -1.0, 0.0, -0.5))
