"""Files of rollouts cut into shards, each read without the others."""

import pytest

parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra flowtracer[score]")
pyarrow = pytest.importorskip("pyarrow")

from flowtracer.rollouts.shards import ShardReader, plan  # noqa: E402


def test_shards_are_read_without_what_is_before_them(tmp_path):
    source = tmp_path / "a.jsonl"
    lines = ['{"n": 0}', "", '{"n": 1}', '{"n": 2}', "  ", '{"n": 3}']
    source.write_text("".join(line + "\n" for line in lines))
    shards = plan([source, source], 3)
    assert [(shard.first, shard.rows) for shard in shards] == [(0, 3), (3, 1), (4, 3), (7, 1)]
    assert [row["n"] for _, row in ShardReader().read(shards[1])] == [3]
    assert [number for number, _ in ShardReader().read(shards[2])] == [4, 5, 6]


def test_shards_of_a_row_group_are_decoded_once(tmp_path, monkeypatch):
    path = tmp_path / "one.parquet"
    parquet.write_table(pyarrow.table({"n": range(2000)}), path)
    opened = []
    real = parquet.ParquetFile
    monkeypatch.setattr(parquet, "ParquetFile", lambda *a, **k: opened.append(a) or real(*a, **k))
    shards = plan([path], 300)
    assert len(shards) == 7 and len(opened) == 1
    reader = ShardReader()
    read = [row["n"] for shard in shards for _, row in reader.read(shard)]
    assert read == list(range(2000)) and len(opened) == 2
    again = [row["n"] for _, row in reader.read(shards[2])]  # one that lies before
    assert again == list(range(600, 900)) and len(opened) == 3
    small = tmp_path / "many.parquet"
    parquet.write_table(pyarrow.table({"n": range(50)}), small, row_group_size=7)
    read = [row["n"] for shard in plan([small], 10)[1:] for _, row in ShardReader().read(shard)]
    assert read == list(range(10, 50))
