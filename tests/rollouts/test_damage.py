"""Damaged rows and failing machines: what is listed as an error, and what ends the run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra flowtracer[score]")
pyarrow = pytest.importorskip("pyarrow")

from helpers.commands import call  # noqa: E402
from helpers.responses import GOOD  # noqa: E402
from helpers.rollouts import PROMPT, SETTINGS, error_rows, record, table, write  # noqa: E402

from flowtracer.credit import token_credit  # noqa: E402
from flowtracer.rollouts.score import score_files  # noqa: E402


def test_rows_of_a_damaged_page_are_told_one_by_one(tmp_path):
    path = tmp_path / "in.parquet"
    records = [record(number) for number in range(60)]
    parquet.write_table(
        pyarrow.Table.from_pylist(records), path, row_group_size=20, compression="zstd"
    )
    column = parquet.read_metadata(path).row_group(1).column(2)
    data = bytearray(path.read_bytes())
    middle = column.data_page_offset + column.total_compressed_size // 2
    data[middle : middle + 40] = b"\x00" * 40
    path.write_bytes(data)
    counts = score_files(path, tmp_path / "out", SETTINGS, shard_rows=8)
    assert (counts.rows, counts.errors) == (40, 20)
    told = error_rows(tmp_path / "out")
    assert [error["row"] for error in told] == list(range(20, 40))
    assert all("cannot be read" in error["reason"] for error in told)


def test_a_failure_of_the_machine_ends_the_run_and_leaves_the_shard_to_be_done(
    tmp_path, monkeypatch
):
    source = write(tmp_path / "in.jsonl", [record(number) for number in range(20)])
    real = token_credit
    calls = []

    def failing(*args, **more):
        calls.append(args)
        if len(calls) == 2:
            raise RuntimeError("device-side assert")
        return real(*args, **more)

    monkeypatch.setattr("flowtracer.rollouts.worker.token_credit", failing)
    with pytest.raises(RuntimeError, match="device-side assert"):
        score_files(source, tmp_path / "out", SETTINGS, shard_rows=10)
    assert len(list((tmp_path / "out" / "parts").iterdir())) == 1
    counts = score_files(source, tmp_path / "out", SETTINGS, shard_rows=10)
    assert (counts.rows, counts.errors) == (20, 0)


def test_a_row_that_alone_does_not_fit_into_memory_is_told(tmp_path, monkeypatch):
    records = [record(number) for number in range(6)]
    source = write(tmp_path / "in.jsonl", records)
    real = token_credit
    longest = max(len(rollout["response"]) for rollout in records)

    def short_of_memory(model, batch, credit):
        if len(batch.input_ids) > 1 or int(batch.attention_mask.sum()) > 45:
            raise torch.OutOfMemoryError("out of memory")
        return real(model, batch, credit)

    monkeypatch.setattr("flowtracer.rollouts.worker.token_credit", short_of_memory)
    counts = score_files(source, tmp_path / "out", SETTINGS)
    told = error_rows(tmp_path / "out")
    assert counts.rows + counts.errors == 6 and 0 < counts.errors < 6
    assert all(error["reason"] == "out of memory" for error in told)
    assert all(len(records[error["row"]]["response"]) == longest for error in told)


DAMAGED = {
    "is not JSON": '{"prompt": "Make',
    "is not a JSON object": "[1, 2]\n",
    "has no prompt": {"response": GOOD},
    "has no response": {"prompt": PROMPT},
    "is not in a vocabulary": {"prompt_ids": [1, 2], "response_ids": [5, 10**6]},
    "is not a list of integers": {"prompt_ids": "1 2", "response_ids": [5]},
    "empty prompt or response": {"prompt_ids": [1, 2], "response_ids": []},
    "more than --max-tokens": {"prompt_ids": [5] * 300, "response_ids": [6] * 300},
    "advantages for": record(0) | {"advantages": [1.0, 2.0]},
    "is not finite": {**record(0), "advantage": float("nan")},
    "an advantage is not finite": record(0) | {"advantage": 10**400},
    "tool_mask has": record(0) | {"tool_mask": [1]},
    "holds half a character": '{"id": "\\ud83d", "prompt": "Make 33.", "response": "33"}',
    "answer span (5, 2, 1.0) does not fit": record(0) | {"answer": [[5, 2]]},
    "the prompt must be": record(0) | {"prompt": [{"role": "user"}]},
}


def test_damaged_rows_are_told_and_every_good_one_is_scored(tmp_path):
    lines = [json.dumps(record(number)) + "\n" for number in range(60)]
    bad = {}
    for index, (reason, row) in enumerate(DAMAGED.items()):
        text = row if isinstance(row, str) else json.dumps(row)
        bad[4 * index] = reason
        lines.insert(4 * index, text.rstrip("\n") + "\n")
    source = tmp_path / "in.jsonl"
    source.write_bytes("".join(lines).encode() + b'{"prompt": "\xff"}\n')
    bad[len(lines)] = "is not UTF-8 text"
    options = ("--out", "out", "--max-tokens", "400", "--shard-rows", "10")
    ended = call("score", source, *options, cwd=tmp_path)
    assert ended.returncode == 3 and f"{len(bad)} rows could not be scored" in ended.stderr
    told = error_rows(tmp_path / "out")
    assert [error["row"] for error in told] == sorted(bad)
    for error in told:
        assert bad[error["row"]] in error["reason"] and error["file"] == "in.jsonl"
    rows = table(tmp_path / "out")
    assert f"60 scored, {sum(row['answered'] for row in rows)} with an answer (rule" in ended.stdout
    assert len(rows) == 60 and not {row["row"] for row in rows} & set(bad)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["errors"] == len(bad)


def test_few_answers_are_pointed_out_with_the_rule(tmp_path):
    write(tmp_path / "in.jsonl", [record(2), record(2)])
    ended = call("score", "in.jsonl", "--answer", "boxed", cwd=tmp_path)
    assert ended.returncode == 0
    assert "2 scored, 0 with an answer (rule 'boxed')" in ended.stdout
    assert "--answer names the rule" in ended.stderr
    manifest = json.loads((tmp_path / "runs" / "score" / "manifest.json").read_text())
    assert manifest == {"rows": 2, "answered": 0, "errors": 0, "parts": 1}


MEASURED = """
import re
from pathlib import Path
from flowtracer.rollouts.score import score_files
from flowtracer.rollouts.worker import ScoreSettings
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
score_files(Path("small.jsonl"), Path("small"), ScoreSettings("embedded"))
before = peak()
score_files(Path("huge.jsonl"), Path("huge"), ScoreSettings("embedded"))
print(before, peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads peak memory from /proc")
def test_a_huge_row_is_refused_before_it_takes_memory(tmp_path):
    """20 MB of prompt took 6 GB."""
    write(tmp_path / "small.jsonl", [record(0)])
    huge = "18 - 7 = 11, " * 1_600_000
    rows = [record(0) | {"prompt": huge}, record(1), record(0) | {"response": huge}]
    rows.append({"messages": [{"role": "user", "content": huge}], "response": "x"})
    write(tmp_path / "huge.jsonl", rows)
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    before, after = map(float, ended.stdout.split())
    print(f"{before:.0f} MiB before, {after:.0f} MiB at most")
    assert after - before < 600
    told = error_rows(tmp_path / "huge")
    assert [error["row"] for error in told] == [0, 2, 3]
    assert {error["reason"] for error in told} == {"has more than --max-tokens 32,768 tokens"}
