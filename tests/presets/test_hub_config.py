"""What a hub folder says of its weights is used, or contradicts them and is refused by its key."""

import json
import os
import time
from pathlib import Path

import pytest
from safetensors.numpy import save_file
from sources import config_for, source_of

import tlx
from tlx.convert import TABLES
from tlx.errors import ConfigError, TlxError, WeightsError
from tlx.presets import convert_weights
from tlx.presets.arch import arch_named
from tlx.presets.catalogue import published
from tlx.presets.hub_config import hub_config
from tlx.presets.hub_json import JsonFile
from tlx.presets.hub_preprocess import described_preprocess, difference
from tlx.presets.published import describe
from tlx.presets.stated import settle

TABLE = TABLES["timm/resnet18"]
NAMES = ["ant", "bee", "cat"]
CFG = {
    "input_size": [3, 64, 64],
    "interpolation": "bicubic",
    "crop_pct": 0.8,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "num_classes": 1000,  # of the weights that training began with: timm leaves it so
}
TIMM_CONFIG = {
    "architecture": "resnet18",
    "num_classes": 3,
    "global_pool": "avg",
    "label_names": NAMES,
    "pretrained_cfg": CFG,
}
FLAT = {"architecture": "resnet18", **CFG, "num_classes": 3, "label_names": NAMES}
TRANSFORMERS = {
    "model_type": "resnet",
    "architectures": ["ResNetForImageClassification"],
    "depths": [2, 2, 2, 2],
    "layer_type": "basic",
    "id2label": dict(zip("012", NAMES, strict=True)),
    "label2id": {name: number for number, name in enumerate(NAMES)},
}
PROCESSOR = {
    "do_resize": True,
    "size": {"shortest_edge": 64},
    "crop_pct": 0.8,
    "resample": 3,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.25, 0.25, 0.25],
}
SEEN = tlx.Preprocess(64, 64, 3, "bicubic", resize=80, mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A ResNet 18 of three classes."""
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    tensors = {name: each.read() for name, each in source_of(TABLE, config_for(TABLE, classes=3)).tensors.items()}
    save_file(tensors, path, metadata={"format": "pt"})
    return path


@pytest.fixture
def hub(tmp_path, weights):
    """Make a folder as hubs lay them out; a file's content is an object, or text."""

    def make(config=None, processor=None, name="model.safetensors") -> Path:
        folder = tmp_path / "hub"
        folder.mkdir()
        os.link(weights, folder / name)
        for file, content in (("config.json", config), ("preprocessor_config.json", processor)):
            if content is not None:
                text = content if isinstance(content, str) else json.dumps(content)
                (folder / file).write_text(text, encoding="utf-8")
        return folder

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "processor"),
    [(TIMM_CONFIG, None), (FLAT, None), (TRANSFORMERS, PROCESSOR), (TIMM_CONFIG, PROCESSOR)],
    ids=["timm", "flat", "transformers", "both"],
)
def test_a_folder_says_how_its_weights_see_images_and_what_they_name(tmp_path, hub, config, processor):
    done = convert_weights(hub(config, processor), tmp_path / "made")
    found = tlx.load(tmp_path / "made")
    assert (found.preprocess, found.classes) == (SEEN, tuple(NAMES))
    assert found.config.input_shape == (64, 64, 3)
    assert "config.json" in done.preprocessing
    assert done.class_names.startswith("those of config.json")
    assert (found.card["preprocessing"], found.card["class names"]) == (done.preprocessing, done.class_names)
    assert "licence" not in found.card  # these are not the published weights
    assert str(tmp_path) not in (tmp_path / "made" / "README.md").read_text()


@pytest.mark.slow
def test_only_what_belongs_to_the_file_is_read(tmp_path, hub):
    folder = hub({**TIMM_CONFIG, "architecture": "vgg16"}, name="mine.safetensors")
    assert convert_weights(folder / "mine.safetensors", tmp_path / "made").class_names == ""
    with pytest.raises(
        WeightsError, match=r"no tensor of timm/vgg16 is in it.*hub/config\.json: 'architecture' says what it is"
    ):
        convert_weights(folder, tmp_path / "other")
    assert (
        convert_weights(folder, tmp_path / "without", options=tlx.ConvertOptions(use_hub_config=False)).class_names
        == ""
    )


def test_a_file_of_the_hubs_name_belongs_to_its_folder(tmp_path, hub):
    folder = hub(TIMM_CONFIG)
    convert_weights(folder / "model.safetensors", tmp_path / "made")
    assert tlx.load(tmp_path / "made").classes == tuple(NAMES)


def test_a_published_name_with_a_folder_of_weights(hub):
    folder = hub({**TIMM_CONFIG, "pretrained_cfg": None})
    found = tlx.load("timm/resnet18.a1_in1k", folder)
    assert found.preprocess == published("timm/resnet18.a1_in1k").preprocess
    (folder / "config.json").write_text(json.dumps(TIMM_CONFIG))
    with pytest.raises(ConfigError, match=r"'pretrained_cfg' has another height .*than timm/resnet18\.a1_in1k"):
        tlx.load("timm/resnet18.a1_in1k", folder)
    found = tlx.load("torchvision/resnet18", folder)  # names the network, and no set of weights
    assert (found.preprocess, found.classes) == (SEEN, tuple(NAMES))


@pytest.mark.slow
def test_unknown_configurations_are_noted_and_tlx_own_are_not(tmp_path, hub):
    folder = hub({"class_name": "Functional"})
    done = convert_weights(folder, tmp_path / "made")
    assert done.notes == (f"{folder}/config.json: neither timm's nor Hugging Face's configuration, so it is not used",)
    assert done.preprocessing == "assumed to be that of torchvision/resnet18.imagenet1k_v1"
    (folder / "config.json").write_text((tmp_path / "made" / "config.json").read_text())
    assert convert_weights(folder, tmp_path / "again").notes == ()


def test_classes_of_one_name_are_told_apart(tmp_path, hub):
    done = convert_weights(hub({**TIMM_CONFIG, "label_names": ["crane", "bee", "crane"]}), tmp_path / "made")
    assert tlx.load(tmp_path / "made").classes == ("crane (0)", "bee", "crane (2)")
    assert "'crane' more than once" in done.notes[0]


def test_many_names_of_many_classes_take_no_time(hub):
    folder = hub({"id2label": {str(n): str(n // 2) for n in range(40_000)}})
    start = time.process_time()
    assert len(hub_config(folder, tlx.convert.open_weights(folder)).classes.value) == 40_000
    assert time.process_time() - start < 10


@pytest.mark.parametrize(("options", "count"), [({"fresh": ["head"]}, 3), ({"head": False}, 0)])
def test_names_belong_to_the_files_own_head(hub, options, count):
    folder = hub(TIMM_CONFIG)
    source = tlx.convert.open_weights(folder)
    known, stated = settle(arch_named("timm/resnet18"), hub_config(folder, source), source.path, named=False)
    made = describe(known, tlx.convert.make_plan(source, TABLE, **options), source, stated)
    assert made.classes == tuple(f"class {number}" for number in range(count))


DEEP = "[" * 100_000
UNREADABLE = {
    "cut short": ('{"architecture": ', "not JSON"),
    "a list": ("[]", "a JSON list, expected an object"),
    "deep": (DEEP, "not JSON"),
    "a key twice": ('{"num_classes": 3, "num_classes": 4}', "'num_classes' is there more than once"),
    "huge": (" " * ((16 << 20) + 1), "16,777,217 bytes, which no configuration has"),
    "no text": ("\ud800", "not JSON"),
}


@pytest.mark.parametrize("what", UNREADABLE)
@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_a_file_that_cannot_be_read_is_named_on_one_line(tmp_path, hub, what, file):
    content, words = UNREADABLE[what]
    folder = hub()
    (folder / file).write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(WeightsError) as caught:
        convert_weights(folder, tmp_path / "made")
    message = str(caught.value)
    assert message.startswith(f"{folder}/{file}: ")
    assert words in message
    assert "\n" not in message
    assert not (tmp_path / "made").exists()


CONTRADICTIONS = {  # changes of timm's configuration: what to convert with, the error, words of it
    "another network": ({"architecture": "resnet34"}, {}, WeightsError, "does not fit timm/resnet34"),
    "another than asked for": (
        {"architecture": "resnet34"},
        {"arch": "torchvision/resnet18"},
        ConfigError,
        "'architecture' says 'resnet34', and torchvision/resnet18 was asked for",
    ),
    "an unknown network": ({"architecture": "resnet18d"}, {}, WeightsError, "no table of, did you mean 'resnet18'?"),
    "another pool": ({"global_pool": "max"}, {}, WeightsError, "'global_pool' is 'max'"),
    "other arguments": ({"model_args": {"output_stride": 8}}, {}, WeightsError, "'model_args/output_stride' is 8"),
    "a number of classes": ({"num_classes": 4, "label_names": None}, {}, WeightsError, "'num_classes' says 4 classes"),
    "names and a number": ({"num_classes": 4}, {}, WeightsError, "'label_names' names 3 classes, 'num_classes' says 4"),
    "too few names": (
        {"num_classes": None, "pretrained_cfg": None, "label_names": NAMES[:2]},
        {},
        WeightsError,
        "has 3 classes, and 2 names are those of config.json (label_names)",
    ),
    "other names": ({}, {"classes": ("x", "y", "z")}, ConfigError, "'label_names' has other names than the classes"),
    "a size": ({}, {"input_size": (32, 32)}, ConfigError, "input size 32x32 contradicts"),
    "a preprocessing": (
        {},
        {"preprocess": tlx.Preprocess(64, 64, 3, "bicubic", resize=80, std=(0.25,) * 3)},
        ConfigError,
        "'pretrained_cfg' has another mean ([0.5, 0.5, 0.5], [])",
    ),
    "channels": (
        {"pretrained_cfg": {**CFG, "input_size": [1, 64, 64], "mean": [0.5], "std": [0.5]}},
        {},
        WeightsError,
        "takes 3 channels, and the preprocessing (that of config.json (pretrained_cfg)) makes 1",
    ),
    "the input's channels": (
        {"model_args": {"in_chans": 1}},
        {},
        WeightsError,
        "'model_args/in_chans' says 1 channels",
    ),
    "an image's size": (
        {"image_size": 32},
        {},
        WeightsError,
        "'image_size' is 32, and config.json (pretrained_cfg) makes",
    ),
    "two directions": (
        {"label2id": {"ant": 0, "bee": 2, "cat": 1}, "id2label": {str(n): x for n, x in enumerate(NAMES)}},
        {},
        WeightsError,
        "'label2id' gives 'bee' the number 2, unlike 'id2label'",
    ),
    "numbers of names": ({"id2label": {"0": "ant", "2": "bee"}}, {}, WeightsError, "'id2label': its numbers are not 0"),
    "two lists": ({"id2label": {"0": "x", "1": "y", "2": "z"}}, {}, WeightsError, "other names than 'label_names'"),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_a_contradiction_is_refused_by_its_key(tmp_path, hub, what):
    change, options, kind, words = CONTRADICTIONS[what]
    own = tlx.ConvertOptions(**{name: value for name, value in options.items() if name != "arch"})
    with pytest.raises(TlxError) as caught:
        convert_weights(hub({**TIMM_CONFIG, **change}), tmp_path / "made", options.get("arch"), own)
    assert type(caught.value) is kind, caught.value
    assert words in str(caught.value)
    assert not (tmp_path / "made").exists()


def test_a_cache_of_links_is_a_folder_as_well_and_a_link_to_nothing_is_refused(tmp_path, hub, weights):
    folder = hub()
    (tmp_path / "blob").write_text("\ufeff" + json.dumps(TIMM_CONFIG))
    (folder / "config.json").symlink_to(tmp_path / "blob")
    assert hub_config(folder, tlx.convert.open_weights(folder)).classes.value == tuple(NAMES)
    (tmp_path / "blob").unlink()
    with pytest.raises(WeightsError, match=r"config\.json: not a file that can be read"):
        hub_config(folder, tlx.convert.open_weights(folder))


def test_a_hubs_folder_is_to_be_converted_first(hub):
    with pytest.raises(WeightsError, match="convert the folder first"):
        tlx.load(hub(TIMM_CONFIG))


@pytest.mark.parametrize(("mean", "std"), [((), ()), ((0.0,) * 3, (1.0,) * 3)])
def test_what_does_nothing_is_no_difference(mean, std):
    seen = tlx.Preprocess(4, 4, 3, mean=mean, std=std)
    assert difference(seen, tlx.Preprocess(4, 4, 3)) is None
    assert difference(seen, tlx.Preprocess(4, 4, 3, std=(1.0, 1.0, 2.0))).startswith("std ")


def test_two_files_that_disagree_are_refused(tmp_path, hub):
    with pytest.raises(WeightsError, match=r"says another resize .*than config\.json"):
        convert_weights(hub(TIMM_CONFIG, {**PROCESSOR, "crop_pct": 0.9}), tmp_path / "made")


WRONG_TYPES = [
    ("config.json", {"num_classes": "3"}, "'num_classes' is '3', expected a number of classes"),
    ("config.json", {"num_classes": True}, "'num_classes' is True"),
    ("config.json", {"num_classes": -1}, "'num_classes' is -1"),
    ("config.json", {"architecture": ["resnet18"]}, "'architecture' is"),
    ("config.json", {"pretrained_cfg": [1]}, "'pretrained_cfg' is [1], expected an object"),
    ("config.json", {"pretrained_cfg": {**CFG, "mean": "0.5"}}, "'pretrained_cfg/mean' is '0.5'"),
    ("config.json", {"pretrained_cfg": {**CFG, "mean": [0.5, 0.5]}}, "'pretrained_cfg/mean' has 2 values, expected 3"),
    ("config.json", {"pretrained_cfg": {**CFG, "std": [0.5, 0.5, 0]}}, "std: (0.5, 0.5, 0.0) must be above 0"),
    ("config.json", {"pretrained_cfg": {**CFG, "std": [1, 1, float("nan")]}}, "'pretrained_cfg/std' is"),
    ("config.json", {"pretrained_cfg": {**CFG, "crop_pct": 1.5}}, "'pretrained_cfg/crop_pct' is 1.5"),
    ("config.json", {"pretrained_cfg": {**CFG, "crop_mode": "border"}}, "'pretrained_cfg/crop_mode' is 'border'"),
    (
        "config.json",
        {"pretrained_cfg": {**CFG, "input_size": [3, 64, 32]}},
        "'pretrained_cfg/input_size' is not square",
    ),
    ("config.json", {"pretrained_cfg": {**CFG, "input_size": [64, 64]}}, "expected [channels, height, width]"),
    ("config.json", {"pretrained_cfg": {**CFG, "interpolation": "random"}}, "'pretrained_cfg/interpolation' is"),
    ("config.json", {"pretrained_cfg": {**CFG, "crop_pct": 1e-320}}, "'pretrained_cfg/crop_pct' is 1e-320"),
    ("config.json", {"pretrained_cfg": {**CFG, "mean": [10**400, 0, 0]}}, "an integer of 401 digits"),
    ("config.json", {"pretrained_cfg": {**CFG, "input_size": [3, 10**9, 10**9]}}, "height: 1000000000 is over"),
    ("config.json", {"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1.0}}, "gives 'b' the number 1.0"),
    ("config.json", {"label_names": ["a", "b", 3]}, "'label_names': not all of its names are texts"),
    ("preprocessor_config.json", {"image_mean": None}, "'image_mean' is missing"),
    ("preprocessor_config.json", {"resample": 5}, "'resample' is 5"),
    ("preprocessor_config.json", {"size": {"height": 64}}, "'size' is {'height': 64}"),
    ("preprocessor_config.json", {"size": {"shortest_edge": 64}, "crop_pct": None}, "'crop_pct' is None"),
    ("preprocessor_config.json", {"do_resize": False}, "'do_resize' is false"),
    ("preprocessor_config.json", {"do_resize": "yes"}, "'do_resize' is 'yes', expected true or false"),
    ("preprocessor_config.json", {"rescale_offset": True}, "'rescale_offset' is true"),
]


@pytest.mark.parametrize(("file", "change", "words"), WRONG_TYPES)
def test_a_value_that_cannot_be_is_refused_by_its_key(hub, weights, file, change, words):
    folder = hub()
    good = TIMM_CONFIG if file == "config.json" else PROCESSOR
    (folder / file).write_text(json.dumps({**good, **change}))
    source = tlx.convert.open_weights(folder)
    with pytest.raises(WeightsError) as caught:
        hub_config(folder, source)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{folder}/{file}: ")


def processor(**content):
    return described_preprocess(JsonFile(Path("preprocessor_config.json"), content)).value


NORMALISED = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
HALF = {"mean": (0.5,) * 3, "std": (0.5,) * 3}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"size": 224, "resample": 2}, tlx.Preprocess(224, 224, 3, **HALF)),  # ViT's, of old
        ({"size": {"height": 64, "width": 32}, "resample": 2}, tlx.Preprocess(64, 32, 3, **HALF)),
        (
            {"size": 256, "crop_size": 224, "do_center_crop": True, "resample": 3},
            tlx.Preprocess(224, 224, 3, "bicubic", resize=256, **HALF),
        ),
        (
            {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "resample": 0},
            tlx.Preprocess(224, 224, 3, "nearest", resize=256, **HALF),
        ),
        (
            {"size": {"shortest_edge": 384}, "crop_pct": 0.9, "resample": 1},
            tlx.Preprocess(384, 384, 3, "lanczos", **HALF),
        ),
        ({"size": 32, "resample": 2, "do_normalize": False, "do_rescale": False}, tlx.Preprocess(32, 32, 3, scale=1.0)),
        (
            {"size": 32, "resample": 2, "rescale_factor": 0.5, "do_flip_channel_order": True},
            tlx.Preprocess(32, 32, 3, scale=0.5, channel_order="bgr", **HALF),
        ),
    ],
)
def test_image_processors_are_read(content, expected):
    assert processor(**NORMALISED, **content) == expected


def test_an_image_that_a_squashing_network_sees():
    cfg = JsonFile(Path("config.json"), {**CFG, "crop_mode": "squash", "crop_pct": 1})
    assert described_preprocess(cfg).value.resize is None


def test_a_card_says_where_the_preprocessing_is_not_quite_the_published_one():
    source = source_of(TABLE, config_for(TABLE, channels=4))
    made = describe(arch_named("torchvision/resnet18"), tlx.convert.make_plan(source, TABLE), source)
    assert made.card["preprocessing"].endswith(
        "torchvision/resnet18.imagenet1k_v1, mean and std averaged for 4 channels"
    )
    assert made.preprocess.mean == (sum((0.485, 0.456, 0.406)) / 3,) * 4
