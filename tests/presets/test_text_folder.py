"""Text models as hubs lay them out: settings, tokenizer, pooling and head, strict both ways."""

import json
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from text_models import TEXTS, TINY, VOCABULARY, tensors_of, write_text_folder

import tlx
from tlx.errors import ConfigError, UnsafeFileError, WeightsError
from tlx.models.head import pooled
from tlx.presets import ConvertOptions, convert_weights, export_weights
from tlx.presets.conversion import check_folder
from tlx.presets.text_folder import load_text_folder

PLAIN = ConvertOptions()


def changed(folder, name, **changes):
    """Write a JSON file anew with some keys changed, or left out where they are None."""
    path = folder / name
    content = (json.loads(path.read_text()) if path.exists() else {}) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def sentences(folder, pooling=None, *more):
    """Write what sentence-transformers keeps in a folder."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), *((f"{n}_{k}", k) for n, k in enumerate(more, 2))]
    modules = [
        {"idx": n, "path": path, "type": f"sentence_transformers.models.{k}"} for n, (path, k) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling or {"pooling_mode_mean_tokens": True}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24}))


def test_a_folder_is_loaded_as_it_is(tmp_path):
    base = tlx.load(write_text_folder(tmp_path / "tiny"))
    assert (base.name, base.classes, base.config.pool) == ("tiny", (), "pooler")
    assert base.stages == ("embeddings", "layer0", "layer1")
    assert base.preprocess.max_length == 40
    assert base.preprocess.tokenizer.size == len(VOCABULARY)
    tensors = tensors_of(TINY)
    params = base.variables["params"]
    query = params["base"]["layer1"]["attention"]["query"]["kernel"]
    np.testing.assert_array_equal(query, tensors["encoder.layer.1.attention.self.query.weight"].T)
    np.testing.assert_array_equal(params["head"]["pooler"]["bias"], tensors["pooler.dense.bias"])


def test_a_new_head_takes_the_mean_or_the_pretrained_pooler(tmp_path):
    base = tlx.load(write_text_folder(tmp_path / "tiny"))
    mean, pooler = base.with_head(("a", "b")), base.with_head(("a", "b"), pool="pooler")
    assert mean.config.pool == "average"
    assert set(mean.variables["params"]["head"]) == {"logits"}
    kernel = base.variables["params"]["head"]["pooler"]["kernel"]
    np.testing.assert_array_equal(pooler.variables["params"]["head"]["pooler"]["kernel"], kernel)
    assert not np.asarray(pooler.variables["params"]["head"]["logits"]["kernel"]).any()


def test_what_is_saved_is_loaded_with_its_tokenizer(tmp_path, refuses):
    base = tlx.load(write_text_folder(tmp_path / "tiny")).with_head(("a", "b"))
    tlx.save(base, tmp_path / "saved")
    again = tlx.load(tmp_path / "saved")
    assert again.preprocess == base.preprocess
    assert again.config == base.config
    np.testing.assert_array_equal(
        tlx.predict(again, list(TEXTS)).predictions, tlx.predict(base, list(TEXTS)).predictions
    )
    tokenizer = tmp_path / "saved" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"good"', '"goad"'))
    with refuses(WeightsError, "vocabulary_sha256"):
        tlx.load(tmp_path / "saved")
    tokenizer.unlink()
    with refuses(WeightsError, "tokenizer.json"):
        tlx.load(tmp_path / "saved")


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["average", "cls", "max", "pooler"])
def test_padding_and_the_rest_of_the_batch_change_nothing(pool, tmp_path):
    base = tlx.load(write_text_folder(tmp_path / "tiny")).with_head(("a", "b"), pool=pool, hidden=(5,))
    model, spec = base.model, base.preprocess
    alone = [np.asarray(model.apply(base.variables, spec.on_device(spec.collate([text])))) for text in TEXTS]
    together = np.asarray(model.apply(base.variables, spec.on_device(spec.collate(list(TEXTS), length=40))))
    np.testing.assert_allclose(np.concatenate(alone), together, atol=2e-6)


@pytest.mark.slow
def test_a_text_of_padding_alone_is_finite(tmp_path):
    base = tlx.load(write_text_folder(tmp_path / "tiny"))
    batch = {"ids": np.zeros((1, 8), np.int32), "segments": np.zeros((1, 8), np.int32), "mask": np.zeros((1, 8), bool)}
    assert np.isfinite(np.asarray(base.model.apply(base.variables, batch))).all()


@pytest.mark.slow
def test_windows_do_not_see_each_other(tmp_path):
    base = tlx.load(write_text_folder(tmp_path / "tiny")).without_head()
    spec = replace(base.preprocess, max_length=5, long="windows")
    hidden = base.model.apply(base.variables, spec.on_device(spec.collate(["good bad film dull"])), method="features")
    windows = [spec.on_device(spec.collate([text])) for text in ("good bad film", "dull")]
    apart = [base.model.apply(base.variables, window, method="features")["hidden"] for window in windows]
    expected = np.concatenate([np.asarray(apart[0])[0, :5], np.asarray(apart[1])[0, :3]])
    np.testing.assert_allclose(np.asarray(hidden["hidden"])[0, :8], expected, atol=1e-5)


@pytest.mark.parametrize(
    "place", ["a film/model", "models--org--a film/snapshots/" + "0f" * 20, "a film/checkpoint-500"]
)
def test_a_model_is_named_after_a_folder_that_has_a_name_of_its_own(tmp_path, place):
    (tmp_path / place).parent.mkdir(parents=True)
    assert tlx.load(write_text_folder(tmp_path / place)).name == "a film"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classifier_dropout": 1.5}, "config.json: 'classifier_dropout' is 1.5"),
        ({"classifier_dropout": "high"}, "'classifier_dropout' is 'high'"),
        ({"model_type": "roberta", "pad_token_id": "one"}, "'pad_token_id' is 'one', expected the number of a piece"),
        ({"model_type": "roberta", "max_position_embeddings": [4]}, "'max_position_embeddings' is [4]"),
        ({"num_hidden_layers": 12}, "160 tensors are missing: 'bert.encoder.layer.10.attention.self.key.bias'"),
    ],
)
def test_settings_that_are_none_are_refused_in_a_line(tmp_path, changes, words):
    folder = write_text_folder(tmp_path / "tiny", classes=2)
    changed(folder, "config.json", **changes)
    with pytest.raises(WeightsError) as caught:
        tlx.load(folder)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["average", "cls"])
def test_windows_of_more_pieces_than_the_model_has_positions_are_pooled_together(tmp_path, pool):
    base = tlx.load(write_text_folder(tmp_path / "tiny")).without_head()
    spec = replace(base.preprocess, long="windows")
    words = ("good", "bad", "film", "dull", "play", "very")
    # Beside the long text, the short one is padded beyond the last position.
    long, short = (" ".join(words[n % 6] for n in range(count)) for count in (50, 20))
    batch = spec.on_device(spec.collate([long, short]))
    hidden = base.model.apply(base.variables, batch, method="features")
    parts = [" ".join(long.split()[:38]), " ".join(long.split()[38:])]
    apart = [
        base.model.apply(base.variables, base.preprocess.on_device(base.preprocess.collate([each])), method="features")
        for each in (*parts, short)
    ]
    first, second, other = (pooled(each, pool)[0] for each in apart)
    shares = np.array([40, 14]) / 54 if pool == "average" else np.full(2, 0.5)
    expected = [shares[0] * first + shares[1] * second, other]
    np.testing.assert_allclose(pooled(hidden, pool), expected, atol=1e-5)


def test_sentence_models_pool_and_normalise_as_their_modules_say(tmp_path):
    folder = write_text_folder(tmp_path / "tiny")
    sentences(folder, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "Normalize")
    base = tlx.load(folder)
    assert (base.config.pool, base.config.normalize, base.preprocess.max_length) == ("cls", True, 24)
    vectors = np.concatenate(
        list(tlx.training.features(base, tlx.data.ColumnSource({"input": list(TEXTS)}), pool=None))
    )
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert base.with_head(("a", "b")).config.normalize is False
    whole = load_text_folder(folder, ConvertOptions(use_hub_config=False))
    assert (whole.config.pool, whole.config.normalize, whole.preprocess.max_length) == ("pooler", False, 40)


@pytest.mark.parametrize(
    ("modules", "pooling", "words"),
    [
        (["Dense"], None, ["Dense", "modules.json"]),
        ([], {"pooling_mode_mean_sqrt_len_tokens": True}, ["mean_sqrt_len", "1_Pooling"]),
        ([], {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, ["1_Pooling"]),
    ],
)
def test_modules_that_tlx_does_not_run_are_refused(modules, pooling, words, tmp_path, refuses):
    folder = write_text_folder(tmp_path / "tiny")
    sentences(folder, pooling, *modules)
    with refuses(WeightsError, *words):
        tlx.load(folder)


def test_modules_do_not_lead_out_of_the_folder(tmp_path, refuses):
    folder = write_text_folder(tmp_path / "tiny")
    sentences(folder)
    (folder / "modules.json").write_text('[{"path": "../1_Pooling", "type": "a.Pooling"}]')
    with refuses(WeightsError, "modules.json"):
        tlx.load(folder)


@pytest.mark.slow
def test_a_classifier_keeps_its_head_and_the_names_of_its_classes(tmp_path):
    config = TINY | {"id2label": {"0": "no", "1": "yes"}, "architectures": ["BertForSequenceClassification"]}
    model = tlx.load(write_text_folder(tmp_path / "tiny", config, classes=2))
    assert (model.classes, model.config.pool) == (("no", "yes"), "pooler")
    assert tlx.predict(model, ["good"]).labels[0] in ("no", "yes")
    assert tlx.load(tmp_path / "tiny", head=False).classes == ()


def test_old_names_of_layer_norms_are_read(tmp_path):
    folder = write_text_folder(tmp_path / "tiny")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for name, array in load_file(folder / "model.safetensors").items()
    }
    new = tlx.load(folder).variables
    save_file(old | {"embeddings.position_ids": np.arange(40)[None]}, folder / "model.safetensors")
    assert jax.tree.all(jax.tree.map(np.array_equal, tlx.load(folder).variables, new))


@pytest.mark.parametrize(
    ("without", "extra", "words"),
    [
        ("encoder.layer.1.output.dense.bias", None, ["1 tensors are missing", "encoder.layer.1.output.dense.bias"]),
        (None, "encoder.layer.2.output.dense.bias", ["1 tensors have no use", "encoder.layer.2.output.dense.bias"]),
        ("embeddings.word_embeddings.weight", None, ["embeddings.word_embeddings.weight", "missing"]),
    ],
)
def test_every_tensor_is_used_and_every_leaf_is_filled(without, extra, words, tmp_path, refuses):
    tensors = tensors_of(TINY)
    tensors.pop(without, None)
    if extra:
        tensors[extra] = np.zeros(3, np.float32)
    folder = write_text_folder(tmp_path / "tiny", tensors=tensors)
    with refuses(WeightsError, *words):
        tlx.load(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_act": "mish"}, ["config.json", "hidden_act", "mish"]),
        ({"layer_norm_eps": 0}, ["config.json", "layer_norm_eps"]),
        ({"num_attention_heads": 5}, ["config.json", "5 heads", "12"]),
        ({"num_hidden_layers": -1}, ["config.json", "num_hidden_layers"]),
        ({"num_hidden_layers": "two"}, ["config.json", "num_hidden_layers"]),
        ({"num_hidden_layers": 100_000}, ["config.json", "num_hidden_layers", "100000", "1 to 1,000"]),
        ({"layer_norm_eps": "a" * 5000}, ["config.json", "layer_norm_eps", "'aaa"]),
        ({"vocab_size": "a" * 5000}, ["config.json", "vocab_size", "'aaa"]),
        ({"hidden_act": "a" * 5000}, ["config.json", "hidden_act", "'aaa"]),
        ({"hidden_size": 10**12, "num_attention_heads": 1}, ["config.json", "hidden_size"]),
        ({"position_embedding_type": "relative_key"}, ["position_embedding_type", "relative_key"]),
        ({"is_decoder": True}, ["is_decoder"]),
        ({"vocab_size": 5}, ["shape", "(5, 12)"]),
        ({"hidden_size": 24}, ["shape"]),
    ],
)
def test_a_configuration_that_does_not_hold_is_refused(changes, words, tmp_path, refuses):
    folder = write_text_folder(tmp_path / "tiny")
    changed(folder, "config.json", **changes)
    with refuses(WeightsError, *words):
        tlx.load(folder)


@pytest.mark.parametrize("kind", [["regression"], {}, 1])
def test_a_kind_of_problem_that_is_no_word_is_left_out(kind, tmp_path):
    folder = write_text_folder(tmp_path / "tiny", classes=2)
    changed(folder, "config.json", problem_type=kind)
    assert tlx.load(folder).objective == tlx.Classification()


def test_another_kind_of_network_is_named(tmp_path, refuses):
    folder = write_text_folder(tmp_path / "tiny")
    changed(folder, "config.json", model_type="roberto")
    with refuses(WeightsError, "roberto", "roberta"):
        load_text_folder(folder, PLAIN)


def test_a_tokenizer_with_more_pieces_than_rows_is_refused(tmp_path, refuses):
    folder = write_text_folder(tmp_path / "tiny")
    with (folder / "vocab.txt").open("a") as file:
        file.write("more\n")
    with refuses(WeightsError, f"{len(VOCABULARY) + 1} pieces", f"{len(VOCABULARY)} rows"):
        tlx.load(folder)


def test_what_belongs_to_it_must_be_there(tmp_path, refuses):
    folder = write_text_folder(tmp_path / "tiny")
    (folder / "vocab.txt").unlink()
    with refuses(WeightsError, "tokenizer.json", "vocab.txt"):
        tlx.load(folder)


def test_a_malicious_pickle_is_refused(tmp_path, refuses):
    folder = write_text_folder(tmp_path / "tiny")
    (folder / "model.safetensors").unlink()

    class Evil:
        def __reduce__(self):
            import os

            return os.system, ("echo",)

    import pickle

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    with refuses(UnsafeFileError, "system"):
        tlx.load(folder)


def test_a_conversion_is_certified_and_goes_back(tmp_path, refuses):
    folder = write_text_folder(tmp_path / "tiny", classes=2)
    done = convert_weights(folder, tmp_path / "converted")
    assert (done.arch, done.coverage, done.ignored) == ("hf/bert", 1.0, ())
    check = check_folder(done.path)
    assert check is not None
    assert check.proven == check.leaves
    certificate = json.loads((done.path / "certificate.json").read_text())["text"]
    assert certificate["settings"]["hidden_act"] == "gelu"
    assert certificate["settings"]["layer_norm_eps"] == 1e-12
    export_weights(done.path, tmp_path / "back", "hf")
    before, after = (load_file(each / "model.safetensors") for each in (folder, tmp_path / "back"))
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert tlx.load(tmp_path / "back").config == tlx.load(folder).config
    config = done.path / "config.json"
    config.write_text(config.read_text().replace('"hidden_act": "gelu"', '"hidden_act": "relu"'))
    with refuses(WeightsError, "settings"):
        check_folder(done.path)


def test_what_is_left_out_is_kept_and_goes_back(tmp_path):
    folder = write_text_folder(tmp_path / "tiny")
    sentences(folder)
    done = convert_weights(folder, tmp_path / "converted")
    assert [name for name, _ in done.ignored] == ["pooler.dense.bias", "pooler.dense.weight"]
    export_weights(done.path, tmp_path / "back", "hf")
    before, after = (load_file(each / "model.safetensors") for each in (folder, tmp_path / "back"))
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_base_may_end_early(tmp_path):
    base = tlx.load(write_text_folder(tmp_path / "tiny"), until="layer0")
    assert base.stages == ("embeddings", "layer0")


def test_published_text_models_have_names(refuses):
    with refuses(ConfigError, "hf/bert-base-uncased"):
        tlx.load("hf/bert-base-uncasd")


def test_a_published_text_model_is_loaded_from_a_folder(tmp_path):
    folder = write_text_folder(tmp_path / "tiny")
    base = tlx.load("hf/bert-tiny", folder)
    assert (base.name, base.card["licence"]) == ("hf/bert-tiny", "apache-2.0")
    shutil.rmtree(folder)


def test_a_checkpoint_of_googles_is_read(shared_data, tmp_path, refuses):
    """Kernels as they are, embeddings without a name of their own, heads of pretraining and slots left out."""
    given = shared_data / "text" / "checkpoints"
    folder = tmp_path / "google"
    shutil.copytree(given / "bert_tiny_tf1", folder)
    config = TINY | {"vocab_size": 96, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    del config["model_type"]
    (folder / "bert_config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY[:96]) + "\n", encoding="utf-8")
    done = convert_weights(folder, tmp_path / "converted")
    assert (done.arch, done.prefix, done.coverage) == ("google/bert", "bert/", 1.0)
    reasons = dict(done.ignored)
    assert "pretraining" in reasons["cls/predictions/output_bias"]
    assert "optimizer" in reasons["bert/pooler/dense/kernel/adam_m"]
    arrays = np.load(given / "bert_tiny_tf1.npz")
    params = tlx.load(done.path).variables["params"]
    kernel = arrays["bert/encoder/layer_1/attention/self/query/kernel"]
    np.testing.assert_array_equal(params["base"]["layer1"]["attention"]["query"]["kernel"], kernel)
    np.testing.assert_array_equal(
        params["base"]["embeddings"]["word"]["embedding"], arrays["bert/embeddings/word_embeddings"]
    )
    check = check_folder(done.path)
    assert check is not None
    assert check.proven == check.leaves
