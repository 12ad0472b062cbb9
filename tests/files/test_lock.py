"""One process at a time writes a run."""

import errno
import os
import subprocess
import sys
import threading

import pytest

from tlx.errors import StorageError
from tlx.files.lock import check_unlocked, locked

fcntl = pytest.importorskip("fcntl")

HOLD = """
import pathlib, sys
from tlx.files.lock import locked
with locked(pathlib.Path(sys.argv[1])) as sign:
    sign()
    print("held", flush=True)
    sys.stdin.read()
"""


def said(process):
    return rf"another process \({process.pid} on .*\) is writing this run: wait for it"


@pytest.fixture
def holder(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_another_process_is_refused_as_long_as_one_holds_it(tmp_path, holder):
    with pytest.raises(StorageError, match=said(holder)), locked(tmp_path):
        pass
    with pytest.raises(StorageError, match=said(holder)):
        check_unlocked(tmp_path)
    holder.stdin.close()
    assert holder.wait() == 0
    check_unlocked(tmp_path)
    with locked(tmp_path):
        pass


def test_a_process_that_was_killed_holds_nothing(tmp_path, holder):
    holder.kill()
    holder.wait()
    with locked(tmp_path):
        pass


def test_it_is_refused_within_a_process_too(tmp_path):
    with locked(tmp_path), pytest.raises(StorageError, match="another process"), locked(tmp_path):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == [".lock"]


def test_a_look_at_a_lock_that_is_just_taken_refuses_nobody(tmp_path):
    """Two commands begin at once: one looks, which takes the lock for a moment, as the other locks."""
    with locked(tmp_path):
        pass
    looking = os.open(tmp_path / ".lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.02, os.close, (looking,)).start()
    with locked(tmp_path):
        pass


def test_a_lock_that_names_nobody_is_told_of_all_the_same(tmp_path):
    with locked(tmp_path):
        (tmp_path / ".lock").write_bytes(b"\xff\0 nonsense")
        with pytest.raises(StorageError, match=f"^{tmp_path}: another process is writing this run"):
            check_unlocked(tmp_path)


def test_a_directory_that_cannot_be_written_needs_no_lock(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tlx.files.lock.os.open", refuse)
    with locked(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch, caplog, code):
    def fail(*_):
        raise OSError(code, "no locks")

    monkeypatch.setattr(fcntl, "flock", fail)
    with locked(tmp_path):
        pass
    assert "is not locked, which its file system cannot (" in caplog.text
