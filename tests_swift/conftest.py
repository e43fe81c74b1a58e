"""Runs of ms-swift's own command on a CPU, with the embedded model and its task."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("HF_HUB_OFFLINE", "1")
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import pytest  # noqa: E402
from swift.pipelines.train.rlhf import SwiftRLHF  # noqa: E402
from swift.trainers import TrainerFactory  # noqa: E402

from flowtracer.credit import Credit  # noqa: E402
from flowtracer.models import load, model_path  # noqa: E402

PROBLEMS = (
    ("33", "3, 7, 18"),
    ("21", "7, 5, 8, 1"),
    ("20", "7, 5, 8"),
    ("12", "4, 5, 3"),
)
SWIFTS_OWN = TrainerFactory.TRAINER_MAPPING["grpo"]


@pytest.fixture(scope="session")
def embedded():
    """A real model and its tokenizer."""
    return load("embedded")


@pytest.fixture(autouse=True)
def swifts_own_trainer():
    """Takes back what a plug-in put into swift's table."""
    yield
    TrainerFactory.TRAINER_MAPPING["grpo"] = SWIFTS_OWN


@pytest.fixture(scope="session")
def arguments(tmp_path_factory):
    """Makes the arguments of `swift rlhf --rlhf_type grpo` with changes."""
    folder = tmp_path_factory.mktemp("swift")
    data = folder / "train.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": f"Make {target} from {numbers}."}]}
        for target, numbers in PROBLEMS
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(**changes):
        settings = {
            "rlhf_type": "grpo",
            "model": model_path("embedded"),
            "model_type": "qwen3",
            "template": "embedded",
            "check_model": False,  # asks a hub
            "tuner_type": "full",
            "torch_dtype": "float32",
            "dataset": data,
            "split_dataset_ratio": 0,
            "dataset_num_proc": 1,
            "dataloader_num_workers": 0,
            "reward_funcs": "letters",
            "use_vllm": False,
            "max_completion_length": 64,
            "num_generations": 4,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "max_steps": 2,
            "learning_rate": 1e-2,
            "lr_scheduler_type": "constant",
            "warmup_ratio": 0,
            "optim": "sgd",  # Adam would blow rounding up to the size of a step
            "beta": 0,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "output_dir": folder / "out",
            "external_plugins": HERE / "task.py",
        } | changes
        return [word for name, value in settings.items() for word in (f"--{name}", str(value))]

    return make


@pytest.fixture(scope="session")
def train(arguments):
    """Runs swift's own pipeline; its trained model, and what the trainer was seen to do."""

    def run(trainer, **changes):
        recording = f"recording.{trainer}"
        TrainerFactory.TRAINER_MAPPING["grpo"] = recording
        pipeline = SwiftRLHF(arguments(**changes))
        TrainerFactory.TRAINER_MAPPING["grpo"] = recording  # also if a plug-in named another
        pipeline.main()
        import recording as module

        seen = getattr(module, trainer).seen
        return SimpleNamespace(model=pipeline.model, **vars(seen))

    return run


@pytest.fixture(scope="session")
def trainer(train):
    """A trainer with credit, after a step."""
    import recording

    recording.Flow.credit = Credit()
    return train("Flow", max_steps=1, gradient_accumulation_steps=1).trainer
