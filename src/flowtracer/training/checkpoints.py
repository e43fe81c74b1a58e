"""Checkpoints and the trained model on disk: complete and undamaged, or not used.

A folder is complete once its manifest is there, which is written last and holds the size and hash of
every other file.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from flowtracer.storage import MANIFEST_FILE, damaged_file, read_json, write_manifest

STATE_FILE = "trainer_state.json"
# Files of a checkpoint that only a resumed run needs.
RUN_STATE = (MANIFEST_FILE, "optimizer", "scheduler", "rng_state", "trainer_state", "scaler")
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "adapter_config.json")


class CheckpointManifest(TrainerCallback):
    """Writes the manifest of a checkpoint when the trainer has saved all of it."""

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if dist.is_initialized():
            dist.barrier()  # every process saves files of its own
        if state.is_world_process_zero:
            folder = Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"
            write_manifest(folder, (path for path in folder.rglob("*") if path.is_file()))


def checkpoints(folder: Path) -> list[Path]:
    """Folders of checkpoints, the newest first."""
    checkpoints = [path for path in folder.glob("checkpoint-*") if path.name[11:].isdigit()]
    return sorted(checkpoints, key=lambda path: int(path.name[11:]), reverse=True)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end.

    Raises ValueError if it is damaged: what follows from another one would be another result.
    """
    for path in checkpoints(folder):
        if (path / MANIFEST_FILE).exists():
            damaged = damaged_file(path)
            if damaged is not None:
                raise ValueError(
                    f"{damaged} is damaged or missing; delete {path} to go on from the checkpoint "
                    "before it, or pass --restart to begin anew"
                )
            return path
    return None


def is_last_step(checkpoint: Path) -> bool:
    """Whether a checkpoint is that of the run's last step."""
    state = read_json(checkpoint / STATE_FILE, dict)
    return bool(state["global_step"] >= state["max_steps"])


def hand_over(source: Path, folder: Path) -> None:
    """Copy the model out of a folder (a checkpoint, say), with its manifest last."""
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    copies = []
    for path in sorted(source.iterdir()):
        if path.is_file() and not path.name.startswith(RUN_STATE):
            shutil.copyfile(path, folder / path.name)
            copies.append(folder / path.name)
    write_manifest(folder, copies)


def remove_run(folder: Path, files: Iterable[str]) -> None:
    """Delete checkpoints, the trained model and these files, in this order.

    The settings come last: killed in between, the folder still belongs to the earlier run.
    """
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    for path in checkpoints(folder):
        (path / MANIFEST_FILE).unlink(missing_ok=True)  # so that half of one is no checkpoint
        shutil.rmtree(path)
    for pattern in WEIGHTS:
        for path in folder.glob(pattern):
            path.unlink()
    for name in files:
        (folder / name).unlink(missing_ok=True)


def has_run(folder: Path) -> bool:
    """Whether checkpoints or weights of some run are there."""
    weights = any(any(folder.glob(pattern)) for pattern in WEIGHTS)
    return weights or bool(checkpoints(folder)) or (folder / MANIFEST_FILE).exists()
