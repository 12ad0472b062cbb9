"""What a report is made of holds no folder, user or machine of its author's."""

import numpy as np
import pytest
import yaml

from tlx.analysis import write_report
from tlx.analysis.run_record import read_run
from tlx.analysis.sharing import shareable

HOME = "/home/ann smith"
DATA = f"{HOME}/my photos of cats and dogs, in the summer of last year and the one before it"
OPTIONS = {
    "data": f"folder:{DATA}",
    "base": f"{HOME}/bases/my base",
    "weights": "C:\\Users\\ann smith\\weights.h5",
    "seed": 3,
    "crop": [0.5, 1.0],
}


@pytest.fixture
def run_dir(make_run, monkeypatch):
    monkeypatch.setenv("HOME", HOME)
    names = [f"{DATA}/cats/{number}.jpg" for number in range(24)]
    path = make_run(directory="ann smith")
    mistakes = len(np.load(path / "evaluation.npz")["mistakes"])
    return make_run(
        directory="flowers",
        run={
            "base": f"{HOME}/bases/my base",
            "data": {"source": f"folder:{DATA}"},
            "notes": [f"{DATA}: left out 1 other files", f"{DATA}/dogs/a b.jpg: the first of 2 frames"],
            "skipped": [f"{DATA}/cats/cut.jpg: cut short", "/elsewhere/of/ann/x.jpg: empty"],
            "command": f"tlx finetune --config '{HOME}/moved/flowers/config.yaml'",
        },
        arrays={"mistake_names": np.array(names[:mistakes], np.str_)},
        config=yaml.safe_dump(OPTIONS, sort_keys=False, allow_unicode=True),
    )


def test_every_text_is_named_without_its_folders(run_dir):
    run = shareable(read_run(run_dir))
    name = DATA.rpartition("/")[2]
    assert (str(run.path), run.base, run.source) == ("flowers", "my base", f"folder:{name}")
    assert run.notes == (f"{name}: left out 1 other files", "dogs/a b.jpg: the first of 2 frames")
    assert run.skipped == ("cats/cut.jpg: cut short", "x.jpg: empty")
    assert run.command == "tlx finetune --config flowers/config.yaml"
    assert run.evaluation.mistake_names[:2] == ("cats/0.jpg", "cats/1.jpg")
    assert run.config is not None
    assert yaml.safe_load(run.config) == {
        **OPTIONS,
        "data": f"folder:{name}",
        "base": "my base",
        "weights": "weights.h5",
    }


def test_the_page_holds_nothing_of_the_machine(run_dir):
    page = write_report(run_dir).read_text(encoding="utf-8")
    assert "my base" in page
    for private in ("ann smith", "/home", "Users", "/elsewhere", str(run_dir.parent)):
        assert private not in page


def test_what_names_no_place_stays(make_run):
    run = read_run(make_run())
    public = shareable(run)
    assert (public.base, public.source, public.notes, public.config) == (run.base, run.source, run.notes, run.config)
    assert public.command == run.command
    relative = read_run(make_run(directory="other", run={"command": "tlx finetune --config runs/a/config.yaml"}))
    assert shareable(relative).command == "tlx finetune --config runs/a/config.yaml"


def test_a_command_that_no_shell_takes_is_shown_all_the_same(make_run):
    run = read_run(make_run(run={"command": "tlx 'finetune /home/ann/x"}))
    assert shareable(run).command == "tlx 'finetune x"
