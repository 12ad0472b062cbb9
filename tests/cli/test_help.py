"""Help names every option once, in groups, within 80 characters, and says what each is for."""

import re
from importlib import import_module

import pytest

from tlx.cli.help import help_of
from tlx.cli.main import COMMANDS
from tlx.cli.options import flags


def kind_of(command):
    return getattr(import_module(f"tlx.cli.{command}"), command.capitalize())


@pytest.fixture
def lines(monkeypatch):
    def lines(command, width=80):
        monkeypatch.setenv("COLUMNS", str(width))
        return help_of(kind_of(command), f"tlx {command}").splitlines()

    return lines


@pytest.mark.parametrize("width", [60, 80, 300])
@pytest.mark.parametrize("command", COMMANDS)
def test_it_fits_any_width(lines, command, width):
    assert max(map(len, lines(command, width))) <= min(width, 100)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_there_once(lines, command):
    named = re.findall(r"^  (?:-h, )?(--[a-z0-9-]+)", "\n".join(lines(command)), re.MULTILINE)
    positional = {"--inputs", "--run-dir", "--target", "--source", "--dest", "--model", "--pattern"}
    assert sorted(named) == sorted(set(flags(kind_of(command))) - (positional - set(named)))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_is_for(lines, command):
    text = "\n".join(lines(command))
    entries = re.split(r"^  (?=\S)", text, flags=re.MULTILINE)[1:]
    assert all(re.search(r" {2}\w+\W", entry.replace("\n", " ").partition(" ")[2]) for entry in entries), entries


def test_the_ten_that_people_need_first_come_first(lines):
    text = "\n".join(lines("finetune"))
    first = text.split("\n\n")[3].splitlines()
    assert first[0] == "most used:"
    named = [line.split()[0] for line in first if line.startswith("  --")]
    assert named == [
        *("--data", "--base", "--weights", "--out", "--recipe"),
        *("--head-epochs", "--base-epochs", "--batch-size", "--resume", "--dry-run"),
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_groups_name_options_that_exist(command):
    kind = kind_of(command)
    names = {field.replace("-", "_") for field in kind.__dataclass_fields__}
    assert all(set(members) <= names for members in kind.GROUPS.values())


def test_what_an_option_takes_and_is_by_default(lines):
    text = "\n".join(lines("finetune"))
    assert "  --recipe {probe,finetune,gradual,full,scratch}\n" in text
    assert "  --crop NUMBER NUMBER " in text
    assert "  --hidden INT ... " in text
    assert "  --no-sync-norms " in text
    assert "Epochs of the head alone. [30]" in text
    assert "None" not in text.replace("None: never", "")


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("predict", "usage: tlx predict [MODEL] IMAGE... [options]"),
        ("convert", "usage: tlx convert SOURCE DEST [options]"),
        ("embed", "usage: tlx embed [MODEL] IMAGE... --out TEXT [options]"),
        ("presets", "usage: tlx presets [PATTERN] [options]"),
        ("report", "usage: tlx report RUN_DIR [options]"),
    ],
)
def test_usage_names_what_must_be_given(lines, command, usage):
    assert lines(command)[0] == usage


@pytest.mark.parametrize("arguments", [("finetune", "-h"), ("finetune", "--base", "x", "--help"), ("help", "finetune")])
def test_help_is_asked_for_in_several_ways(call, arguments):
    called = call(*arguments)
    assert (called.code, called.err) == (0, "")
    assert called.out.startswith("usage: tlx finetune [options]\n")


@pytest.mark.parametrize("arguments", [(), ("-h",), ("--help",), ("help",)])
def test_all_commands_are_listed(call, arguments):
    called = call(*arguments)
    assert (called.code, called.err) == (0, "")
    assert all(f"  {command}" in called.out for command in COMMANDS)


def test_the_version(call, refused):
    from importlib.metadata import version

    assert call("--version").out == call("-V").out == f"tlx {version('tlx-jax')}\n"
    assert "unknown command 'version', did you mean --version?" in refused(2, "version")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("finetun", "finetune"),
        ("fine-tune", "finetune"),
        ("train", "finetune"),
        ("predcit", "predict"),
        ("preset", "presets"),
    ],
)
def test_a_mistyped_command_is_guessed(refused, typed, meant):
    assert f"unknown command '{typed}', did you mean {meant}?" in refused(2, typed)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--lr", "--head-rate"),
        ("--label", "--target"),
        ("--model", "--base"),
        ("--output-dir", "--out"),
        ("--gpu", "--device"),
        ("--freeze", "--thaw-from"),
        ("--epochs", "--head-epochs"),
        ("--dataset", "--data"),
        ("--image-size", "--input-size"),
    ],
)
def test_options_of_other_tools_are_guessed(refused, typed, meant):
    assert (
        refused(2, "finetune", typed, 1)
        == f"tlx: unknown option {typed}, did you mean {meant}?: see tlx finetune --help\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["finetune", "photos"], "'photos' is no option: options begin with --, see tlx finetune --help"),
        (["finetune", "-x"], "'-x' is no option: options begin with --"),
        (["report"], "missing: the run's directory; see tlx report --help"),
        (["evaluate"], "missing: the folder of a run or an export, or a preset; see tlx evaluate --help"),
        (["finetune", "--xyzzy", 1], "unknown option --xyzzy: see tlx finetune --help"),
    ],
)
def test_what_is_missing_or_too_much_is_named(refused, arguments, words):
    assert words in refused(2, *arguments)


def test_what_is_like_nothing_is_not_guessed(refused):
    line = refused(2, "xyzzy")
    assert "did you mean" not in line
    assert "the commands are finetune, probe," in line
