"""Rollouts of a run on disk: what is written is read, later steps go, other versions are refused."""

import pyarrow.parquet as parquet
import pytest
from helpers.watched import watched_rollout

from flowtracer.watching.parts import (
    SCHEMA,
    VERSION_KEY,
    logged_steps,
    part_path,
    read_part,
    remove_after,
    write_part,
)


def test_what_is_written_is_read(tmp_path):
    rollouts = [
        watched_rollout(["a", "</script>", "\u202e", "é", ""], step=3),
        watched_rollout(
            [" b"], step=3, row=5, reward=None, advantage=-0.5, scores=None, weights=None
        ),
    ]
    path = write_part(tmp_path, 3, rollouts)
    back = read_part(path)
    assert back[0].tokens == rollouts[0].tokens and back[1].row == 5
    assert back[0].weights == rollouts[0].weights and back[1].weights is None
    assert back[1].reward is None and back[0].rewards == {"correct": 1.0, "format": None}
    assert back[0].answer == [0, 0, 0, 0, 1.0] and back[0].answered


def test_a_run_that_goes_on_makes_later_steps_again(tmp_path):
    for step in (1, 11, 21):
        write_part(tmp_path, step, [watched_rollout(["a"], step=step)])
    (part_path(tmp_path, 1).parent / ".step-000031.parquet.x.partial").write_bytes(b"half")
    remove_after(tmp_path, 11)
    assert logged_steps(tmp_path) == [1, 11]
    assert sorted(path.name for path in (tmp_path / "rollouts").iterdir()) == [
        "step-000001.parquet", "step-000011.parquet",
    ]  # fmt: skip
    remove_after(tmp_path, 0)
    assert logged_steps(tmp_path) == []


def test_another_version_and_damage_are_named(tmp_path):
    path = write_part(tmp_path, 1, [watched_rollout(["a"])])
    table = parquet.read_table(path)
    parquet.write_table(table.replace_schema_metadata({VERSION_KEY: b"9"}), path)
    with pytest.raises(ValueError, match="schema version '9', this flowtracer reads 1"):
        read_part(path)
    parquet.write_table(table.drop_columns(["weight"]), path)
    with pytest.raises(ValueError, match="column 'weight' is missing"):
        read_part(path)
    path.write_bytes(b"PAR1 half")
    with pytest.raises(ValueError, match="no readable Parquet"):
        read_part(path)


def test_the_documented_columns_are_those_of_the_schema():
    from pathlib import Path

    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    for name in SCHEMA.names:
        assert f"| `{name}` |" in text, f"docs/training.md does not describe {name}"
