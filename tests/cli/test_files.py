"""Files are written whole or not at all, in their own place and no other."""

import os
import stat
import threading
from pathlib import Path

import pytest

from imbalance_doctor.render.files import is_stream, pour, write_whole


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def raising(error):
    def act(*_):
        raise error

    return act


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path):
    (tmp_path / "precious").write_text("old")
    for target in ("precious", "nowhere", "/dev/null", "."):
        page = tmp_path / "report.html"
        page.symlink_to(target)
        write_whole(page, "new")
        assert not page.is_symlink()
        assert page.read_text() == "new"
        page.unlink()
    assert (tmp_path / "precious").read_text() == "old"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_a_file_keeps_its_permissions(tmp_path, mode):
    page = tmp_path / "report.html"
    page.write_text("old")
    page.chmod(mode)
    write_whole(page, "new")
    assert page.read_text() == "new"
    assert mode_of(page) == mode


def test_a_new_file_has_those_that_the_user_gives_to_new_files(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "report.html", "new")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "report.html") == 0o640


def test_other_names_of_a_file_are_left_alone(tmp_path):
    (tmp_path / "real").write_text("old")
    os.link(tmp_path / "real", tmp_path / "report.html")
    write_whole(tmp_path / "report.html", "new")
    assert (tmp_path / "real").read_text() == "old"


def test_many_at_once_leave_one_whole_file(tmp_path):
    page = tmp_path / "report.html"
    texts = [letter * 200_000 for letter in "abcdefgh"]
    threads = [threading.Thread(target=write_whole, args=(page, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert page.read_text() in texts
    assert os.listdir(tmp_path) == ["report.html"]


def _a_file_in_the_way(folder):
    (folder / "file").write_text("")
    return folder / "file" / "report.html"


def _a_folder_in_the_way(folder):
    (folder / "report.html").mkdir()
    return folder / "report.html"


IN_THE_WAY = {
    "a name too long": lambda folder: folder / ("x" * 300),
    "a name too long in a new folder": lambda folder: folder / "new" / "deep" / ("x" * 300),
    "a file for a folder": _a_file_in_the_way,
    "a folder": _a_folder_in_the_way,
    "no disk": lambda folder: folder / "report.html",
}


@pytest.mark.parametrize("kind", IN_THE_WAY)
def test_what_cannot_be_written_is_one_sentence_and_leaves_nothing(tmp_path, kind, monkeypatch):
    path = IN_THE_WAY[kind](tmp_path)
    before = sorted(tmp_path.rglob("*"))
    if kind == "no disk":
        monkeypatch.setattr(os, "fsync", raising(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="cannot be written: ") as raised:
        write_whole(path, "new")
    assert str(raised.value).startswith(str(path))
    assert sorted(tmp_path.rglob("*")) == before


def test_an_interrupt_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "report.html").write_text("old")
    monkeypatch.setattr(os, "fsync", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "report.html", "new")
    assert (tmp_path / "report.html").read_text() == "old"
    assert os.listdir(tmp_path) == ["report.html"]


def test_streams_are_told_from_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("")
    for name, target in {"to-pipe": "pipe", "to-null": "/dev/null", "to-file": "file"}.items():
        (tmp_path / name).symlink_to(target)
        assert not is_stream(tmp_path / name)  # or who may write here could send a report anywhere
    assert is_stream(tmp_path / "pipe")
    assert is_stream(Path("/dev/null"))
    assert is_stream(Path("/dev/stdout"))
    assert not is_stream(tmp_path / "file")
    assert not is_stream(tmp_path / "nothing")
    assert not is_stream(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device")
def test_a_full_device_is_one_sentence():
    with pytest.raises(OSError, match="/dev/full: cannot be written: No space left on device"):
        pour(Path("/dev/full"), "x" * 100_000)
