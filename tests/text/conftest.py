"""Files of word vectors: written, opened, and the real ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tlx.text import WordVectors, open_word_vectors


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., WordVectors]:
    """Write bytes to a file whose name says nothing, and open it."""

    def write_and_open(content: bytes, **options: Any) -> WordVectors:
        path = tmp_path / "vectors"
        path.write_bytes(content)
        return open_word_vectors(path, **options)

    return write_and_open


@pytest.fixture(scope="session")
def real(shared_data: Path) -> Path:
    """The folder of real files of word vectors."""
    return shared_data / "text" / "vectors"
