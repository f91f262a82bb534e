import os

import pytest

from captum_heta.files import write_whole


def test_a_file_has_the_text(tmp_path):
    file = tmp_path / "a.json"
    write_whole(str(file), "é\n")
    assert file.read_bytes() == b"\xc3\xa9\n"
    write_whole(file, "other")
    assert file.read_text() == "other"
    assert list(tmp_path.iterdir()) == [file]


def test_half_a_character_is_written_as_json_has_it(tmp_path):
    write_whole(tmp_path / "a", '"\udcff"')
    assert (tmp_path / "a").read_text() == '"\\udcff"'


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, error):
    def fail(_):
        raise error("No space left")

    file = tmp_path / "a"
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(error):
        write_whole(file, "new")
    assert not list(tmp_path.iterdir())
    file.write_text("of before")
    with pytest.raises(error):
        write_whole(file, "new")
    assert file.read_text() == "of before"
    assert list(tmp_path.iterdir()) == [file]


def test_modes_stay(tmp_path):
    plain, file = tmp_path / "plain", tmp_path / "a"
    plain.write_text("")
    write_whole(file, "new")
    assert file.stat().st_mode == plain.stat().st_mode
    file.chmod(0o640)
    write_whole(file, "newer")
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_one(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    write_whole(link, "text")
    assert link.is_symlink()
    assert target.read_text() == "text"


def test_a_name_as_long_as_any(tmp_path):
    file = tmp_path / ("a" * 255)
    write_whole(file, "text")
    assert file.read_text() == "text"


def test_what_is_no_plain_file_is_not_replaced(tmp_path):
    write_whole(os.devnull, "text")
    assert not os.path.isfile(os.devnull)
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path, "text")
    with pytest.raises(OSError, match="No such file"):
        write_whole(tmp_path / "no" / "a", "text")
