"""Vectors of texts beside sentence-transformers, and beside transformers with pooling by hand."""

import json

import numpy as np
import pytest
from peers import import_peer
from safetensors.numpy import load_file, save_file
from text_models import TEXTS, write_text_folder

import tlx
from tlx.errors import WeightsError

LONG = ("the film is very dull " * 12, *TEXTS)  # longer than is taken
POOLS = {
    "mean": lambda hidden, mask: (hidden * mask).sum(1) / mask.sum(1),
    "cls": lambda hidden, mask: hidden[:, 0],
    "max": lambda hidden, mask: np.where(mask, hidden, -np.inf).max(1),
}


def sentence_folder(folder, pool, normalize, *, flags=True, length=24):
    """Write a tiny model as sentence-transformers does: with flags as up to its version 5, or a name as since 6."""
    write_text_folder(folder)
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] if normalize else [])]
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    for path, _ in kinds[1:]:
        (folder / path).mkdir()
    named = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}
    old = {"word_embedding_dimension": 12} | {f"pooling_mode_{own}": name == pool for name, own in named.items()}
    new = {"embedding_dimension": 12, "pooling_mode": pool, "include_prompt": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(old if flags else new))
    said = {"max_seq_length": length, "do_lower_case": False} if flags else {"transformer_task": "feature-extraction"}
    (folder / "sentence_bert_config.json").write_text(json.dumps(said))
    tokenizer = {"tokenizer_class": "BertTokenizer", "model_max_length": int(1e30) if flags else length}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return folder


def embedded(call, folder, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(LONG) + "\n")
    out = tmp_path / f"{folder.name}.npz"
    called = call("embed", "--base", folder, tmp_path / "texts.txt", "--out", out)
    assert called.code == 0, called.err
    return np.load(out)["features"]


@pytest.mark.slow
@pytest.mark.parametrize("flags", [True, False], ids=["flags", "name"])
@pytest.mark.parametrize(("pool", "normalize"), [("mean", True), ("cls", False), ("max", False)])
def test_vectors_are_those_of_transformers_pooled(call, pool, normalize, flags, tmp_path):
    transformers, torch = import_peer("transformers"), import_peer("torch")
    folder = sentence_folder(tmp_path / "tiny", pool, normalize, flags=flags)
    ours = embedded(call, folder, tmp_path)
    network = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    batch = tokenizer(list(LONG), padding=True, truncation=True, max_length=24, return_tensors="pt")
    with torch.no_grad():
        hidden = network(**batch).last_hidden_state.numpy()
    theirs = POOLS[pool](hidden, batch["attention_mask"].numpy()[..., None].astype(bool))
    if normalize:
        theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("pool", "normalize"), [("mean", True), ("cls", False), ("max", True)])
def test_vectors_are_those_of_sentence_transformers(call, pool, normalize, tmp_path):
    import_peer("transformers")
    library = pytest.importorskip("sentence_transformers")
    folder = sentence_folder(tmp_path / "tiny", pool, normalize)
    theirs = library.SentenceTransformer(str(folder), device="cpu")
    expected = theirs.encode([text.strip() for text in LONG], convert_to_numpy=True)
    np.testing.assert_allclose(embedded(call, folder, tmp_path), expected, atol=1e-5)
    theirs.save(str(tmp_path / "saved"))  # as its own version writes it
    np.testing.assert_allclose(embedded(call, tmp_path / "saved", tmp_path), expected, atol=1e-5)


def test_a_length_is_that_of_the_tokenizer_where_nothing_else_says_one(tmp_path):
    assert tlx.load(sentence_folder(tmp_path / "a", "cls", False, flags=False, length=20)).preprocess.max_length == 20
    assert tlx.load(sentence_folder(tmp_path / "b", "cls", False, length=None)).preprocess.max_length == 40


@pytest.mark.parametrize("mode", [["mean", "cls"], "weightedmean", [], None])
def test_other_ways_to_pool_are_refused(mode, tmp_path, refuses):
    folder = sentence_folder(tmp_path / "tiny", "mean", False, flags=False)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": mode}))
    with refuses(WeightsError, "1_Pooling", "mean, cls, max", "--no-hub-config"):
        tlx.load(folder)
