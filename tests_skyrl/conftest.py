"""SkyRL's trainer on a CPU without workers, and a batch of real responses of the embedded model's task."""

import sys
import typing
from pathlib import Path

import typing_extensions

sys.path.insert(0, str(Path(__file__).parent))
if sys.version_info < (3, 12):
    # SkyRL 0.3.0 has a field of that type, which pydantic accepts from Python 3.12 on only.
    typing.TypedDict = typing_extensions.TypedDict

import pytest
from helpers.plug_ins import PROMPTS, TOOL, sequence_ids

from flowtracer.models import load


class Questions:
    """A data set of two prompts, as `RayPPOTrainer` loads it."""

    def __len__(self):
        return len(PROMPTS)

    def __getitem__(self, index):
        return PROMPTS[index]

    def collate_fn(self, batch):
        return batch


@pytest.fixture(scope="session")
def embedded():
    """A real model and its tokenizer."""
    return load("embedded")


@pytest.fixture
def config():
    """SkyRL's defaults with changes, for a batch of two prompts with two responses each."""
    from flowtracer.integrations.skyrl import FlowTrainConfig

    def make(*changes):
        settings = [
            "trainer.train_batch_size=2",
            "trainer.policy_mini_batch_size=2",
            "trainer.micro_train_batch_size_per_gpu=2",
            "generator.n_samples_per_prompt=2",
            "trainer.policy.model.path=embedded",
            "data.dataloader.num_workers=0",
            "data.dataloader.persistent_workers=false",
            "generator.inference_engine.enable_ray_prometheus_stats=false",
            "flow_credit.model=embedded",
        ]
        return FlowTrainConfig.from_cli_overrides([*settings, *changes])

    return make


class FourRanks:
    """What `convert_to_training_input` asks of the workers."""

    @staticmethod
    def get_lcm_dp_size():
        return 3  # four responses are padded to six


def make_trainer(cls, cfg, tokenizer):
    """A trainer without its workers, which only `build_models` starts."""
    trainer = cls(
        cfg=cfg,
        tracker=None,
        tokenizer=tokenizer,
        train_dataset=Questions(),
        inference_engine_client=None,
        generator=None,
    )
    trainer.dispatch = FourRanks()
    return trainer


def make_batch(trainer, rewards=(1.0, 0.0, 1.0, 0.0), masks=None):
    """SkyRL's own batch of these responses, as its trainer has it before advantages."""
    prompts, responses = sequence_ids(trainer.tokenizer)
    if masks is None:
        masks = [[1] * len(row) for row in responses]
        masks[3][TOOL] = [0] * len(masks[3][TOOL])
    output = {
        "prompt_token_ids": prompts,
        "response_ids": responses,
        "rewards": [
            [0.0] * (len(row) - 1) + [one] for row, one in zip(responses, rewards, strict=True)
        ],
        "loss_masks": masks,
        "rollout_logprobs": [[-0.5 - 0.01 * i for i in range(len(row))] for row in responses],
    }
    data = trainer.convert_to_training_input(output, ["a", "a", "b", "b"])
    data["values"] = data["rollout_logprobs"] / 3
    return data
