"""A first signal asks for a stop, a second one ends the process."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tlx.cli.main import main
from tlx.errors import StoppedError
from tlx.stop import StopOnSignals, check, never, stopping_at_once

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks(number):
    with StopOnSignals() as stop:
        assert not stop()
        check(stop)
        os.kill(os.getpid(), number)
        wait_for(stop)
        with pytest.raises(StoppedError, match="stopped on request") as stopped:
            check(stop)
    assert stopped.value.exit_code == 75


def test_afterwards_all_is_as_before():
    before = [signal.getsignal(number) for number in SIGNALS]
    for _ in range(2):
        with StopOnSignals():
            assert [signal.getsignal(number) for number in SIGNALS] != before
        assert [signal.getsignal(number) for number in SIGNALS] == before
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", SIGNALS)
def test_where_nothing_needs_saving_it_stops_at_once(number, capsys):
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(SystemExit) as stopped, stopping_at_once():
        signal.raise_signal(number)
    assert stopped.value.code == 75
    assert capsys.readouterr().err == "tlx: stopped on request, not in training: nothing is lost\n"
    assert [signal.getsignal(each) for each in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_within_an_import_nothing_is_unwound(number, tmp_path):
    """A library in C++ that is being set up would be taken down half-made, and crash."""
    module = "import os\ntry:\n    os.kill(os.getpid(), {})\nfinally:\n    print('unwound', flush=True)\n"
    (tmp_path / "library.py").write_text(module.format(int(number)))
    program = "from tlx.stop import stopping_at_once\nwith stopping_at_once():\n    import library\n"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr == "tlx: stopped on request, not in training: nothing is lost\n"


def test_training_asks_and_what_surrounds_it_stops_at_once():
    with stopping_at_once():
        with StopOnSignals() as stop:
            signal.raise_signal(signal.SIGTERM)
            wait_for(stop)
        with pytest.raises(SystemExit):
            signal.raise_signal(signal.SIGTERM)


def test_other_signals_do_not_count():
    own = signal.signal(signal.SIGUSR1, lambda *_: None)
    with StopOnSignals() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.05)
        assert not stop()
    signal.signal(signal.SIGUSR1, own)


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_the_second_ends_the_process_though_python_does_not_run(number):
    """Its main thread waits in C, as in a compilation, and would not come to a handler for a minute."""
    program = (
        "import ctypes, signal, tlx\n"
        f"signal.signal({int(number)}, signal.default_int_handler)\n"  # nohup and scripts' backgrounds ignore some
        "with tlx.StopOnSignals() as stop:\n    print('ready', flush=True)\n"
        "    libc = ctypes.CDLL(None)\n    for _ in range(60): libc.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        while process.poll() is None:
            process.send_signal(number)
            time.sleep(0.05)
        assert process.returncode == 128 + number


def test_one_request_that_is_passed_on_twice_is_one():
    program = "import os, signal, time, tlx\nwith tlx.StopOnSignals() as stop:\n"
    program += "    for _ in range(5): os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.01)\n    print(stop())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n")


def test_what_is_ignored_stays_ignored():
    own = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping_at_once(), StopOnSignals() as stop:
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.05)
            assert not stop()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, own)


def test_what_nohup_ignores_stays_ignored():
    program = "import signal, tlx.stop; print(signal.SIGHUP in tlx.stop.heeded())"
    for before, heeds in (([], "True\n"), (["nohup"], "False\n")):
        done = subprocess.run([*before, sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == heeds


def test_in_another_thread_nothing_is_handled_and_nothing_asked():
    found = []

    def work():
        before = [signal.getsignal(number) for number in SIGNALS]
        with stopping_at_once(), StopOnSignals() as stop:
            found.extend([stop(), [signal.getsignal(number) for number in SIGNALS] == before])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False, True]


def in_thread(work):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found.pop()


def in_executor(work):
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(work).result()


def in_event_loop(work):
    return asyncio.run(asyncio.to_thread(work))


def asked():
    with StopOnSignals() as stop, StopOnSignals() as inner:
        return stop() or inner()


def trained():
    """Ask as a fit does, with a request of one's own."""
    with StopOnSignals() as stop, pytest.raises(StoppedError):
        check(lambda: stop() or True)
    return False


def called():
    """Call the command as a program may, in its own process."""
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    return bool(stop.value.code)


@pytest.mark.parametrize("run", [in_thread, in_executor, in_event_loop])
@pytest.mark.parametrize("work", [asked, trained, called])
def test_it_works_wherever_python_handles_no_signals(run, work):
    before = [signal.getsignal(number) for number in SIGNALS]
    assert run(work) is False
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_it_ends_though_a_child_lives_on():
    program = "import os, time, tlx\nwith tlx.StopOnSignals():\n    if not os.fork(): time.sleep(30); os._exit(0)\n"
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
    assert time.monotonic() - began < 25


def test_without_a_request_nothing_stops():
    assert not never()
    check(never)
