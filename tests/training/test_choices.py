"""Every choice by name is checked when it is made, before anything is loaded or computed, and the nearest name said."""

import pytest

import tlx
from tlx.devices import Devices
from tlx.errors import ConfigError
from tlx.models.small import mlp
from tlx.optim import Constant, Group, Phase
from tlx.runs import evaluate_run
from tlx.training import ActivationCache, features
from tlx.tree import Resize

GROUP = Group(Constant(0.1))


def phase(**options):
    return Phase("head", 1, (("**", "all"),), {"all": GROUP}, **options)


@pytest.mark.parametrize(
    ("build", "fault"),
    [
        (lambda: phase(norms="store"), "unknown norms 'store', did you mean 'stored'"),
        (lambda: ActivationCache("dsk"), "unknown ActivationCache.where 'dsk', did you mean 'disk'"),
        (lambda: ActivationCache(dtype="float46"), "unknown ActivationCache.dtype 'float46', did you mean 'float16'"),
        (lambda: Devices(by="jits"), "unknown Devices.by 'jits', did you mean 'jit'"),
        (lambda: Devices(shard="optimiser"), "unknown Devices.shard 'optimiser', did you mean 'optimizer'"),
        (lambda: Devices(norms="eech"), "unknown Devices.norms 'eech', did you mean 'each'"),
        (lambda: Resize("w", "interpolated"), "unknown resize method 'interpolated', did you mean 'interpolate'"),
        (lambda: Group("constant"), "the schedule must be one of tlx.optim's, such as Constant.*, not 'constant'"),
        (lambda: Group(Constant(0.1), "adam"), "Sgd, Adam or AdamW or an optax.GradientTransformation, not 'adam'"),
        (lambda: mlp().span(until="dens1"), "unknown stage 'dens1', did you mean 'dense1'"),
        (
            lambda: tlx.recipes.finetune(["conv1"], thaw_from="conv"),
            "no stage 'conv' to thaw from, did you mean 'conv1'",
        ),
        (lambda: evaluate_run("nowhere", part="tests"), "unknown part 'tests', did you mean 'test'"),
        (lambda: next(features(tlx.load("mlp-mnist").model, {}, (), None, pool="mean")), "unknown pool 'mean'"),
        (lambda: tlx.ProbeOptions(method="lbgfs"), "unknown method 'lbgfs', did you mean 'lbfgs'"),
        (lambda: tlx.ProbeOptions(scale="comon"), "unknown scale 'comon', did you mean 'common'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(build, fault):
    with pytest.raises(ConfigError, match=fault):
        build()
