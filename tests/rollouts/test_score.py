"""`flowtracer score` on whole files: the rows are the credit of their rollouts, whatever the format."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra flowtracer[score]")
pyarrow = pytest.importorskip("pyarrow")

from helpers.architectures import tiny_loaded  # noqa: E402
from helpers.rollouts import ENVIRONMENT, SETTINGS, record, table, write  # noqa: E402

from flowtracer.credit import Credit, score_batch, token_credit  # noqa: E402
from flowtracer.rollouts.parts import SETTINGS_FILE  # noqa: E402
from flowtracer.rollouts.score import score_files  # noqa: E402


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("score")
    source = write(folder / "in.jsonl", [record(number) for number in range(20)])
    counts = score_files(source, folder / "out", SETTINGS, shard_rows=7)
    assert (counts.rows, counts.errors, counts.parts) == (20, 0, 3)
    return source, folder / "out"


def test_rows_hold_the_credit_of_their_rollout(scored, embedded):
    rows = table(scored[1])
    assert [row["row"] for row in rows] == list(range(20))
    assert [row["id"] for row in rows] == [f"r{number}" for number in range(20)]
    for row in rows[:3]:
        prompt, ids = (
            row["token_ids"][: row["prompt_tokens"]],
            row["token_ids"][row["prompt_tokens"] :],
        )
        parts = {
            "prompt_ids": torch.tensor([prompt]), "prompt_mask": torch.ones(1, len(prompt)).long(),
            "completion_ids": torch.tensor([ids]), "completion_mask": torch.ones(1, len(ids)).long(),
        }  # fmt: skip
        batch = score_batch(embedded.tokenizer, **parts)
        credit = token_credit(embedded.model, batch, Credit())
        assert row["weight"] == credit.weights[0].tolist()
        assert row["candidate"] == batch.candidates[0].tolist()
        assert row["answer"] == batch.answer[0].tolist()
        torch.testing.assert_close(
            torch.tensor(row["score"]), credit.scores[0], rtol=1e-3, atol=1e-6
        )
        sign = (-1.0) ** row["row"]
        assert row["advantages"] == [sign * w for w in row["weight"][len(prompt) :]]
    assert [row["answered"] for row in rows[:3]] == [True, True, False]
    assert set(rows[2]["weight"]) == {1.0}


def test_text_and_ids_and_parquet_and_parts_of_a_folder_give_the_same_rows(scored, tmp_path):
    rows = table(scored[1])
    records = [
        {
            "id": row["id"],
            "prompt_ids": row["token_ids"][: row["prompt_tokens"]],
            "response_ids": row["token_ids"][row["prompt_tokens"] :],
            "advantages": [(-1.0) ** row["row"]] * (len(row["token_ids"]) - row["prompt_tokens"]),
        }
        for row in rows
    ]
    source = tmp_path / "in"
    source.mkdir()
    write(source / "a.jsonl", records[:9])
    parquet.write_table(
        pyarrow.Table.from_pylist(records[9:]), source / "b.parquet", row_group_size=4
    )
    score_files(source, tmp_path / "out", SETTINGS, shard_rows=7)
    again = table(tmp_path / "out")
    for row, other in zip(rows, again, strict=True):
        scores = torch.tensor(row.pop("score")), torch.tensor(other.pop("score"))
        torch.testing.assert_close(*scores, rtol=1e-3, atol=1e-6)
        assert row == other


FLOWTRACER = ("-m", "flowtracer")
# Ray believes what it is told: a GPU that PyTorch does not see, and cores beside it.
WITH_GPU = (
    "-c",
    "import ray; ray.init(num_cpus=3, num_gpus=1, log_to_driver=False, include_dashboard=False); "
    "from flowtracer.cli.main import main; main()",
)


@pytest.mark.parametrize(
    ("command", "workers"),
    [
        (FLOWTRACER, ("--workers", "2")),
        (WITH_GPU, ()),
        pytest.param(FLOWTRACER, (), marks=pytest.mark.slow),
    ],
    ids=["two", "readers beside a GPU", "default"],
)
def test_workers_of_ray_give_the_same_rows(scored, tmp_path, command, workers):
    pytest.importorskip("ray", reason="needs the extra flowtracer[ray]")
    source, out = scored
    words = ["score", str(source), "--out", "out", "--max-tokens", "400", "--batch-tokens", "2000"]
    ended = subprocess.run(
        [sys.executable, *command, *words, "--shard-rows", "7", "--engine", "ray", *workers],
        cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    for row, other in zip(table(out), table(tmp_path / "out"), strict=True):
        scores = torch.tensor(row.pop("score")), torch.tensor(other.pop("score"))
        torch.testing.assert_close(*scores, rtol=1e-3, atol=1e-6)
        assert row == other


def test_settings_name_the_layers_of_a_hybrid_model(embedded, tmp_path):
    tiny = tiny_loaded("qwen3_next", embedded)
    tiny.model.save_pretrained(tmp_path / "model")
    tiny.tokenizer.save_pretrained(tmp_path / "model")
    source = write(tmp_path / "in.jsonl", [record(0)])
    settings = replace(SETTINGS, model=str(tmp_path / "model"))
    with pytest.warns(UserWarning, match="what layers 0-1, 3-4 of this hybrid model pass on"):
        score_files(source, tmp_path / "out", settings)
    written = json.loads((tmp_path / "out" / SETTINGS_FILE).read_text())
    assert (written["layers"], written["unseen_layers"]) == ([2], [0, 1, 3, 4])
    assert len(table(tmp_path / "out")) == 1


def test_settings_of_a_plain_model_name_no_layers(scored):
    assert "unseen_layers" not in json.loads((scored[1] / SETTINGS_FILE).read_text())
