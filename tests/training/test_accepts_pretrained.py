"""A function of a model in pieces takes one object that has them, and stays what it was."""

import pytest

import tlx
from tlx.training.accepts_pretrained import accepts_pretrained


@accepts_pretrained
def pieces(model, variables, source, preprocess, batch_size=32, *, workers=None):
    """Return what it is given."""
    return model, variables, source, preprocess, batch_size, workers


def test_one_object_stands_for_three_arguments():
    base = tlx.load("mlp-mnist")
    whole = (base.model, base.variables, "source", base.preprocess)
    assert pieces(base, "source") == pieces(*whole) == (*whole, 32, None)
    assert pieces(base, "source", 8, workers=1) == pieces(*whole, 8, workers=1)
    assert pieces(base, batch_size=8, source="source") == pieces(*whole, batch_size=8)
    assert pieces(model=1, variables=2, source=3, preprocess=4) == (1, 2, 3, 4, 32, None)


def test_it_is_as_strict_as_the_function():
    base = tlx.load("mlp-mnist")
    with pytest.raises(TypeError, match="too many positional arguments"):
        pieces(base, base.variables, "source", base.preprocess)
    with pytest.raises(TypeError, match=r"pieces\(\) missing a required argument: 'source'"):
        pieces(base)
    with pytest.raises(TypeError, match="unexpected keyword argument 'variables'"):
        pieces(base, "source", variables=base.variables)


def test_what_is_whole_is_given_on():
    base = tlx.load("mlp-mnist")
    assert accepts_pretrained(pieces.__wrapped__, whole=tlx.Pretrained)(base, "source")[1] is base
    assert pieces.__doc__ == "Return what it is given."


def test_a_run_stands_for_its_model(monkeypatch):
    base = tlx.load("mlp-mnist")
    monkeypatch.setattr(tlx.Run, "load", lambda run: base)
    assert pieces(tlx.Run(".", {}), "source")[1] is base.variables


def test_a_linen_module_is_a_piece():
    """Though it has `variables`, and may have what it likes."""
    base = tlx.load("mlp-mnist")
    assert pieces(base.model, {}, "source", base.preprocess)[0] == base.model
