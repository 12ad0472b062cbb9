"""Folders and lists of images, good and bad, through the commands that read them."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from image_files import as_ycck, empty_png, encoded, numbered_images, shown, write_classes
from PIL import Image
from sklearn import metrics

import tlx
from tlx.cli.main import main
from tlx.data import ImageFiles, labels_of
from tlx.training import features
from tlx.training.checkpoint import Checkpoints

QUICK = ["--base", "mlp-mnist", "--recipe", "probe", "--head-epochs", "1", "--compare-scratch", "never"]
QUICK += ["--batch-size", "4"]
CLASSES = ("ant", "bee", "cat")
GREY = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
RGB = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)
JPEG, PNG = encoded(RGB, "JPEG"), encoded(RGB)


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """A folder of three classes, with a training, a validation and a test set."""
    root = tmp_path_factory.mktemp("images") / "pets"
    for seed, part in enumerate(("train", "val", "test")):
        write_classes(root / part, CLASSES, seed=seed)
    return root


@pytest.fixture(scope="module")
def trained(pets):
    """A run on `pets`."""
    out = pets.parent / "run"
    options = [*QUICK, "--head-epochs", "8", "--head-rate", "1e-2"]
    del options[4:6]
    with pytest.raises(SystemExit) as stop:
        main(["finetune", "--data", str(pets), "--out", str(out), "--json", *options])
    assert not stop.value.code
    return out


@pytest.fixture
def finetune(call, tmp_path, monkeypatch):
    """Run `tlx finetune` on data, without a report; return what was printed and the run's description."""
    monkeypatch.setattr(tlx, "write_report", lambda path: None)

    def finetune(data, *more, out=None):
        out = tmp_path / "run" if out is None else out
        called = call("finetune", *QUICK, "--data", data, "--out", out, *more, "--json")
        described = Path(out, "run.json")
        return called, json.loads(described.read_text(encoding="utf-8")) if described.is_file() else None

    return finetune


BAD = {
    "one.jpg": (JPEG[:-1], "cut short, its end-of-image marker is missing"),
    "twenty.jpg": (JPEG[:-20], "cut short, its end-of-image marker is missing"),
    "half.jpg": (JPEG[: len(JPEG) // 2], "cut short, its end-of-image marker is missing"),
    "one.png": (PNG[:-1], "cut short, its IEND chunk is missing"),
    "half.png": (PNG[: len(PNG) // 2], "cut short, its IEND chunk is missing"),
    "empty.jpg": (b"", "not an image (PNG, JPEG, BMP, GIF, TIFF, WebP, AVIF, HEIC) but an empty file"),
    "text.jpg": (
        b"not an image",
        "not an image (PNG, JPEG, BMP, GIF, TIFF, WebP, AVIF, HEIC) but a text that begins 'not an image'",
    ),
    "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "AVIF, HEIC) but a PostScript file"),
    "page.png": (b"<html>404", "not an image (PNG, JPEG, BMP, GIF, TIFF, WebP, AVIF, HEIC) but an HTML page"),
    "float.tiff": (
        encoded(np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6), "TIFF"),
        "32-bit pixels, whose black and white nobody knows",
    ),
    "nan.tif": (
        encoded(np.full((4, 6), np.nan, np.float32), "TIFF"),
        "32-bit pixels, whose black and white nobody knows",
    ),
    "huge.png": (empty_png(20_000, 20_000), "too large (Image size (400000000 pixels) exceeds limit"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_ends_a_run_before_it_begins(refused, tmp_path, name):
    path = write_classes(tmp_path / "data") / "cat" / name
    content, words = BAD[name]
    path.write_bytes(content)
    line = refused(4, "finetune", *QUICK, "--data", tmp_path / "data", "--out", tmp_path / "run")
    assert f"1 of 17 images (5.88%) are bad: {path}: " in line
    assert words in line
    assert "leave them out with --skip-bad 6%" in line
    assert not (tmp_path / "run").exists()
    line = refused(4, "predict", "mlp-mnist", path)
    assert line.startswith(f"tlx: {path}: ")
    assert words in line


def with_bad(root, good=36):
    """Write images of two classes, all of `BAD` among them."""
    write_classes(root, {"cat": good // 2, "dog": good // 2})
    for name, (content, _) in BAD.items():
        (root / "cat" / name).write_bytes(content)
    return root


@pytest.mark.slow
def test_bad_images_may_be_left_out(finetune, refused, tmp_path):
    data = with_bad(tmp_path / "data")
    line = refused(4, "finetune", *QUICK, "--data", data, "--out", tmp_path / "run", "--skip-bad", "24.9%")
    assert "12 of 48 images (25%) are bad, of which --skip-bad allows 24.9%: " in line
    assert "; and 2 more; mend them, or leave them out with --skip-bad 25%" in line
    called, run = finetune(data, "--skip-bad", "25%")
    assert called.code == 0
    assert "tlx: 12 of 48 images are bad and left out: " in called.err
    assert sorted(Path(fault.partition(": ")[0]).name for fault in run["skipped"]) == sorted(BAD)
    assert (sum(run["sizes"].values()), run["data"]["skip_bad"]) == (36, 0.25)
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["skip_bad"] == "25%"


@pytest.mark.parametrize("text", ["5", "-1%", "100%", "1e1%", "5 %", "five%", "%", "nan%"])
@pytest.mark.parametrize("command", ["finetune", "predict", "embed", "evaluate"])
def test_what_is_no_percentage(refused, tmp_path, command, text):
    own = {
        "finetune": ["--out", tmp_path / "run"],
        "predict": ["mlp-mnist", tmp_path],
        "embed": ["mlp-mnist", tmp_path, "--out", tmp_path / "a.npz"],
        "evaluate": ["mlp-mnist", "--data", "digits"],
    }
    line = refused(2, command, *own[command], f"--skip-bad={text}")
    assert f"--skip-bad: {text!r} is not a percentage under 100; say 5%, for example" in line


@pytest.mark.slow
def test_a_manifest_s_hashes_find_a_flipped_bit(refused, finetune, tmp_path):
    import hashlib

    write_classes(tmp_path / "data")
    rows = [
        {"path": str(path), "label": path.parent.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in sorted((tmp_path / "data").rglob("*.png"))
    ]
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    content = bytearray(encoded(noise, "JPEG", quality=95))
    (tmp_path / "a.jpg").write_bytes(content)
    rows.append({"path": "a.jpg", "label": "cat", "sha256": hashlib.sha256(content).hexdigest()})
    content[len(content) // 2] ^= 1
    for name, keys in (("hashed", ("path", "label", "sha256")), ("plain", ("path", "label"))):
        lines = [json.dumps({key: row[key] for key in keys}) for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    assert finetune(tmp_path / "hashed.jsonl")[0].code == 0
    (tmp_path / "a.jpg").write_bytes(content)
    line = refused(4, "finetune", *QUICK, "--data", tmp_path / "hashed.jsonl", "--out", tmp_path / "flipped")
    assert f"{tmp_path}/a.jpg: its SHA-256 is not the manifest's; get the file again" in line
    assert finetune(tmp_path / "plain.jsonl", out=tmp_path / "unseen")[0].code == 0


@pytest.mark.slow
def test_every_kind_of_good_image(finetune, call, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    animation = {"save_all": True, "append_images": [RGB // 2]}
    good = {
        "cmyk.jpg": encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG"),
        "ycck.jpg": as_ycck(RGB),
        "deep.png": encoded(GREY.astype(np.uint16) * 257),
        "palette.png": encoded(Image.fromarray(RGB).quantize(8)),
        "clear.png": encoded(Image.new("RGBA", (6, 4), (200, 9, 9, 90))),
        "turned.jpg": encoded(RGB, "JPEG", exif=exif),
        "animated.gif": encoded(RGB, "GIF", **animation),
        "animated.webp": encoded(RGB, "WEBP", **animation),
        "animated.png": encoded(RGB, "PNG", **animation),
        "really-a-png.jpg": PNG,
        "tiny.png": encoded(Image.new("L", (1, 1), 9)),
        "cat.JPEG": JPEG,
    }
    write_classes(tmp_path / "data")
    for name, content in good.items():
        (tmp_path / "data/dog" / name).write_bytes(content)
    called, run = finetune(tmp_path / "data")
    assert called.code == 0
    told = (
        "3 images have several frames, of which the first is taken",
        "1 images are transparent in part, and laid on black",
    )
    assert run["notes"][:2] == list(told)
    assert [note for note in told if f"tlx: {note}\n" not in called.err] == []
    called = call("predict", "mlp-mnist", *(tmp_path / "data/dog" / name for name in good), "--json")
    assert [found["path"] for found in called.json["predictions"]] == [f"{tmp_path}/data/dog/{name}" for name in good]


IMAGE = np.add.outer(np.arange(28) * 6, np.arange(28) * 3).astype(np.uint8)[..., None].repeat(3, axis=2)
IMAGE[:9, :9] = 255, 200, 0


def stored(orientation):
    """Encode IMAGE turned as a camera may store it, with the EXIF orientation that turns it back."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(shown(IMAGE, {6: 8, 8: 6}.get(orientation, orientation)), exif=exif)


def test_images_are_predicted_as_they_look(call, tmp_path):
    """Turned as their EXIF says, of several frames the first, and with a printer's colours."""
    several = {"save_all": True, "append_images": [255 - IMAGE]}
    exactly = {f"turned{orientation}.png": stored(orientation) for orientation in range(1, 9)}
    exactly["animated.png"] = encoded(IMAGE, "PNG", **several)
    exactly["animated.webp"] = encoded(IMAGE, "WEBP", lossless=True, **several)
    nearly = {
        "animated.gif": encoded(IMAGE, "GIF", **several),
        "cmyk.jpg": encoded(Image.fromarray(IMAGE).convert("CMYK"), "JPEG", quality=95, subsampling=0),
        "ycck.jpg": as_ycck(IMAGE),
    }
    for name, content in {**exactly, **nearly, "plain.png": encoded(IMAGE)}.items():
        (tmp_path / name).write_bytes(content)
    called = call("predict", "mlp-mnist", tmp_path, "--top", 10, "--json")
    assert called.code == 0
    found = {
        Path(each["path"]).name: [top["probability"] for top in sorted(each["top"], key=lambda top: top["index"])]
        for each in called.json["predictions"]
    }
    plain = found.pop("plain.png")
    assert found.keys() == exactly.keys() | nearly.keys()
    for name in found:
        assert found[name] == pytest.approx(plain, abs=1e-6 if name in exactly else 0.02), name


@pytest.mark.slow
def test_of_several_frames_only_the_first_is_predicted_and_said(tmp_path):
    """In a process of its own: pytest would take the warning for itself."""
    (tmp_path / "a.gif").write_bytes(encoded(RGB, "GIF", save_all=True, append_images=[RGB // 2]))
    command = [sys.executable, "-m", "tlx", "predict", "mlp-mnist", "a.gif", "--format", "csv"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stderr == "tlx: a.gif: only the first of 2 frames\n"
    assert done.stdout.count("a.gif") == 1


@pytest.mark.slow
def test_notes_of_a_run_on_a_folder(finetune, tmp_path):
    """What systems leave behind, classes that are numbers, a part without a class, images in two parts."""
    data = tmp_path / "data"
    write_classes(data / "train", [str(number) for number in range(1, 13)])
    write_classes(data / "val", {"12": 2, "1": 2}, seed=1)
    shutil.copytree(data / "train/3", data / "test/3")
    shutil.copy(data / "train/1/0.png", data / "val/1/copy.png")
    for name in (".DS_Store", "1/._0.png", "1/.hidden/a.png", "__MACOSX/1/a.png", "Thumbs.db"):
        path = data / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    called, run = finetune(data)
    assert called.code == 0
    assert run["classes"] == [str(number) for number in range(1, 13)]
    assert run["notes"] == [
        f"{data}: left out 1 hidden folders (train/1/.hidden), 4 hidden or system files",
        "the classes are numbers: class 1 has index 0, 2 has 1, 3 has 2, 4 has 3, 5 has 4, 6 has 5, 7 has 6, 8 has 7, "
        "9 has 8, 10 has 9, 11 has 10, 12 has 11",
        "1 of 5 validation images are also in training, pixel for pixel",
        "no validation image of 10 of 12 classes: 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
        "8 of 8 test images are also in training, pixel for pixel",
        "no test image of 11 of 12 classes: 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, ...",
    ]
    assert [note for note in run["notes"] if f"tlx: {note}\n" not in called.err] == []


def test_what_systems_leave_behind_is_not_predicted(call, tmp_path):
    for name in ("a.png", ".DS_Store", "._a.png", ".hidden/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PNG)
    called = call("predict", "mlp-mnist", tmp_path, "--json")
    assert [found["path"] for found in called.json["predictions"]] == [f"{tmp_path}/a.png"]
    assert (called.code, called.err) == (
        0,
        f"tlx: {tmp_path}: left out 1 hidden folders (.hidden), 2 hidden or system files\n",
    )


@pytest.mark.slow
def test_a_validation_set_follows_the_mapping_of_training(finetune, tmp_path, pets, refused):
    data = tmp_path / "data"
    shutil.copytree(pets / "train", data / "train")
    for name in ("cat", "ant"):
        shutil.copytree(pets / "val" / name, data / "val" / name)
    called, run = finetune(data)
    assert (called.code, run["classes"], run["sizes"]["validation"]) == (0, list(CLASSES), 16)
    shutil.copytree(pets / "val/bee", data / "val/eel")
    line = refused(4, "finetune", *QUICK, "--data", data, "--out", tmp_path / "other")
    assert f"{data}/val/eel: validation has the class 'eel', which training has not; add it to training" in line


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ({}, "no images (PNG, JPEG, BMP, GIF, TIFF, WebP, AVIF, HEIC); give a folder of them for each class"),
        ({"cat": 0, "dog": 0}, "no images"),
        ({"cat": 9}, "only one class, 'cat'"),
        (
            {"cat": 9, "dog": 1, "eel": 0},
            "data/eel (empty); put images into them, take them away, or leave these classes out w",
        ),
        ({"cat": 9, "dog": 2}, "are fewer than a batch of 64; lower"),
        ({"caf\xe9": 5, "cafe\u0301": 5}, "'cafe\\u0301' and 'caf\\xe9' look alike"),
    ],
)
def test_folders_that_cannot_be_trained_on(refused, tmp_path, classes, words):
    (tmp_path / "data").mkdir()
    write_classes(tmp_path / "data", classes)
    options = [*QUICK[:-1], "64"]
    line = refused(4, "finetune", *options, "--data", tmp_path / "data", "--out", tmp_path / "run")
    assert words in line
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("count", "told"), [(2, "no class has three examples, so none is kept"), (3, "")])
def test_the_smallest_folders_train_with_the_default_batch(call, tmp_path, monkeypatch, count, told):
    monkeypatch.setattr(tlx, "write_report", lambda path: None)
    write_classes(tmp_path / "data", {"cat": count, "dog": count})
    called = call("finetune", *QUICK[:-2], "--data", tmp_path / "data", "--out", tmp_path / "run", "--json")
    assert (called.code, told in called.err) == (0, True)
    run = json.loads((tmp_path / "run/run.json").read_text())
    assert run["sizes"] == {"train": 2, "validation": 2 * (count == 3), "test": 2}
    assert run["batch_size"] == 2
    assert any("kept from training: 2 for testing (--test)" in note for note in run["notes"])


def test_a_folder_of_one_image_a_class_names_the_options(refused, tmp_path):
    write_classes(tmp_path / "data", {"cat": 1, "dog": 1})
    line = refused(4, "finetune", *QUICK[:-2], "--data", tmp_path / "data", "--out", tmp_path / "run")
    assert "no test examples, of 2 in all; a class gives one to testing where it has two or more" in line
    assert "(--train-split, --test-split)" in line


@pytest.mark.slow
def test_links_are_followed_but_not_in_a_circle(finetune, call, tmp_path, pets):
    (tmp_path / "data").mkdir()
    for name in CLASSES:
        (tmp_path / "data" / name).symlink_to(pets / "train" / name)
    (tmp_path / "data/round").symlink_to(tmp_path / "data")
    called, run = finetune(tmp_path / "data")
    assert (called.code, run["classes"], sum(run["sizes"].values())) == (0, list(CLASSES), 24)
    called = call("predict", "mlp-mnist", tmp_path / "data", "--json")
    assert (called.code, len(called.json["predictions"])) == (0, 24)
    assert called.err.splitlines() == [
        f"tlx: {tmp_path}/data: left out 1 links to folders that were met before (round)",
        f"tlx: {tmp_path}/data: followed 3 links out of the folder (ant, bee, cat)",
    ]


ODD = ["sp ace", "new\nline", "日本", os.fsdecode(b"\xff\xc3\xa9")]


@pytest.mark.parametrize(
    ("name", "told"),
    [(ODD[0], "sp ace"), (ODD[1], "new\\nline"), (ODD[2], "日本"), (ODD[3], "\\udcff\\xe9"), ("\x1b[2J", "\\x1b[2J")],
)
def test_a_bad_image_of_any_name_is_told_on_one_line(refused, tmp_path, name, told):
    path = write_classes(tmp_path / "data") / "cat" / f"{name}.png"
    path.write_bytes(b"")
    told = f"{tmp_path}/data/cat/{told}.png: not an image"
    line = refused(4, "finetune", *QUICK, "--data", tmp_path / "data", "--out", tmp_path / "run")
    assert f"1 of 17 images (5.88%) are bad: {told}" in line
    assert refused(4, "predict", "mlp-mnist", path).startswith(f"tlx: {told}")


@pytest.mark.slow
def test_any_name_works_from_end_to_end(call, tmp_path):
    root = os.path.join(tmp_path, *ODD)
    write_classes(Path(root), ODD)
    out = tmp_path / "run"
    called = call("finetune", *QUICK, "--data", root, "--out", out, "--json")
    assert called.code == 0
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert run["data"]["source"] == f"folder:{root}"
    assert run["classes"] == ["\\xffé", "new\nline", "sp ace", "日本"]
    assert yaml.safe_load((out / "config.yaml").read_text())["data"] == f"folder:{root}"
    assert "sp ace" in (out / "report.html").read_text(encoding="utf-8")
    assert call("evaluate", out, "--json").json["accuracy"] == called.json["test_accuracy"]
    again = call("finetune", "--config", out / "config.yaml", "--out", tmp_path / "again", "--json")
    assert again.json["test_loss"] == called.json["test_loss"]
    assert call("finetune", "--resume", "--out", out, "--json").json == called.json

    paths = [os.path.join(root, name, f"{i}.png") for name in sorted(ODD) for i in range(8)]
    predicted = {form: call("predict", out, root, *options) for form, options in FORMS.items()}
    found = read_forms(predicted)
    assert [path for path, _ in found["json"]] == [path for path, _ in found["jsonl"]] == sorted(paths)
    escaped = [path.encode("utf-8", "backslashreplace").decode() for path in sorted(paths)]
    assert [path for path, _ in found["csv"]] == escaped
    assert call("embed", out, root, "--out", tmp_path / "a.npz").code == 0
    with np.load(tmp_path / "a.npz") as embedded:
        assert embedded["paths"].tolist() == sorted(paths)


@pytest.mark.slow
def test_a_image_that_goes_missing_ends_the_run_and_its_checkpoint_stays(call, tmp_path, monkeypatch):
    write_classes(tmp_path / "data")
    out, save = tmp_path / "run", Checkpoints.save
    path = Path(tlx.load_data(str(tmp_path / "data")).train.names[0])

    def save_and_lose(self, *arguments, **named):
        save(self, *arguments, **named)
        path.rename(tmp_path / "lost.png")

    options = [*QUICK, "--base-epochs", "1", "--data", tmp_path / "data", "--out", out]
    options[3] = "finetune"
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_and_lose)
        called = call("finetune", *options)
    assert called.code == 4
    assert called.err.splitlines()[-1] == f"tlx: {path}: No such file or directory; check the path and its permissions"
    assert Checkpoints(out / "checkpoints").latest().epoch == 1
    lost = call("finetune", "--resume", "--out", out)
    assert (lost.code, "sizes/test: 4 -> 3" in lost.err) == (5, True)
    (tmp_path / "lost.png").rename(path)
    again = call("finetune", "--resume", "--out", out, "--json")
    assert (again.code, [phase["name"] for phase in again.json["phases"]]) == (0, ["head", "all"])


FORMS = {"json": ["--json"], "jsonl": ["--format", "jsonl"], "csv": ["--format", "csv"], "table": []}


def read_forms(called):
    """Read each form of the predictions as a list of (path, [(label, probability), ...])."""
    rows = list(csv.reader(io.StringIO(called["csv"].out)))
    found = {
        "json": called["json"].json["predictions"],
        "jsonl": [json.loads(line) for line in called["jsonl"].out.splitlines()],
    }
    plain = {
        form: [(each["path"], [(top["label"], top["probability"]) for top in each["top"]]) for each in all_of]
        for form, all_of in found.items()
    }
    pairs = [[(row[i], float(row[i + 1])) for i in range(1, len(row), 2)] for row in rows[1:]]
    plain["csv"] = [(row[0], each) for row, each in zip(rows[1:], pairs, strict=True)]
    assert rows[0] == ["path", *(f"{what}_{i + 1}" for i in range(len(pairs[0])) for what in ("label", "probability"))]
    return plain


@pytest.mark.slow
def test_three_hundred_images_in_every_form_and_from_every_kind_of_input(call, tmp_path, monkeypatch, trained):
    monkeypatch.chdir(tmp_path)
    for number, content in enumerate(numbered_images(300)):
        Path(f"{number:03}.png").write_bytes(content)
    names = [f"{number:03}.png" for number in range(300)]
    model, variables = (loaded := tlx.load(trained)).model, loaded.variables
    images = loaded.preprocess(np.stack([np.asarray(Image.open(name)) for name in names]))
    order = np.argsort(-(expected := tlx.predict(model, variables, images)), axis=1)

    monkeypatch.setenv("COLUMNS", "200")
    called = {form: call("predict", trained, "*.png", "--top", 2, *options) for form, options in FORMS.items()}
    assert {each.code for each in called.values()} == {0}
    assert {each.err for each in called.values()} == {""}
    found = read_forms(called)
    assert found["json"] == found["jsonl"] == found["csv"]
    for row, (path, top) in enumerate(found["json"]):
        assert (path, [label for label, _ in top]) == (names[row], [CLASSES[i] for i in order[row, :2]])
        assert [share for _, share in top] == pytest.approx(expected[row][order[row, :2]].tolist(), rel=1e-4, abs=1e-6)
        assert f"{path}" in called["table"].out
        assert f"{top[0][0]} {top[0][1]:.2%}" in called["table"].out

    for separator in ("\n", "\0", "\n\n"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(separator.join([*names, ""]).encode())))
        listed = call("predict", trained, "-", "--top", 2, "--format", "jsonl", "--batch-size", 7)
        assert [json.loads(line)["path"] for line in listed.out.splitlines()] == names
    np.testing.assert_allclose(
        [json.loads(line)["top"][0]["probability"] for line in listed.out.splitlines()],
        [top[0][1] for _, top in found["json"]],
        rtol=1e-5,
    )
    for workers in (0, 3):
        again = call("predict", trained, *names, "--workers", workers, "--top", 2, "--format", "csv")
        assert again.out == called["csv"].out


@pytest.mark.parametrize("form", FORMS)
def test_bad_images_among_good_ones(call, tmp_path, form):
    folder = tmp_path / "data"
    with_bad(folder)
    called = call("predict", "mlp-mnist", folder, "--top", 1, *FORMS[form])
    assert called.code == 4
    last = called.err.splitlines()[-1]
    assert last.startswith("tlx: 12 of 48 images are bad (--skip-bad allows 0%): ")
    assert last.endswith("; and 2 more")
    if form == "json":
        assert (len(called.json["predictions"]), len(called.json["skipped"])) == (36, 12)
    if form != "table":
        assert called.out.count("/dog/") == 18
    allowed = call("predict", "mlp-mnist", folder, "--top", 1, *FORMS[form], "--skip-bad", "25%")
    assert (allowed.code, allowed.out) == (0, called.out)
    assert allowed.err.startswith("tlx: 12 of 48 images are bad and left out: ")


def test_bad_images_alone(refused, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    for options in FORMS.values():
        line = refused(4, "predict", "mlp-mnist", tmp_path, *options, "--skip-bad", "99%")
        assert f"2 of 2 images are bad (--skip-bad allows 99%): {tmp_path}/a.png: not an image" in line


@pytest.mark.parametrize(
    ("code", "arguments", "words"),
    [
        (2, ["predict"], "no model: name a run, an export or a preset, then images"),
        (2, ["predict", "--base", "mlp-mnist"], "no images: name files or folders after the model"),
        (2, ["predict", "mlp-mnist", "a.png", "--json", "--format", "csv"], "two forms: give one"),
        (2, ["predict", "mlp-mnist", "a.png", "--workers=-1"], "workers: -1"),
        (2, ["predict", "mlp-mnist", "a.png", "--batch-size", 0], "batch_size: 0"),
        (4, ["predict", "mlp-mnist", "no.png"], "no.png: No such file or directory"),
        (4, ["predict", "mlp-mnist", "*.gif"], "*.gif: nothing matches; check the pattern"),
        (4, ["predict", "mlp-mnist", "empty"], "empty: holds no images"),
        (2, ["embed", "mlp-mnist", "a.png", "--out", "a.txt"], ".npz, .parquet or .safetensors; name such a file"),
        (2, ["embed", "mlp-mnist", "a.png", "--out", "a.npz", "--stage", "hiden1"], "hiden1"),
        (6, ["embed", "mlp-mnist", "a.png", "--out", "no/a.npz"], "no/a.npz: there is no such folder"),
        (2, ["embed", "mlp-mnist", "a.png"], "--out"),
        (2, ["embed", "mlp-mnist", "a.png", "--data", "pets", "--out", "a.npz"], "pets and a.png: name data or images"),
        (2, ["embed", "mlp-mnist", "a.png", "--part", "test", "--out", "a.npz"], "--part test goes with --data"),
        (2, ["embed", "mlp-mnist", "--out", "a.npz"], "no images: name files or folders after the model"),
        (
            2,
            ["embed", "mlp-mnist", "--data", "pets", "--validation", 0, "--part", "validation", "--out", "a.npz"],
            "no such examples",
        ),
        (2, ["evaluate", "mlp-mnist", "--data", "pets", "--part", "trian"], "trian"),
        (2, ["evaluate", "mlp-mnist", "--data", "pets", "--top", 0], "--top must be at least 1, not 0"),
        (4, ["evaluate", "mlp-mnist", "--data", "pets"], "2 classes that the model does not know: 'cat', 'dog'"),
        (4, ["evaluate", "mlp-mnist", "--data", "bad"], "bad/cat/0.png: not an image"),
    ],
)
def test_refusals(refused, tmp_path, monkeypatch, code, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(PNG)
    Path("empty").mkdir()
    write_classes(Path("pets"))
    write_classes(Path("bad"))
    Path("bad/cat/0.png").write_bytes(b"")
    before = sorted(tmp_path.rglob("*"))
    assert words in refused(code, *arguments)
    assert sorted(tmp_path.rglob("*")) == before


def test_without_pyarrow_embed_names_the_extra_before_it_begins(refused, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    line = refused(2, "embed", "mlp-mnist", "no.png", "--out", tmp_path / "a.parquet")
    assert "pip install 'tlx-jax[parquet]', or write .npz" in line


@pytest.mark.parametrize("suffix", ["npz", "parquet", "safetensors"])
@pytest.mark.parametrize(("stage", "pool"), [("conv2", "max"), (None, "average")])
def test_embed_writes_the_features(call, tmp_path, pets, suffix, stage, pool):
    if suffix == "parquet":
        pytest.importorskip("pyarrow.parquet", reason="pyarrow is in the extra `parquet`")
    out, options = tmp_path / f"a.{suffix}", [*(["--stage", stage] if stage else []), "--pool", pool]
    called = call("embed", "cnn-mnist", pets / "test", "--out", out, *options, "--batch-size", 10, "--json")
    base, images = tlx.load("cnn-mnist"), ImageFiles([str(pets / "test")])
    feeding = {"stage": stage, "pool": pool, "batch_size": 10}
    expected = np.concatenate(list(features(base.model, base.variables, images, base.preprocess, **feeding)))
    assert called.json == {
        "model": "cnn-mnist",
        "path": str(out),
        "rows": 24,
        "features": expected.shape[1],
        "stage": stage or base.model.base.stage_names[-1],
        "pool": pool,
        "skipped": [],
    }
    found, names = read_features(out)
    assert (found == expected).all()
    assert names == [f"{pets}/test/{name}/{i}.png" for name in CLASSES for i in range(8)] == list(images.names)


def read_features(path):
    if path.suffix == ".npz":
        with np.load(path) as found:
            return found["features"], found["paths"].tolist()
    if path.suffix == ".parquet":
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(path)
        return np.array(table["features"].to_pylist(), np.float32), table["path"].to_pylist()
    from safetensors import safe_open

    with safe_open(path, "np") as found:
        return found.get_tensor("features"), json.loads(found.metadata()["paths"])


def test_embed_leaves_out_bad_images_or_writes_nothing(call, refused, tmp_path):
    folder, out = with_bad(tmp_path / "data"), tmp_path / "a.npz"
    assert "12 of 48 images are bad (--skip-bad allows 0%)" in refused(4, "embed", "mlp-mnist", folder, "--out", out)
    assert not out.exists()
    called = call("embed", "mlp-mnist", folder, "--out", out, "--skip-bad", "25%")
    assert (called.code, called.out.startswith(f"{out}: 36 rows of ")) == (0, True)
    for name in BAD:
        (folder / "cat" / name).unlink()
    written = out.read_bytes()
    assert "is already there" in refused(2, "embed", "mlp-mnist", folder, "--out", out, "--skip-bad", "25%")
    assert out.read_bytes() == written
    assert call("embed", "mlp-mnist", folder, "--out", tmp_path / "good.npz").code == 0
    (found, names), (expected, good) = read_features(out), read_features(tmp_path / "good.npz")
    assert (len(names), names) == (36, good)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("suffix", ["npz", "parquet", "safetensors"])
def test_embed_writes_labels_of_data(call, tmp_path, pets, suffix):
    if suffix == "parquet":
        pytest.importorskip("pyarrow.parquet", reason="pyarrow is in the extra `parquet`")
    out = tmp_path / f"a.{suffix}"
    called = call("embed", "mlp-mnist", "--data", pets, "--out", out, "--json")
    assert called.json["parts"] == {"train": 24, "validation": 24, "test": 24}
    found, names = read_features(out)
    data = tlx.load_data(str(pets))
    assert names == [name for part in (data.train, data.validation, data.test) for name in part.names]
    labels, classes, parts = read_labels(out)
    assert [classes[label] if suffix != "parquet" else label for label in labels] == [
        Path(name).parent.name for name in names
    ]
    assert parts == [part for part in ("train", "validation", "test") for _ in range(24)]
    call("embed", "mlp-mnist", pets / "test", "--out", tmp_path / "plain.npz")
    plain, paths = read_features(tmp_path / "plain.npz")
    np.testing.assert_allclose(found[[names.index(path) for path in paths]], plain, rtol=1e-5, atol=1e-5)


def read_labels(path):
    """Read labels (of Parquet the names of their classes), all classes, and parts."""
    if path.suffix == ".npz":
        with np.load(path) as found:
            assert found["labels"].dtype == np.int32
            return found["labels"].tolist(), found["classes"].tolist(), found["parts"].tolist()
    if path.suffix == ".parquet":
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(path)
        assert set(zip(table["label"].to_pylist(), table["class"].to_pylist(), strict=True)) == set(enumerate(CLASSES))
        return table["class"].to_pylist(), list(CLASSES), table["part"].to_pylist()
    from safetensors import safe_open

    with safe_open(path, "np") as found:
        metadata = found.metadata()
        return found.get_tensor("labels").tolist(), json.loads(metadata["classes"]), json.loads(metadata["parts"])


def test_embed_takes_a_part_of_data_without_names(call, tmp_path):
    called = call("embed", "--base", "mlp-mnist", "--data", "digits", "--part", "validation", "--labels-per-class", 1,
                  "--out", tmp_path / "a.npz", "--json")  # fmt: skip
    assert (called.json["rows"], called.json["parts"]) == (10, {"validation": 10})
    assert read_features(tmp_path / "a.npz")[1] == [f"validation#{number}" for number in range(10)]
    assert sorted(read_labels(tmp_path / "a.npz")[0]) == list(range(10))


@pytest.mark.parametrize("part", ["test", "validation", "train"])
def test_evaluate_gives_the_figures_that_scikit_learn_gives(call, trained, pets, part):
    options = ["--part", part, "--top", 2, "--json"]
    found = call("evaluate", trained, *options).json
    loaded, source = tlx.load(trained), getattr(tlx.load_data(str(pets)), part)
    scores = tlx.evaluate(loaded, source, batch_size=4)
    labels, predicted, shares = labels_of(source), scores.predicted, scores.probabilities
    index = np.arange(3)
    assert found["examples"] == len(labels)
    assert 0 < found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert found["loss"] == pytest.approx(metrics.log_loss(labels, shares, labels=index), rel=1e-4)
    assert found["top2_accuracy"] == pytest.approx(metrics.top_k_accuracy_score(labels, shares, k=2, labels=index))
    assert found["confusion"] == metrics.confusion_matrix(labels, predicted, labels=index).tolist()
    figures = metrics.precision_recall_fscore_support(labels, predicted, labels=index, zero_division=np.nan)
    for key, values in zip(("precision", "recall", "f1", "support"), figures, strict=True):
        plain = [None if value != value else value for value in values.tolist()]
        assert [each[key] for each in found["classes"]] == pytest.approx(plain)
    assert [each["label"] for each in found["classes"]] == list(CLASSES)
    wrong = {(each["label"], each["predicted"]): each["count"] for each in found["confused"]}
    pairs = [(CLASSES[i], CLASSES[j]) for i, j in zip(labels, predicted, strict=True) if i != j]
    assert wrong == {pair: pairs.count(pair) for pair in pairs}
    sure, bins = shares.max(1), np.ceil(shares.max(1) * 15)
    gaps = [abs((labels == predicted)[bins == each].mean() - sure[bins == each].mean()) for each in bins]
    assert found["calibration_error"] == pytest.approx(np.mean(gaps), rel=1e-5)
    assert found == call("evaluate", trained, "--data", pets, *options, "--batch-size", 4).json


def test_classes_of_data_are_matched_by_name(call, refused, trained, pets, tmp_path):
    data = tmp_path / "data"
    for part in ("train", "test"):
        for name in ("cat", "bee"):
            shutil.copytree(pets / part / name, data / part / name)
    found = call("evaluate", trained, "--data", data, "--json").json
    whole = call("evaluate", trained, "--json").json
    assert found["confusion"] == [[0, 0, 0], *whole["confusion"][1:]]
    assert [each["support"] for each in found["classes"]] == [0, 8, 8]
    assert found["classes"][0]["recall"] is None
    shutil.copytree(pets / "train/ant", data / "train/wasp")
    line = refused(4, "evaluate", trained, "--data", data)
    assert "data: 1 classes that the model does not know: 'wasp'; rename or remove them" in line


def test_evaluate_may_leave_out_empty_classes(call, refused, trained, pets, tmp_path):
    shutil.copytree(pets, tmp_path / "data")
    (tmp_path / "data/test/dog").mkdir()
    line = refused(4, "evaluate", trained, "--data", tmp_path / "data")
    assert f"{tmp_path}/data/test/dog (empty)" in line
    assert "--empty-classes skip" in line
    called = call("evaluate", trained, "--data", tmp_path / "data", "--empty-classes", "skip")
    assert (called.code, "1 class folders without images (test/dog)" in called.err) == (0, True)


def test_evaluate_tells_of_what_it_left_out(call, trained, pets, tmp_path):
    shutil.copytree(pets, tmp_path / "data")
    (tmp_path / "data/test/cat/0.png").write_bytes(b"")
    (tmp_path / "data/test/.DS_Store").write_bytes(b"")
    called = call("evaluate", trained, "--data", tmp_path / "data", "--skip-bad", "2%")
    assert called.code == 0
    assert "on 23 examples" in called.out
    assert "left out 1 hidden or system files" in called.err
    assert "1 of 72 images are bad and left out: " in called.err
