"""Runs of Axolotl's own pipeline on a CPU, with the embedded model and its task."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

os.environ |= {"HF_HUB_OFFLINE": "1", "AXOLOTL_DO_NOT_TRACK": "1", "DO_NOT_TRACK": "1"}
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import pytest  # noqa: E402
import yaml  # noqa: E402
from axolotl.cli.config import load_cfg  # noqa: E402
from axolotl.common.datasets import load_preference_datasets  # noqa: E402
from axolotl.integrations.base import PluginManager  # noqa: E402
from axolotl.train import train as axolotl_train  # noqa: E402

from flowtracer.integrations.axolotl import PLUGIN  # noqa: E402
from flowtracer.models import load, model_path  # noqa: E402

PROBLEMS = (
    ("33", "3, 7, 18"),
    ("21", "7, 5, 8, 1"),
    ("20", "7, 5, 8"),
    ("12", "4, 5, 3"),
)


@pytest.fixture(scope="session")
def embedded():
    """A real model and its tokenizer."""
    return load("embedded")


@pytest.fixture(autouse=True)
def no_plug_ins():
    """Axolotl has one manager of plug-ins for the process."""
    yield
    manager = PluginManager.get_instance()
    manager.plugins.clear()
    manager._cfg = None


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    """Writes a configuration with changes; its file. Changes under `trl` are merged."""
    folder = tmp_path_factory.mktemp("axolotl")
    data = folder / "train.jsonl"
    rows = [
        {"prompt": [{"role": "user", "content": f"Make {target} from {numbers}."}]}
        for target, numbers in PROBLEMS * 2
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(trl=None, **changes):
        settings = {
            "base_model": str(model_path("embedded")),
            "rl": "grpo",
            "plugins": [PLUGIN],
            "flow_credit": {},
            "trl": {
                "beta": 0.0,
                "max_completion_length": 64,
                "num_generations": 4,
                "reward_funcs": ["task.letters"],
                "loss_type": "grpo",
                "temperature": 1.0,
            }
            | (trl or {}),
            "datasets": [{"path": str(data), "ds_type": "json", "split": "train"}],
            "dataset_num_proc": 1,
            "dataloader_num_workers": 0,
            "val_set_size": 0,
            "sequence_len": 256,
            "micro_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "max_steps": 2,
            "learning_rate": 1e-2,
            "lr_scheduler": "constant",
            "optimizer": "sgd",  # Adam would blow rounding up to the size of a step
            "max_grad_norm": 1.0,
            "bf16": False,
            "fp16": False,
            "attn_implementation": "sdpa",
            "logging_steps": 1,
            "save_strategy": "no",
            "seed": 3,
            "output_dir": str(folder / "out"),
            "dataset_prepared_path": str(folder / "prepared"),
        } | changes
        file = folder / "config.yaml"
        file.write_text(yaml.safe_dump({k: v for k, v in settings.items() if v is not None}))
        return str(file)

    return make


@pytest.fixture
def train(config):
    """Runs Axolotl's own pipeline; its trained model, and what the trainer was seen to do."""

    def run(trainer, **changes):
        import recording

        cfg = load_cfg(config(trainer_cls=f"recording.{trainer}", **changes))
        model, _, made = axolotl_train(cfg, load_preference_datasets(cfg=cfg, cli_args=None))
        seen = getattr(recording, trainer).seen
        return SimpleNamespace(model=model, trainer=made, **vars(seen))

    return run
