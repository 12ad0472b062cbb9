"""Whatever a power cut leaves of what a run has written, there is a whole checkpoint, and the metrics up to it.

A cut may lose any write that was not followed by fsync of the file, and any name that was not followed by fsync of its
directory, and keep any removal. strace tells what a run does to its directory, the test what is safe after each call.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
CALLS = "openat,write,pwrite64,ftruncate,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,fsync,fdatasync"
RUN = ["--base", "mlp-mnist", "--head-epochs", "3", "--base-epochs", "3", "--compare-scratch", "never"]


@pytest.fixture(scope="module")
def calls(tmp_path_factory, strace):
    """What a run that saves as often as it can does to its directory: calls and their arguments, in order."""
    folder = tmp_path_factory.mktemp("traced")
    trace = [strace, "-f", "-qq", "-y", "-s", "0", "-z", "-o", str(folder / "trace"), "-e", f"trace={CALLS}"]
    program = [sys.executable, "-m", "tlx", "finetune", *RUN, "--checkpoint-every", "0", "--out", str(folder / "run")]
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}
    done = subprocess.run([*trace, *program], capture_output=True, text=True, check=False, env=environment)
    assert not done.returncode, done.stderr
    return folder / "run", list(parsed((folder / "trace").read_text(errors="replace").splitlines()))


def parsed(lines):
    """Yield calls and their arguments; one that was interrupted by another thread's counts when it ended."""
    begun = {}
    for line in lines:
        thread, _, said = line.partition(" ")
        said = said.strip()
        if said.endswith("<unfinished ...>"):
            begun[thread] = said.removesuffix("<unfinished ...>")
            continue
        if resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", said):
            said = begun.pop(thread, "") + resumed[1]
        if call := re.match(r"(\w+)\((.*)\) += (\S+)", said):
            yield call[1], call[2], call[3]


@dataclass
class Disk:
    """What would be left: files and directories with changes that are not safe, checkpoints that are."""

    run: Path
    files: set[str] = field(default_factory=set)
    directories: set[str] = field(default_factory=set)
    renamed: dict[str, bool] = field(default_factory=dict)  # checkpoints: was all of it safe before it had its name?
    safe: set[str] = field(default_factory=set)
    lost: list[str] = field(default_factory=list)
    saved: int = 0

    def after(self, call, arguments, value):
        found = re.findall(r'"([^"]*)"|<(/[^>]*)>', f"{arguments} {value}")
        paths = [path for path in (named or opened for named, opened in found) if path.startswith(str(self.run))]
        if not paths:
            return
        if call == "openat" and "O_CREAT" in arguments:
            self.files.add(paths[-1])
            self.directories.add(os.path.dirname(paths[-1]))
        elif call in ("write", "pwrite64", "ftruncate"):
            self.files.add(paths[0])
        elif call in ("mkdir", "mkdirat"):
            self.directories |= {paths[-1], os.path.dirname(paths[-1])}
        elif call in ("fsync", "fdatasync"):
            self.sync(paths[0])
        elif call.startswith("rename"):
            self.rename(*paths[-2:])
        elif call in ("unlink", "unlinkat", "rmdir"):
            self.files.discard(paths[-1])
            self.safe -= {name for name in self.safe if f"{paths[-1]}/".startswith(f"{self.run}/checkpoints/{name}/")}
        if self.saved and not self.safe:
            self.lost.append(f"{call}({arguments})")

    def sync(self, path):
        self.files.discard(path)
        self.directories.discard(path)
        if path == f"{self.run}/checkpoints":
            for name in [name for name, whole in self.renamed.items() if whole]:
                self.safe.add(name)
                self.saved += 1
            self.renamed.clear()

    def rename(self, origin, place):
        self.directories |= {os.path.dirname(origin), os.path.dirname(place)}
        for unsafe in (self.files, self.directories):
            for path in [path for path in unsafe if path == origin or path.startswith(f"{origin}/")]:
                unsafe.remove(path)
                unsafe.add(place + path.removeprefix(origin))
        checkpoints, _, name = place.rpartition("/")
        if checkpoints == f"{self.run}/checkpoints" and name.isdecimal():
            pending = {path for path in self.files | self.directories if f"{path}/".startswith(f"{place}/")}
            self.renamed[name] = not pending and f"{self.run}/metrics.jsonl" not in self.files


def test_a_whole_checkpoint_is_left_wherever_the_power_is_cut(calls):
    run, done = calls
    disk = Disk(run)
    for call in done:
        disk.after(*call)
    assert disk.saved >= 4
    assert not disk.lost
    assert not {path for path in disk.files if path.endswith((".json", ".jsonl", ".safetensors", ".npz", ".yaml"))}


@pytest.mark.parametrize("left_out", ["file", "directory", "name"])
def test_it_would_notice_what_is_not_synced(calls, left_out):
    """Leave out what brings files, directories or the new name to the disk: nothing is safe any more."""
    run, done = calls
    disk = Disk(run)
    for call, arguments, value in done:
        path = (re.findall(r"<(/[^>]*)>", arguments) or [""])[0]
        if call == "fsync" and "/checkpoints" in path:
            kind = (
                "name" if path.endswith("/checkpoints") else "directory" if Path(path).suffix == ".partial" else "file"
            )
            if kind == left_out:
                continue
        disk.after(call, arguments, value)
    assert disk.lost or not disk.saved
