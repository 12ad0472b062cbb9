"""--dry-run of published bases: weights are not fetched, and what would be is said."""

import io
import json
import zipfile
from dataclasses import replace

import pytest
from loopback import Handler, serving
from text_models import TINY, VOCABULARY

from tlx.presets import vector_catalogue
from tlx.presets.hub import Url, cached_path
from tlx.presets.vector_catalogue import published_vectors

ROWS = "".join(
    f"{label}\t{'good' if label else 'bad'} film {a} {b}\n" for label in (0, 1) for a in "abcd" for b in "efgh"
)
QUICK = ["--head-epochs", 1, "--base-epochs", 1, "--batch-size", 4, "--compare-scratch", "never", "--dry-run"]


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server on this computer in place of the hub, and a cache of its own."""
    for name in ("TLX_OFFLINE", "HF_HUB_OFFLINE", "HF_TOKEN", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TLX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "train.tsv").write_text(ROWS)
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.root)
        yield server


def hub(files):
    """Answer for a repository that has these files."""

    def answer(handler):
        name = handler.path.partition("/resolve/main/")[2]
        if name not in files:
            return handler.reply(status=404)
        return Handler.serve(handler, files[name], etag=f'"{name}"')

    return answer


@pytest.mark.slow
def test_of_a_text_model_only_the_description_is_fetched(call, server, tmp_path):
    vocabulary = ("\n".join(VOCABULARY) + "\n").encode()
    server.answer = hub({"config.json": json.dumps(TINY).encode(), "vocab.txt": vocabulary})
    called = call("finetune", "--data", tmp_path / "train.tsv", "--base", "hf:some/tiny", *QUICK, "--json")
    assert called.code == 0, called.err
    assert called.json["fits"] is True
    assert "a run would fetch https://huggingface.co/some/tiny/resolve/main/model.safetensors" in called.err
    asked = {path.partition("/main/")[2] for _, path, _ in server.asked}
    assert {"config.json", "vocab.txt", "modules.json"} <= asked
    assert not [name for name in asked if name.endswith((".safetensors", ".bin", ".h5"))]


@pytest.mark.slow
def test_of_word_vectors_nothing_is_fetched(call, server, tmp_path, monkeypatch):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("glove.6B.50d.txt", "good 1 0\nbad 0 1\nfilm 0.5 0.5\n")
    entry = published_vectors("glove/6B.50d")
    own = replace(entry, location=Url(f"{server.root}/glove.6B.zip"))
    monkeypatch.setitem(vector_catalogue.PUBLISHED_VECTORS, own.name, own)
    server.answer = lambda handler: Handler.serve(handler, packed.getvalue())
    options = ["--data", tmp_path / "train.tsv", "--base", own.name, *QUICK]
    called = call("finetune", *options, "--json")
    assert called.code == 0, called.err
    assert not server.asked
    assert f"a run would fetch {own.location.url}" in called.err
    assert called.json["phases"][1]["memory"] > 400_000 * 50 * 4  # all rows, as the run would train them
    out = tmp_path / "run"
    ran = call("finetune", *options[:-1], "--out", out, "--json")
    assert ran.code == 0, ran.err
    assert cached_path(own.location).is_file()
    assert json.loads((out / "run.json").read_text())["base"] == own.name
    (tmp_path / "new.txt").write_text("bad film\n")
    predicted = call("predict", out, tmp_path / "new.txt", "--weights", own.name, "--json")
    assert predicted.code == 0, predicted.err
    again = call("finetune", *options, "--json")
    assert "would fetch" not in again.err
