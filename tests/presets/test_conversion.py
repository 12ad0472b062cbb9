import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cases import bits
from safetensors.numpy import save_file
from sources import changed, config_for, lazy, renamed, source_of, tensor

import tlx
from tlx.convert import TABLES, Tensor, open_weights
from tlx.convert.export import export
from tlx.convert.torch_writer import write_torch
from tlx.errors import ConfigError, WeightsError
from tlx.models import init_variables, leaf_shapes
from tlx.presets import convert_weights, export_weights
from tlx.tree import flatten

CIFAR = TABLES["cifar/resnet20"]
FILES = {"README.md", "certificate.json", "config.json", "kept.safetensors", "model.safetensors"}


def write(path: Path, source) -> Path:
    write_torch(path, list(source.tensors.values()))
    return path


@pytest.fixture
def file(tmp_path) -> Path:
    return write(tmp_path / "resnet20.th", source_of(CIFAR))


def test_a_folder_holds_all_that_belongs_to_it(tmp_path, file):
    done = convert_weights(file, tmp_path / "made")
    assert {each.name for each in (tmp_path / "made").iterdir()} == FILES
    assert (done.path, done.arch, done.coverage, done.fresh, done.prefix) == (
        tmp_path / "made",
        "cifar/resnet20",
        1,
        (),
        "",
    )
    assert done.certificate == tmp_path / "made" / "certificate.json"
    assert done.verification is None
    assert {reason for _, reason in done.ignored} == {"a counter of batches, of no use in inference"}
    found = tlx.load(tmp_path / "made")
    assert found.config == config_for(CIFAR)
    assert found.classes[0] == "class 0"  # nobody vouches that these are Idelbayev's weights
    assert (found.name, done.preprocessing) == ("resnet20", "assumed to be that of cifar/resnet20")
    assert "licence" not in found.card
    source = source_of(CIFAR)
    leaves = flatten(found.variables)
    assert bits(leaves["params/head/logits/bias"]) == bits(source.tensors["linear.bias"].read())
    kept = open_weights(tmp_path / "made" / "kept.safetensors").tensors
    assert len(kept) == 19
    assert bits(kept["bn1.num_batches_tracked"].read()) == bits(source.tensors["bn1.num_batches_tracked"].read())


def test_a_named_architecture_vouches_for_classes_and_licence(tmp_path, file):
    convert_weights(file, tmp_path / "made", arch="cifar/resnet20")
    found = tlx.load(tmp_path / "made")
    assert (found.name, found.classes[0]) == ("cifar/resnet20", "airplane")
    assert found.card["licence"] == "BSD-2-Clause: Yerlan Idelbayev"


def test_where_nothing_is_kept_there_is_no_file_of_it(tmp_path):
    convert_weights(write(tmp_path / "a.pth", source_of(CIFAR, counters=False)), tmp_path / "made")
    assert {each.name for each in (tmp_path / "made").iterdir()} == FILES - {"kept.safetensors"}


def test_what_is_kept_loses_the_prefix(tmp_path):
    convert_weights(
        write(tmp_path / "a.pth", renamed(source_of(CIFAR), lambda n: f"state_dict.module.{n}")), tmp_path / "made"
    )
    assert "bn1.num_batches_tracked" in open_weights(tmp_path / "made" / "kept.safetensors").tensors
    export_weights(tmp_path / "made", tmp_path / "back.pth", "cifar")
    assert open_weights(tmp_path / "back.pth").tensors.keys() == source_of(CIFAR).tensors.keys()


def test_a_head_of_ones_own_gets_names_of_no_meaning(tmp_path):
    write(tmp_path / "a.pth", source_of(CIFAR, config_for(CIFAR, classes=5)))
    convert_weights(tmp_path / "a.pth", tmp_path / "made")
    assert tlx.load(tmp_path / "made").classes == tuple(f"class {index}" for index in range(5))


def test_other_channels_have_another_preprocessing(tmp_path):
    write(tmp_path / "a.pth", source_of(CIFAR, config_for(CIFAR, channels=1)))
    convert_weights(tmp_path / "a.pth", tmp_path / "made", options=tlx.ConvertOptions(input_size=(40, 36)))
    found = tlx.load(tmp_path / "made")
    assert found.config.input_shape == (40, 36, 1)
    assert found.preprocess(np.zeros((1, 9, 9), np.uint8)).shape == (1, 40, 36, 1)


@pytest.mark.slow
def test_fresh_leaves_are_named_and_the_rest_is_the_files(tmp_path):
    write(tmp_path / "a.pth", changed(source_of(CIFAR), lambda tensors: tensors.pop("layer3.2.conv1.weight")))
    done = convert_weights(
        tmp_path / "a.pth",
        tmp_path / "made",
        arch="cifar/resnet20",
        options=tlx.ConvertOptions(fresh=["base/block3_3"], seed=1),
    )
    assert len(done.fresh) == 10
    assert done.coverage == 1 - 10 / 97
    leaves = flatten(tlx.load(tmp_path / "made").variables)
    fresh = flatten(init_variables(config_for(CIFAR), seed=1))
    same = {path for path, leaf in leaves.items() if bits(leaf) == bits(fresh[path])}
    assert same == set(done.fresh)
    assert json.loads(done.certificate.read_text())["fresh"] == list(done.fresh)


def spoil_nan(tensors):
    array = tensors["linear.bias"].read()
    array[:3] = np.nan
    tensors["linear.bias"] = tensor("linear.bias", array)


def spoil_variances(*values):
    """Give the first variances of a batch norm other values."""

    def spoil(tensors):
        array = tensors["bn1.running_var"].read()
        array[: len(values)] = values
        tensors["bn1.running_var"] = tensor("bn1.running_var", array)

    return spoil


def swap_statistics(tensors):
    for name in [name.removesuffix(".running_var") for name in tensors if name.endswith(".running_var")]:
        mean, var = (tensors[f"{name}.running_{end}"].read() for end in ("mean", "var"))
        tensors[f"{name}.running_mean"] = tensor(f"{name}.running_mean", var)
        tensors[f"{name}.running_var"] = tensor(f"{name}.running_var", mean)


def spoil_both(tensors):
    spoil_nan(tensors)
    spoil_variances(np.nan, -1)(tensors)


REFUSED = {
    "numbers that are not finite": (spoil_nan, {}, "not finite in 'linear.bias (3 of 10)'"),
    "negative variances": (spoil_variances(-1, -1e-30), {}, "negative variances in 'bn1.running_var (2 of 16)'"),
    "means as variances": (swap_statistics, {}, "means and variances are swapped"),
    "both, though one is wanted": (
        spoil_both,
        {"allow_nonfinite": True},
        "a.pth: negative variances in 'bn1.running_var (1 of 16)'",
    ),
    "both": (
        spoil_both,
        {},
        "'bn1.running_var (1 of 16)', 'linear.bias (3 of 10)' (--allow-nonfinite takes them); neg",
    ),
    "a tensor that lacks": (lambda tensors: tensors.pop("bn1.bias"), {}, "1 tensors are missing: 'bn1.bias'"),
    "a tensor too many": (lambda tensors: tensors.update(x=lazy("x", (2,))), {"arch": "cifar/resnet20"}, "no use: 'x'"),
    "another network": (lambda tensors: None, {"arch": "torchvision/resnet18"}, "does not fit torchvision/resnet18"),
    "another library": (lambda tensors: None, {"arch": "keras/vgg16"}, "is a file of the format torch-zip"),
    "of none": (
        lambda tensors: [tensors.clear(), tensors.update(x=lazy("x", (2,)))],
        {},
        "of no architecture that tlx knows",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_leaves_nothing_behind(tmp_path, what):
    change, how, words = REFUSED[what]
    arch, how = how.get("arch"), {name: value for name, value in how.items() if name != "arch"}
    write(tmp_path / "a.pth", changed(source_of(CIFAR), change))
    with pytest.raises(WeightsError) as caught:
        convert_weights(tmp_path / "a.pth", tmp_path / "made", arch, tlx.ConvertOptions(**how))
    assert words in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == ["a.pth"]


def test_a_folder_that_is_there_stays(tmp_path, file):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "mine").write_text("")
    with pytest.raises(ConfigError, match="is already there"):
        convert_weights(file, tmp_path / "made")
    assert [each.name for each in (tmp_path / "made").iterdir()] == ["mine"]


def test_numbers_that_are_not_finite_may_be_wanted(tmp_path):
    write(tmp_path / "a.pth", changed(source_of(CIFAR), spoil_nan))
    convert_weights(tmp_path / "a.pth", tmp_path / "made", options=tlx.ConvertOptions(allow_nonfinite=True))
    stored = open_weights(tmp_path / "made" / "model.safetensors").tensors["params/head/logits/bias"].read()
    assert np.isnan(stored).sum() == 3


def test_negative_variances_may_be_wanted(tmp_path):
    write(tmp_path / "a.pth", changed(source_of(CIFAR), spoil_variances(-1)))
    convert_weights(tmp_path / "a.pth", tmp_path / "made", options=tlx.ConvertOptions(allow_negative_variance=True))
    leaves = flatten(tlx.load(tmp_path / "made").variables)
    assert leaves["batch_stats/base/stem/conv_norm/var"][0] == -1
    tlx.save(tlx.load(tmp_path / "made"), tmp_path / "again")
    assert tlx.load(tmp_path / "again").config == config_for(CIFAR)
    config = json.loads((tmp_path / "made" / "config.json").read_text())
    del config["weights"]["allow_negative_variance"]
    (tmp_path / "made" / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"negative variances in 'batch_stats/base/stem/conv_norm/var \(1\)'"):
        tlx.load(tmp_path / "made")


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-42])
def test_variances_of_constant_channels_are_legal(tmp_path, value):
    write(tmp_path / "a.pth", changed(source_of(CIFAR), spoil_variances(*[value] * 16)))
    assert convert_weights(tmp_path / "a.pth", tmp_path / "made").coverage == 1


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_one_negative_variance_of_any_norm_and_type_is_found(tmp_path, dtype, suffix):
    tensors = {name: np.asarray(each.read()) for name, each in source_of(CIFAR, counters=False).tensors.items()}
    tensors = {name: array.astype(dtype) for name, array in tensors.items()}
    tensors["layer3.2.bn2.running_var"][-1] = -1e-6
    path = tmp_path / f"a.{suffix}"
    np.savez(path, **tensors) if suffix == "npz" else save_file(tensors, path)
    with pytest.raises(WeightsError, match=r"negative variances in 'layer3.2.bn2.running_var \(1 of 64\)'"):
        convert_weights(path, tmp_path / "made", arch="cifar/resnet20")


@pytest.mark.parametrize(
    ("value", "words"), [(np.inf, "not finite"), (-np.inf, "negative variances"), (np.nan, "not fi")]
)
def test_variances_that_are_no_numbers_are_refused(tmp_path, value, words):
    write(tmp_path / "a.pth", changed(source_of(CIFAR), spoil_variances(value)))
    with pytest.raises(WeightsError, match=words):
        convert_weights(tmp_path / "a.pth", tmp_path / "made")


def test_a_published_file_with_negative_variances_is_refused(tmp_path):
    write(tmp_path / "a.pth", changed(source_of(CIFAR), spoil_variances(-1)))
    with pytest.raises(WeightsError, match="negative variances"):
        tlx.load("cifar/resnet20", tmp_path / "a.pth")


# Back


def test_an_export_is_the_leaves_under_their_own_names(tmp_path, file):
    convert_weights(file, tmp_path / "made")
    done = export_weights(tmp_path / "made", tmp_path / "plain.safetensors", "safetensors")
    assert (done.coverage, done.arch) == (1, "resnet20")
    stored = open_weights(tmp_path / "plain.safetensors").tensors
    leaves = flatten(tlx.load(tmp_path / "made").variables)
    assert {name: bits(each.read()) for name, each in stored.items()} == {
        path: bits(leaf) for path, leaf in leaves.items()
    }


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_a_file_comes_back_tensor_by_tensor(tmp_path, file, suffix):
    convert_weights(file, tmp_path / "made")
    done = export_weights(tmp_path / "made", tmp_path / f"back{suffix}", "cifar")
    assert (done.coverage, done.arch) == (1, "cifar/resnet20")
    one, other = (open_weights(each).tensors for each in (file, tmp_path / f"back{suffix}"))
    assert {name: bits(each.read()) for name, each in one.items()} == {
        name: bits(each.read()) for name, each in other.items()
    }


@pytest.mark.parametrize(
    ("to", "name", "words"),
    [
        ("keras", "back.h5", "keras has no network that is arranged as 'resnet20' is"),
        ("torchvision", "back.pth", "torchvision has no network"),
        ("cifar", "back.h5", "PyTorch's weights are in .pth, .pt or .safetensors"),
        ("cifar", "back", "PyTorch's weights are in"),
        ("cifar", "resnet20.th", "is already there"),
    ],
)
def test_an_export_that_cannot_be_is_refused(tmp_path, file, to, name, words):
    convert_weights(file, tmp_path / "made")
    before = set(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=words):
        export_weights(tmp_path / "made", tmp_path / name, to)
    assert set(tmp_path.iterdir()) == before


def test_a_keras_export_has_the_suffix_of_its_layout(tmp_path):
    table = TABLES["keras/mobilenet_v2"]
    with pytest.raises(ConfigError, match=r"tlx writes Keras's layout in \.h5"):
        export(table, config_for(table), leaves_of(table.name), tmp_path / "a.weights.h5")


def leaves_of(name):
    shapes = leaf_shapes(config_for(TABLES[name]))
    return [Tensor(path, shape, "float32", lambda shape=shape: np.zeros(shape, "f4")) for path, shape in shapes.items()]


def test_an_export_wants_just_the_leaves(tmp_path):
    leaves = leaves_of("cifar/resnet20")
    with pytest.raises(ConfigError, match=r"not the leaves of resnet20: 'params/"):
        export(CIFAR, config_for(CIFAR), [each for each in leaves if "logits" not in each.name], tmp_path / "a.pth")
    with pytest.raises(ConfigError, match="is the architecture 'resnet32', not 'resnet20'"):
        export(TABLES["cifar/resnet32"], config_for(CIFAR), leaves, tmp_path / "a.pth")


def test_a_head_with_other_layers_is_refused_and_the_base_alone_is_not(tmp_path, file):
    with pytest.raises(ConfigError, match="hidden layers"):
        export(CIFAR, replace(config_for(CIFAR), hidden=(4,)), leaves_of("cifar/resnet20"), tmp_path / "other.pth")
    convert_weights(file, tmp_path / "made")
    tlx.save(tlx.load(tmp_path / "made", head=False), tmp_path / "base")
    export_weights(tmp_path / "base", tmp_path / "base.pth", "cifar")
    assert tlx.load("cifar/resnet20", tmp_path / "base.pth").classes == ()


def test_what_was_kept_is_certified(tmp_path, file):
    convert_weights(file, tmp_path / "made", arch="cifar/resnet20")
    kept = tmp_path / "made" / "kept.safetensors"
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(content)
    with pytest.raises(WeightsError, match="is not what was kept of the source"):
        export_weights(tmp_path / "made", tmp_path / "back.pth", "cifar")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: model.with_head(("a", "b"), pool="max"), "pools by 'average' before its head"),
        (lambda model: model.with_head(("a", "b"), hidden=(8,)), "hidden layers"),
        (lambda model: model.cut("block2_1").with_head(("a", "b")), "ends later than 'block2_1'"),
    ],
)
def test_a_network_that_the_target_does_not_have_is_refused(tmp_path, file, change, words):
    convert_weights(file, tmp_path / "made", arch="cifar/resnet20")
    tlx.save(change(tlx.load(tmp_path / "made")), tmp_path / "other")
    with pytest.raises(ConfigError, match=words):
        export_weights(tmp_path / "other", tmp_path / "back.pth", "cifar")
    assert not list(tmp_path.glob("back.pth*"))
    export_weights(tmp_path / "other", tmp_path / "alone.pth", "cifar", head=False)
