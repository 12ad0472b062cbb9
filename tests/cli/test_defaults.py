"""What the command and the library take by default is the same: the command's options stand apart, for its help imports
no JAX."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

import tlx
from tlx import recipes
from tlx.cli.finetune import Finetune

OF_COMMAND = {field.name: field.default for field in dataclasses.fields(Finetune)}
OWN = {  # fields of a record by the names of options that stand for them
    tlx.ActivationCache: {"where": "cache", "dtype": "cache_dtype", "views": "cache_views"},
    tlx.Devices: {"count": "devices", "by": "parallel", "shard": "shard"},
}
# What the command says in words of its own, or takes apart into several options
OTHERWISE = {"compare_scratch", "objective", "preprocess", "augment", "mix", "balanced", "cache", "devices", "config"}
OTHERWISE |= {"limit", "folder", "norms", "crop_ratio", "check_preprocessing", "interpret"}


@pytest.mark.parametrize(
    "kind", [tlx.RunOptions, tlx.Augment, tlx.TextAugment, tlx.Mixup, tlx.ActivationCache, tlx.Devices]
)
def test_options_are_by_default_what_the_library_s_records_have(kind):
    compared = 0
    for field in dataclasses.fields(kind):
        name = OWN.get(kind, {}).get(field.name, field.name)
        if field.name not in OTHERWISE:
            assert OF_COMMAND[name] == field.default, name
            compared += 1
    assert compared


def test_the_words_that_stand_for_defaults_mean_them():
    assert tlx.RunOptions().compare_scratch is None
    assert (OF_COMMAND["compare_scratch"], OF_COMMAND["sampling"], OF_COMMAND["sync_norms"]) == (
        "auto",
        "natural",
        True,
    )
    assert (tlx.RunOptions().balanced, tlx.Devices().norms) == (False, "all")
    assert OF_COMMAND["cache_limit"] * 1e9 == tlx.ActivationCache().limit


@pytest.mark.parametrize("recipe", ["probe", "finetune", "gradual", "full", "scratch"])
def test_a_recipe_is_by_default_the_library_s(recipe):
    base = tlx.load("cnn-mnist")
    assert Finetune(recipe=recipe).build_recipe(base) == getattr(recipes, recipe)(base)


def test_a_large_base_of_texts_has_a_rate_that_rises_and_falls():
    large = {"embeddings": {"word": np.zeros(recipes.LARGE, np.int8)}, "layer0": {"bias": np.zeros(3)}}
    base = SimpleNamespace(
        name="texts", stages=tuple(large), variables={"params": large}, preprocess=SimpleNamespace(takes_text=True)
    )
    recipe = Finetune().build_recipe(base)
    assert recipe == recipes.finetune(base)
    assert recipe[1].groups["base"].schedule == tlx.schedules.Linear(5e-5, warmup=0.1)
    said = Finetune(schedule="constant", base_rate=1e-4).build_recipe(base)
    assert said[1].groups["base"].schedule == tlx.schedules.Constant(1e-4)
    assert Finetune(base_rate=1e-4).build_recipe(base)[1].groups["base"].schedule.rate == 1e-4
