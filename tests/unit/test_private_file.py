"""A file of its owner's is replaced whole, or stays as it was."""

import os

import pytest

from tallystick.private_file import replace_private


@pytest.mark.parametrize("is_synced", [False, True])
def test_a_file_is_replaced_whole_and_nobody_else_may_read_it(tmp_path, is_synced):
    path = tmp_path / "1.json"
    path.write_bytes(b"old")
    path.chmod(0o644)
    replace_private(path, b"new", is_synced=is_synced)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "1.json"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        replace_private(path, b"new", is_synced=True)
    assert path.read_bytes() == b"old"
