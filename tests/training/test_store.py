"""How much memory there is to keep activations in."""

import os

from tlx.training import store


def test_a_system_that_does_not_say_how_much_memory_it_has_is_guessed_at(monkeypatch):
    assert store._physical_memory() > store.free_memory() // 2 > 0
    monkeypatch.delattr(os, "sysconf")  # as on Windows
    assert store._physical_memory() == store._GUESSED
    assert store.free_memory() > 0
