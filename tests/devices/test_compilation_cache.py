"""A command has JAX keep compiled programs in tlx's cache folder, unless told otherwise; the library does not."""

import subprocess
import sys

import jax
import pytest

from tlx.devices import enable_compilation_cache

OPTIONS = {
    "jax_compilation_cache_dir": None,
    "jax_compilation_cache_max_size": -1,
    "jax_persistent_cache_min_compile_time_secs": 1.0,
    "jax_enable_compilation_cache": True,
}


@pytest.fixture
def config(monkeypatch, tmp_path):
    """JAX's configuration as it is by default, and tlx's cache in a folder of the test's own."""
    before = {name: getattr(jax.config, name) for name in OPTIONS}
    for name, value in OPTIONS.items():
        jax.config.update(name, value)
    monkeypatch.setenv("TLX_CACHE", str(tmp_path / "cache"))
    yield jax.config
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_kept_by_default(config, tmp_path):
    folder = enable_compilation_cache()
    assert [folder] == list((tmp_path / "cache" / "programs").iterdir())
    assert config.jax_compilation_cache_dir == str(folder)
    assert config.jax_compilation_cache_max_size > 0


@pytest.mark.parametrize(
    ("name", "value"), [("jax_compilation_cache_dir", "elsewhere"), ("jax_enable_compilation_cache", False)]
)
def test_what_the_user_has_chosen_stays(config, tmp_path, name, value):
    jax.config.update(name, value)
    assert enable_compilation_cache() is None
    assert config.jax_compilation_cache_dir == (value or None)
    assert config.jax_compilation_cache_max_size == -1
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_cannot_be_made_is_done_without(config, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert enable_compilation_cache() is None
    assert config.jax_compilation_cache_dir is None


def test_half_a_program_is_removed(config, tmp_path):
    enable_compilation_cache()
    (folder,) = (tmp_path / "cache" / "programs").iterdir()
    for name in ("jit_whole-1-cache", "jit_whole-1-atime", "jit_half-2-cache"):
        (folder / name).write_bytes(b"1")
    jax.config.update("jax_compilation_cache_dir", None)
    enable_compilation_cache()  # as the next process does
    assert sorted(path.name for path in folder.glob("jit_*")) == ["jit_whole-1-atime", "jit_whole-1-cache"]


PROGRAM = """
import jax, sys
from tlx.devices import enable_compilation_cache
found = []
jax.monitoring.register_event_listener(lambda name, **_: found.append(name))
enable_compilation_cache()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
assert float(jax.jit(lambda x: jax.numpy.sin(x) ** 3)(0.0)) == 0.0
print(sum(name.endswith("cache_hits") for name in found) > 0)
"""


def as_users_have_it(monkeypatch, cache):
    """Take back what all tests have in the environment."""
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("TLX_CACHE", str(cache))


@pytest.mark.slow
def test_another_process_finds_them(monkeypatch, tmp_path):
    as_users_have_it(monkeypatch, tmp_path)
    run = [subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True) for _ in range(2)]
    assert [done.stdout.strip() for done in run] == ["False", "True"], run[1].stderr


LIBRARY = """
import jax, tlx
before = dict(jax.config.values)
tlx.evaluate(tlx.load("mlp-mnist"), tlx.load_data("digits", labels_per_class=2).train)
assert jax.config.values == before, set(jax.config.values.items()) ^ set(before.items())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "keeps"),
    [
        pytest.param(["-c", LIBRARY], False, id="the library"),
        pytest.param(["-m", "tlx", "evaluate", "mlp-mnist", "--data", "digits"], True, id="the command"),
    ],
)
def test_the_library_leaves_the_configuration_alone_and_a_command_does_not(monkeypatch, tmp_path, arguments, keeps):
    as_users_have_it(monkeypatch, tmp_path)
    subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    assert (tmp_path / "programs").is_dir() == keeps
