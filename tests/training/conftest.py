"""What the tests of training share."""

import json
from pathlib import Path

import pytest
from toys import finetune_toy


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """The directory of a finished run: the MLP taken to the digits in two phases, and from scratch beside."""
    return finetune_toy(tmp_path_factory.mktemp("run") / "digits").path


@pytest.fixture
def described(finished):
    return json.loads((finished / "run.json").read_text())
