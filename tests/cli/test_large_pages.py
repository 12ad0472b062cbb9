"""The command starts itself anew in large pages, once, and only where that brings some."""

import json
import os
import subprocess
import sys

import pytest

from tlx.cli import large_pages
from tlx.errors import ConfigError

NAMED = "glibc.malloc.hugetlb=1"


@pytest.fixture
def restarted(monkeypatch, tmp_path):
    """Call `restart` as a command would on a Linux that gives large pages to who asks; return what it would start."""
    pages = tmp_path / "enabled"
    pages.write_text("always [madvise] never\n")
    monkeypatch.setattr(large_pages, "PAGES", pages)
    monkeypatch.setattr(os, "confstr", lambda _: "glibc 2.36", raising=False)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-I", "-m", "tlx", "finetune", "--seed", "1"])
    monkeypatch.setattr(large_pages, "ACCELERATORS", (str(tmp_path / "nvidia[0-9]*"),))
    for name in ("GLIBC_TUNABLES", "TLX_LARGE_PAGES", "JAX_PLATFORMS", *large_pages.TPU):
        monkeypatch.delenv(name, raising=False)

    def restarted(*arguments):
        started = []
        monkeypatch.setattr(sys, "argv", ["tlx", *arguments])
        monkeypatch.setattr(os, "execve", lambda *call: started.append(call))
        large_pages.restart()
        return started

    return restarted


def test_a_command_that_computes_starts_as_it_was_started(restarted):
    ((program, arguments, environment),) = restarted("finetune", "--seed", "1")
    assert program == sys.executable
    assert arguments == [sys.executable, "-I", "-m", "tlx", "finetune", "--seed", "1"]
    assert environment == {**os.environ, "GLIBC_TUNABLES": NAMED}


def test_other_tunables_stay(restarted, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")
    ((_, _, environment),) = restarted("probe")
    assert environment["GLIBC_TUNABLES"] == f"glibc.malloc.arena_max=2:{NAMED}"


@pytest.mark.parametrize("value", ["0", "1", "2"])
def test_whoever_names_the_tunable_has_their_way(restarted, monkeypatch, value):
    monkeypatch.setenv("GLIBC_TUNABLES", f"glibc.malloc.hugetlb={value}")
    assert not restarted("finetune")


@pytest.mark.parametrize("arguments", [[], ["presets"], ["finetune", "--help"], ["--help"], ["finetun"]], ids=str)
def test_what_computes_nothing_goes_on(restarted, arguments):
    assert not restarted(*arguments)


@pytest.mark.parametrize(
    ("arguments", "environment", "accelerator", "starts"),
    [
        ([], {}, True, False),
        ([], {"TPU_NAME": "local"}, False, False),
        (["--device", "cpu"], {}, True, True),
        (["--device=cpu"], {"JAX_PLATFORMS": "cuda"}, True, True),
        (["--device", "gpu"], {}, False, False),
        (["--device", "cpu", "--device", "auto"], {}, True, False),
        (["--device"], {}, False, False),
        ([], {"JAX_PLATFORMS": "cpu"}, True, True),
        ([], {"JAX_PLATFORMS": "cuda,cpu"}, False, False),
        ([], {"TLX_LARGE_PAGES": "on"}, True, True),
        ([], {"TLX_LARGE_PAGES": "off"}, False, False),
        (["--device", "cpu"], {"TLX_LARGE_PAGES": "off"}, False, False),
        ([], {"TLX_LARGE_PAGES": "auto"}, True, False),
        ([], {"TLX_LARGE_PAGES": ""}, False, True),
        ([], {"TLX_LARGE_PAGES": "yes"}, False, False),
    ],
)
def test_it_is_for_a_cpu_unless_the_switch_says_other(
    restarted, monkeypatch, tmp_path, arguments, environment, accelerator, starts
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if accelerator:
        (tmp_path / "nvidia0").touch()
    assert bool(restarted("finetune", *arguments)) == starts


def test_a_switch_that_says_another_word_is_refused(refused, monkeypatch):
    monkeypatch.setenv("TLX_LARGE_PAGES", "yes")
    line = refused(ConfigError.exit_code, "evaluate", "nowhere", "--data", "digits")
    assert "TLX_LARGE_PAGES=yes: expected auto, on or off" in line


@pytest.mark.parametrize("pages", ["[always] madvise never", "always madvise [never]", None])
def test_pages_that_come_unasked_or_never_are_not_asked_for(restarted, pages):
    if pages is None:
        large_pages.PAGES.unlink()
    else:
        large_pages.PAGES.write_text(pages)
    assert not restarted("finetune")


@pytest.mark.parametrize("library", ["glibc 2.34", "musl", "", None, ValueError("unrecognized configuration name")])
def test_another_c_library_is_not_asked(restarted, monkeypatch, library):
    def confstr(_):
        if isinstance(library, ValueError):
            raise library
        return library

    monkeypatch.setattr(os, "confstr", confstr, raising=False)
    assert not restarted("finetune")


def test_a_refused_start_goes_on(restarted, monkeypatch):
    def refuse(*_):
        raise PermissionError

    restarted()
    monkeypatch.setattr(sys, "argv", ["tlx", "finetune"])
    monkeypatch.setattr(os, "execve", refuse)
    large_pages.restart()


@pytest.mark.skipif(not hasattr(os, "confstr"), reason="another system")
def test_it_is_the_same_process_and_starts_once(tmp_path):
    pages = tmp_path / "enabled"
    pages.write_text("always [madvise] never\n")
    program = (
        "import json, os, sys, pathlib; from tlx.cli import large_pages\n"
        "large_pages.ACCELERATORS = (); os.environ.pop('TLX_LARGE_PAGES', None)\n"
        f"large_pages.PAGES = pathlib.Path({str(pages)!r}); os.confstr = lambda _: 'glibc 2.36'\n"
        "print('a start', flush=True); large_pages.restart()\n"
        "print(json.dumps([os.getpid(), os.environ['GLIBC_TUNABLES'], sys.argv[1:]]))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", program, "finetune", "--seed", "1"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        out, _ = process.communicate(timeout=60)
    *starts, found = out.splitlines()
    assert starts == ["a start"] * 2
    assert json.loads(found) == [process.pid, NAMED, ["finetune", "--seed", "1"]]
