"""Known outputs: check a converted network against arrays that somebody computed with the original one."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tlx.convert.leaves import sha256
from tlx.convert.read import open_weights
from tlx.convert.source import Source
from tlx.convert.verify import TINY, Difference, Verification, run_layer, variables_of
from tlx.errors import ConfigError, suggestion
from tlx.files.opening import shown
from tlx.models.registry import ModelConfig, build_model
from tlx.tree.paths import Tree, quote

INPUTS, OUTPUTS = "inputs", "outputs"
AT_ONCE = 16  # examples


@dataclass(frozen=True)
class KnownOutputs:
    """Inputs of a network, and what it makes of them: at its end ('outputs'), and at stages of tlx's by name.

    `inputs` (N, H, W, C) are images where they are uint8, and what the preprocessing makes of images where they are
    floats. `outputs` (N, classes) are logits, or without a head the pooled features.
    """

    name: str
    inputs: np.ndarray
    expected: Mapping[str, np.ndarray]


def read_known_outputs(path: Path, config: ModelConfig) -> KnownOutputs:
    """Read 'inputs', 'outputs' and stages' outputs from an .npz file, for a network of this configuration.

    Raise `ConfigError` for arrays that such a network does not have or that cannot be compared, `WeightsError` and
    `UnsafeFileError` for a file that cannot be read or trusted.
    """
    source = open_weights(path)
    if source.format != "npz":
        raise ConfigError(f"{shown(path)}: not an .npz file, which known outputs are kept in (numpy.savez)")
    stages = build_model(config).base.stage_names
    for name in (*source.tensors, *source.others):
        if name not in (INPUTS, OUTPUTS, *stages):
            hint = f"{suggestion(name, (INPUTS, OUTPUTS, *stages)) or ':'} it has 'inputs', 'outputs' and the stages"
            raise ConfigError(f"{shown(path)}: {shown(name)!r} is no output of the network{hint} {quote(stages, 40)}")
    missing = [name for name in (INPUTS, OUTPUTS) if name not in source.tensors]
    if missing:
        raise ConfigError(f"{shown(path)}: no array is called {quote(missing)}: 'inputs' and 'outputs' are needed")
    inputs = _inputs(source, config, path)
    expected = {name: _array(source, name, len(inputs), path) for name in (*stages, OUTPUTS) if name in source.tensors}
    return KnownOutputs(f"{path.name}, SHA-256 {sha256(np.fromfile(path, np.uint8))[:16]}…", inputs, expected)


def _inputs(source: Source, config: ModelConfig, path: Path) -> np.ndarray:
    shape, takes = source.tensors[INPUTS].shape, config.input_shape
    if len(shape) != 4 or shape[1:] != takes or not shape[0]:
        turned = len(shape) == 4 and (shape[2], shape[3], shape[1]) == takes
        cure = ": its axes are (N, C, H, W), transpose(0, 2, 3, 1) brings them here" if turned else ""
        raise ConfigError(f"{shown(path)}: {INPUTS!r} has shape {shape}, the network takes (N, {_listed(takes)}){cure}")
    array = _array(source, INPUTS, shape[0], path)
    return array if source.tensors[INPUTS].dtype != "uint8" else array.astype(np.uint8)


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))


def _array(source: Source, name: str, count: int, path: Path) -> np.ndarray:
    """Read an array of `count` rows as float32."""
    tensor = source.tensors[name]
    if tensor.dtype not in ("float16", "float32", "float64") and (name != INPUTS or tensor.dtype != "uint8"):
        wanted = "floats, or uint8 for images" if name == INPUTS else "floats"
        raise ConfigError(f"{shown(path)}: {name!r} holds {tensor.dtype}, expected {wanted}")
    if tensor.shape[:1] != (count,):
        raise ConfigError(f"{shown(path)}: {name!r} has shape {tensor.shape}, and there are {count} inputs")
    array = tensor.read()
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    broken = int(np.size(single) - np.count_nonzero(np.isfinite(single)))
    if broken:
        raise ConfigError(
            f"{shown(path)}: {name!r} has {broken:,} numbers of {single.size:,} that are not finite floats"
        )
    return single


def verify_outputs(
    known: KnownOutputs, config: ModelConfig, variables: Tree, preprocess: Callable[[np.ndarray], np.ndarray]
) -> Verification:
    """Run a model on known inputs, and compare what it makes of them with the known outputs, stage by stage.

    `preprocess` turns images into the model's inputs. Each stage runs on what the stage before it made. Raise
    `ConfigError` for an output of another shape than the network's.
    """
    largest = dict.fromkeys(known.expected, 0.0)
    with jax.default_matmul_precision("highest"):
        for first in range(0, len(known.inputs), AT_ONCE):
            part = known.inputs[first : first + AT_ONCE]
            x = preprocess(part) if part.dtype == np.uint8 else part
            for name, output in _outputs(config, variables, x):
                if name in largest:
                    theirs = known.expected[name]
                    if output.shape[1:] != theirs.shape[1:]:
                        raise ConfigError(
                            f"{known.name}: {name!r} has shape {theirs.shape}, the network makes "
                            f"(N, {_listed(output.shape[1:])})"
                        )
                    gap = np.abs(output - theirs[first : first + AT_ONCE]).max()
                    largest[name] = float(np.maximum(largest[name], gap))  # not a number where one is
    scale = {name: max(float(np.abs(theirs).max()), TINY) for name, theirs in known.expected.items()}
    found = tuple(Difference(name, gap, gap / scale[name]) for name, gap in largest.items())
    return Verification(known.name, found)


def _outputs(config: ModelConfig, variables: Tree, x: Any) -> Iterator[tuple[str, np.ndarray]]:
    model = build_model(config)
    for stage in model.base.stages:
        x = run_layer(stage.layer, variables_of(variables, "base", stage.name), x)
        yield stage.name, np.asarray(x)
    yield OUTPUTS, np.asarray(run_layer(model.head, variables_of(variables, "head"), x))


def looks_like_probabilities(known: KnownOutputs) -> bool:
    """Say whether the known outputs may come from behind a softmax, which tlx's networks end before."""
    outputs = known.expected[OUTPUTS]
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(-1), 1, atol=1e-3))
