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

from flowtracer.models import load

PROMPTS = ("Make 33 from 3, 7, 18.", "Make 21 from 7, 5, 8, 1.")
RESPONSES = (
    "18 + 7 = 25, 25 + 3 = 28, not 33.\n18 - 7 = 11, 11 * 3 = 33, yes.\n\\boxed{(18 - 7) * 3}<|end|>",
    "18 + 7 = 25, 25 + 3 = 28, not 33.\n",  # no answer
    "8 * 7 = 56, 56 - 5 = 51, not 21.\n7 * 1 = 7.\n\\boxed{(8 - 5) * 7}<|end|>",
    "8 - 5 = 3, 3 * 7 = 21, yes.\n\\boxed{(8 - 5) * 7}<|end|>",
)
TOOL = slice(3, 9)  # tokens of the last response that a tool wrote


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
    tokenizer = trainer.tokenizer

    def ids(text):
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    responses = [ids(text) for text in RESPONSES]
    if masks is None:
        masks = [[1] * len(row) for row in responses]
        masks[3][TOOL] = [0] * len(masks[3][TOOL])
    output = {
        "prompt_token_ids": [
            ids(f"<|user|>{PROMPTS[i // 2]}<|end|><|assistant|>") for i in range(4)
        ],
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
