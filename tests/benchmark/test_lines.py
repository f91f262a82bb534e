import json

import pytest

from captum_heta.benchmark.lines import MERGED, Shard, as_json, merge, placed_lines, read_lines
from captum_heta.benchmark.shape import Key
from captum_heta.files import write_whole

LINES = [{"data": "d", "example": f"e{i}", "method": "ü", "metrics": {"value": i}} for i in range(3)]
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
            # what lacks its newline alone is whole
            kept = sum(end - 1 <= length for end in ends)
            assert list(read_lines(tmp_path)) == KEYS[:kept]
            again.append(LINES[kept:])
        assert shard.path.read_bytes() == whole


@pytest.mark.parametrize("broken", [b'{"data"', b"{}", b"null", b"\xff", b"[" * 100_000], ids=range(5))
def test_a_line_that_is_broken_elsewhere_is_told_with_its_place_and_the_way_out(tmp_path, broken):
    good = as_json(LINES[0]).encode()
    (tmp_path / "lines-0.jsonl").write_bytes(b"\n".join([good, broken, good, b""]))
    with pytest.raises(ValueError, match=r"lines-0.jsonl, line 2 (is|has|must).*\. Remove the line and run again\."):
        read_lines(tmp_path)
    with Shard(tmp_path) as shard, pytest.raises(ValueError, match="lines-0.jsonl, line 2 "):
        shard.drop_failures()


def test_places_are_those_of_the_files(tmp_path):
    for rank in range(2):
        with Shard(tmp_path, rank) as shard:
            shard.append(LINES[rank : 2 * rank + 1])
    assert [(place.path.name, place.number) for place, _ in placed_lines(tmp_path)] == [
        ("lines-0.jsonl", 1), ("lines-1.jsonl", 1), ("lines-1.jsonl", 2)
    ]  # fmt: skip


@pytest.mark.parametrize("content", [b"my notes", b"one\ntwo", b'{"other": 1', b"\xff"])
def test_what_others_wrote_is_not_cut_off(tmp_path, content):
    path = tmp_path / "lines-0.jsonl"
    path.write_bytes(content)
    line = content.count(b"\n") + 1
    told = f"lines-0.jsonl, line {line} is no line of a benchmark, it begins with b.*Remove the line and run again"
    for _ in range(2):  # the first one left no lock behind
        with pytest.raises(ValueError, match=told), Shard(tmp_path):
            pass
    assert path.read_bytes() == content


def test_zeros_that_a_loss_of_power_left_are_cut_off(tmp_path):
    whole = as_json(LINES[0]).encode()
    for torn, kept in (
        (whole + b"\n\0\0\0", 1),
        (whole + b"\n" + whole[:20] + b"\0\0", 1),
        (whole + b"\0", 1),
        (b"\0", 0),
    ):
        (tmp_path / "lines-0.jsonl").write_bytes(torn)
        with Shard(tmp_path) as shard:
            shard.append(LINES[1:2])
        assert list(read_lines(tmp_path)) == [*KEYS[:kept], KEYS[1]]


def test_half_a_character_is_written_and_comes_back(tmp_path):
    line = LINES[0] | {"example": "a\ud800\\ü"}
    with Shard(tmp_path) as shard:
        shard.append([line])
        shard.drop_failures()
    lines = read_lines(tmp_path)
    (key,) = lines
    assert key.example == "a\ud800\\ü"
    assert merge(tmp_path, lines, [key]) == [line]
    for name in ("lines-0.jsonl", MERGED):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert json.loads(text) == line
        assert "ü" in text  # what UTF-8 has stays readable
    write_whole(tmp_path / "text", as_json("\udfff") + "\n")
    assert (tmp_path / "text").read_text() == '"\\udfff"\n'


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
    assert merge(tmp_path, read_lines(tmp_path), KEYS) is None
    assert not (tmp_path / MERGED).exists()
    with Shard(tmp_path, 0) as shard:
        shard.append([LINES[0], LINES[0] | {"method": "not asked for"}])
    assert merge(tmp_path, read_lines(tmp_path), KEYS[::-1]) == LINES[::-1]
    assert [json.loads(line) for line in (tmp_path / MERGED).read_text().splitlines()] == LINES[::-1]


def test_what_json_cannot_say_is_not_written(tmp_path):
    with Shard(tmp_path) as shard, pytest.raises(ValueError, match="not JSON compliant"):
        shard.append([LINES[0] | {"value": float("nan")}])
    assert read_lines(tmp_path) == {}
