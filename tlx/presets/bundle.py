"""A bundle: a folder of safetensors, configuration and card that holds one pretrained model."""

import functools
import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tlx.errors import ConfigError, StorageError, WeightsError
from tlx.files import home, sync, sync_tree
from tlx.files.opening import RegularFile, shown
from tlx.models.batch_norm import is_variance
from tlx.models.registry import BUILT_IN, ModelConfig, architecture_named, init_variables, is_known
from tlx.objectives import objective_from_dict
from tlx.presets.pretrained import CLASSES, Pretrained
from tlx.presets.specs import FILES, spec_from_dict
from tlx.tree.paths import Tree, flatten, quote, unflatten
from tlx.tree.surgery import graft

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
FORMAT = 1
MAX_SPEC = 64 << 20  # bytes of a file that belongs to an input spec
METADATA = {"format": "tlx"}


def save(pretrained: Pretrained, path: str | Path) -> Path:
    """Save a pretrained model as a folder; `tlx.load` is the inverse, and gives back the same bits.

    The folder holds `model.safetensors` (paths such as 'params/base/conv1/kernel'), `config.json` (model,
    preprocessing, classes, card, the weights' SHA-256) and `README.md` (the card, for people). It is written beside its
    place and moved there when complete. Raise `ConfigError` where `path` exists and is not empty, `StorageError` where
    it cannot be written.
    """
    from safetensors.numpy import save as to_safetensors

    if not isinstance(pretrained, Pretrained):
        raise ConfigError(
            f"pretrained: {type(pretrained).__name__}, expected a tlx.Pretrained: a run's is run.load(), a fit's "
            "dataclasses.replace(pretrained, variables=fit.variables)"
        )

    def write(file: Path) -> dict[str, Any]:
        _check_types(pretrained)
        leaves = {name: np.asarray(leaf, order="C") for name, leaf in flatten(pretrained.variables).items()}
        weights = to_safetensors(leaves, metadata=METADATA)
        file.write_bytes(weights)
        allowed = any(is_variance(name) and (leaf < 0).any() for name, leaf in leaves.items())  # as it was converted
        return {"sha256": hashlib.sha256(weights).hexdigest()} | ({"allow_negative_variance": True} if allowed else {})

    return write_bundle(pretrained, home(path), write)


def _check_types(pretrained: Pretrained) -> None:
    """Raise `WeightsError` for leaves of another type than the model's, which `load_bundle` would refuse."""
    types = {name: leaf.dtype for name, leaf in flatten(pretrained.variables).items()}
    if set(types.values()) <= {np.dtype("float32")}:
        return
    wanted = flatten(jax.eval_shape(functools.partial(init_variables, pretrained.config)))
    other = [f"{name} ({dtype})" for name, dtype in types.items() if name in wanted and dtype != wanted[name].dtype]
    if other:
        raise WeightsError(f"numbers of another type than the model's in {quote(other)}: cast them (tlx.tree.graft)")


def write_bundle(
    pretrained: Pretrained,
    path: Path,
    write: Callable[[Path], dict[str, Any]],
    beside: Callable[[Path], None] | None = None,
) -> Path:
    """Write a folder as `save` does, its weights by `write`, and whatever else belongs into it by `beside`.

    `write` takes the path of the weights' file and returns what is to be known of it: its 'sha256', and whether it may
    hold numbers that are not finite ('allow_nonfinite') or negative variances ('allow_negative_variance'). The
    variables of `pretrained` are not looked at.
    """
    check_free(path)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.mkdir(parents=True)
        config = {
            "format": FORMAT,
            "name": pretrained.name,
            "model": pretrained.config.to_dict(),
            **_registered_in(pretrained.config.architecture),
            "preprocess": pretrained.preprocess.to_dict(),
            **({} if pretrained.objective == CLASSES else {"objective": pretrained.objective.to_dict()}),
            "classes": list(pretrained.classes),
            "weights": {"file": WEIGHTS, **write(partial / WEIGHTS)},
            "card": dict(pretrained.card),
        }
        (partial / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (partial / CARD).write_text(_card_page(config), encoding="utf-8")
        for name, content in getattr(pretrained.preprocess, "files", {}).items():
            (partial / name).write_bytes(content)
        if beside is not None:
            beside(partial)
        sync_tree(partial)
        partial.replace(path)
        sync(path.parent)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise StorageError(
            f"{path}: cannot be written ({error.strerror}): choose another folder or free the disk"
        ) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return path


def check_free(path: str | Path) -> None:
    """Raise `ConfigError` where `save` would not write: something is there already, other than an empty folder."""
    path = home(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(f"{path}: is already there: name another folder")


def load_bundle(path: str | Path) -> Pretrained:
    """Load a pretrained model from a folder that `save` wrote; strict, and never running code from it.

    Raise `WeightsError` for files that are missing, damaged, changed since they were saved (SHA-256), that hold numbers
    which are not finite or negative variances, or whose tensors are not just those of the model.
    """
    path = home(path)
    config = read_config(path)
    check_registered(path, config)
    try:
        model = ModelConfig.from_dict(config["model"])
        preprocess = spec_from_dict(config["preprocess"], _spec_files(path))
        objective = objective_from_dict(config["objective"]) if "objective" in config else CLASSES
        template = jax.eval_shape(functools.partial(init_variables, model))
        name, classes, card, weights = config["name"], config["classes"], config["card"], config["weights"]
        expected = weights["sha256"]
        allowed = {flag for flag in ("allow_nonfinite", "allow_negative_variance") if weights.get(flag) is True}
        if not (isinstance(name, str) and isinstance(card, dict) and isinstance(classes, list)):
            raise ConfigError("name, card and classes must be a string, an object and a list")
        if not all(isinstance(each, str) for each in classes) or len(set(classes)) != len(classes):
            raise ConfigError("classes must be different strings")
        whole = Pretrained(name, model, template, preprocess, tuple(classes), card, objective)
    except MemoryError:  # says nothing about the file
        raise
    except Exception as error:  # whatever a hand-made configuration makes fail
        raise WeightsError(f"{path / CONFIG}: {_one_line(error)}: not a configuration that tlx wrote") from error
    try:
        variables = graft(template, _read_weights(path / WEIGHTS, expected, template, allowed)).tree
    except (WeightsError, ConfigError) as error:
        raise WeightsError(f"{path / WEIGHTS}: {error}") from error
    return replace(whole, variables=variables)


def _spec_files(path: Path) -> dict[str, bytes]:
    """Read the files of a folder that belong to an input spec."""
    there = {name: RegularFile.at(path / name) for name in FILES if (path / name).is_file()}
    if large := [name for name, file in there.items() if file.size > MAX_SPEC]:
        raise WeightsError(f"{shown(path / large[0])}: more than {MAX_SPEC:,} bytes: not a file that tlx wrote")
    return {name: file.read(0, file.size).tobytes() for name, file in there.items()}


def _registered_in(architecture: str) -> dict[str, str]:
    return {} if architecture in BUILT_IN else {"registered_in": architecture_named(architecture).file}


def check_registered(path: Path, config: dict[str, Any]) -> None:
    """Raise `ConfigError` for a folder whose architecture nobody has registered, naming the file that did."""
    model = config.get("model")
    name = model.get("architecture") if isinstance(model, dict) else None
    if not isinstance(name, str) or "registered_in" not in config or is_known(name):
        return
    noted = _noted_imports(path.parent / "config.yaml")
    if noted:
        made = f"the run was made with --import {noted}: name it again"
    else:
        made = f"name the file that registers it (--import {shown(str(config['registered_in']))}, or import it first)"
    raise ConfigError(f"{path / CONFIG}: unknown architecture {shown(name)!r}, one of somebody's own: {made}")


def _noted_imports(path: Path) -> str:
    """Return what the run that a folder is the export of was made with, as its configuration notes it."""
    import yaml

    try:
        with path.open("rb") as file:
            found = yaml.safe_load(file.read(1 << 20))
        return shown(str(found["import"]))
    except (OSError, ValueError, TypeError, LookupError, RecursionError, yaml.YAMLError):
        return ""


def _one_line(error: Exception) -> str:
    return str(error) if isinstance(error, ConfigError) else f"{type(error).__name__} {error}".partition("\n")[0][:200]


def read_config(path: Path) -> dict[str, Any]:
    """Read a bundle's configuration; raise `WeightsError` where it is missing, damaged or of another format."""
    try:
        config = json.loads((path / CONFIG).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path / CONFIG}: cannot be read ({error}): name a folder that `tlx.save` wrote") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        whose = (
            ""
            if isinstance(config, dict) and "format" in config
            else f": convert the folder first (tlx convert {path} DEST)"
        )
        raise WeightsError(f"{path / CONFIG}: not a configuration of format {FORMAT} that tlx wrote{whose}")
    return config


def _read_weights(path: Path, expected: str, template: Tree, allowed: Set[str]) -> Tree:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot be read ({error.strerror})") from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise WeightsError(
            f"SHA-256 is {found[:12]}…, saved as {str(expected)[:12]}…: the file is damaged, fetch it again"
        )
    try:
        leaves = load(content)
    except SafetensorError as error:
        raise WeightsError(f"not a safetensors file ({error})") from error
    except KeyError as error:  # a type that NumPy does not have
        raise WeightsError(f"holds numbers of the type {error}, which tlx does not write") from error
    wanted = {name: leaf.dtype for name, leaf in flatten(template).items()}
    other = [f"{name} ({leaf.dtype})" for name, leaf in leaves.items() if name in wanted and leaf.dtype != wanted[name]]
    if other:
        raise WeightsError(f"numbers of another type than the model's in {quote(other)}")
    broken = [f"{name} ({n:,})" for name, leaf in leaves.items() if (n := int((~np.isfinite(leaf)).sum()))]
    if broken and "allow_nonfinite" not in allowed:
        raise WeightsError(f"numbers that are not finite in {quote(broken)}")
    negative = [
        f"{name} ({n:,})" for name, leaf in leaves.items() if is_variance(name) and (n := int((leaf < 0).sum()))
    ]
    if negative and "allow_negative_variance" not in allowed:
        raise WeightsError(f"negative variances in {quote(negative)}")
    return unflatten(leaves)


def _card_page(config: dict[str, Any]) -> str:
    """Write the card as Markdown."""
    lines = [f"# {config['name']}", ""]
    lines += [f"- **{key}**: {_inline(value)}" for key, value in config["card"].items()]
    model, weights = config["model"], config["weights"]
    lines += [
        f"- **model**: {_inline(model)}",
        f"- **preprocessing**: {_inline(config['preprocess'])}",
        f"- **classes**: {_inline(config['classes'])}",
        f"- **weights**: {weights['file']}, SHA-256 {weights['sha256']}",
        "",
        'Load with `tlx.load("this folder")`.',
    ]
    return "\n".join(lines) + "\n"


def _inline(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{text}`" if not isinstance(value, str) else text.replace("\n", " ")
