"""What the system refuses a run ends it with exit code 6 and its last good checkpoint."""

import os
import subprocess
import sys

import pytest

from tlx.training.checkpoint import Checkpoints

pytestmark = pytest.mark.slow
RUN = ["--base", "mlp-mnist", "--base-epochs", "3", "--compare-scratch", "never"]
SHORT, LONG = ("--head-epochs", "3"), ("--head-epochs", "300", "--patience", "None")


def run(out, *options, before=()):
    """Run the command, behind another that traces or limits it; return its exit code and its last words."""
    program = [*before, sys.executable, "-m", "tlx", "finetune", *options, "--out", str(out)]
    environment = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}
    done = subprocess.run(program, capture_output=True, text=True, check=False, env=environment)
    return done.returncode, done.stderr


def limited(what):
    return ("sh", "-c", f'ulimit {what} && exec "$@"', "sh")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [("fsync", "ENOSPC", "No space left on device"), ("rename", "EIO", "Input/output error")],
)
def test_a_call_that_fails_as_a_checkpoint_is_saved(tmp_path, strace, call, error, words):
    """Of the calls for this directory there is one a checkpoint, by the thread that saves: the second fails."""
    place = tmp_path / "run" / "checkpoints" / ".next.partial"
    fail = ("-P", str(place), "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when=2+")
    before = (strace, "-f", "-qq", "-o", os.devnull, *fail)
    code, said = run(tmp_path / "run", *RUN, *LONG, "--checkpoint-every", "0", before=before)
    assert code == 6, said
    assert f"a checkpoint cannot be written ({words}): free the disk or mend the rights, then --resume" in said
    left = Checkpoints(tmp_path / "run" / "checkpoints")
    assert [entry.name for entry in left.directory.iterdir()] == ["1"]
    assert left.latest().step
    left.close()


def test_few_open_files_are_enough(tmp_path):
    code, said = run(tmp_path / "run", *RUN, *SHORT, before=limited("-n 64"))
    assert code == 0, said


def test_too_little_memory_is_told_with_the_cure(tmp_path, shared_data):
    large = ["--base", "cnn-mnist", "--recipe", "full", "--compare-scratch", "never", "--batch-size", "40000"]
    large += ["--head-epochs", "1", "--base-epochs", "0", "--data", f"idx:{shared_data / 'mnist'}"]
    code, said = run(tmp_path / "run", *large, before=limited(f"-v {6 << 20}"))
    assert code == 6, said
    assert "out of memory: lower --batch-size" in said
