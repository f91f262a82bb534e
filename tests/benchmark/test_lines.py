import json

import pytest

from captum_heta.benchmark.lines import MERGED, Key, Shard, merge, read_lines

LINES = [{"data": "d", "example": f"e{i}", "method": "ü", "value": i} for i in range(3)]
KEYS = [Key("d", f"e{i}", "ü") for i in range(3)]


def test_lines_come_back(tmp_path):
    with Shard(tmp_path) as shard:
        shard.append(LINES[:1])
        shard.append(LINES[1:])
    assert read_lines(tmp_path) == dict(zip(KEYS, LINES, strict=True))


def test_a_process_killed_within_a_line_loses_that_line_alone(tmp_path):
    with Shard(tmp_path) as shard:
        shard.append(LINES)
    whole = shard.path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for length in range(len(whole) + 1):
        shard.path.write_bytes(whole[:length])
        complete = sum(end <= length for end in ends)
        assert list(read_lines(tmp_path)) == KEYS[:complete]  # another process may read it torn
        with Shard(tmp_path) as again:
            again.append(LINES[complete:])
        assert shard.path.read_bytes() == whole


def test_a_line_that_is_broken_elsewhere_is_told(tmp_path):
    (tmp_path / "lines-0.jsonl").write_text('{"data": 1}\n{"data"\n{}\n')
    with pytest.raises(ValueError, match="lines-0.jsonl, line 2 is no JSON: .*Remove the line"):
        read_lines(tmp_path)


def test_two_runs_do_not_write_to_one_file(tmp_path):
    with (
        Shard(tmp_path),
        pytest.raises(RuntimeError, match="Another run writes to .*lines-0.jsonl: wait for it"),
        Shard(tmp_path),
    ):
        pass
    with Shard(tmp_path), Shard(tmp_path, rank=1):
        pass


def test_failures_are_dropped_to_be_tried_again(tmp_path):
    with Shard(tmp_path) as shard:
        shard.append([LINES[0], LINES[1] | {"error": "broken"}])
        shard.drop_failures()
        shard.append([LINES[1]])
    assert list(read_lines(tmp_path).values()) == LINES[:2]


def test_merging_waits_for_all_and_keeps_the_order_asked_for(tmp_path):
    with Shard(tmp_path, 1) as shard:
        shard.append(LINES[1:])
    assert merge(tmp_path, KEYS) is None
    assert not (tmp_path / MERGED).exists()
    with Shard(tmp_path, 0) as shard:
        shard.append([LINES[0], LINES[0] | {"method": "not asked for"}])
    assert merge(tmp_path, KEYS[::-1]) == LINES[::-1]
    assert [json.loads(line) for line in (tmp_path / MERGED).read_text().splitlines()] == LINES[::-1]


def test_what_json_cannot_say_is_not_written(tmp_path):
    with Shard(tmp_path) as shard, pytest.raises(ValueError, match="not JSON compliant"):
        shard.append([LINES[0] | {"value": float("nan")}])
    assert read_lines(tmp_path) == {}
