"""Text models beside transformers: every stage, pooler and logits, and faults that are found where they are."""

import json
from dataclasses import replace

import numpy as np
import pytest
from peers import import_peer
from safetensors.numpy import load_file, save_file
from text_models import TEXTS, TINY, VOCABULARY, write_text_folder

import tlx
from tlx.convert.leaves import Conversion
from tlx.convert.text_reference import POOLER, verify_text
from tlx.errors import WeightsError
from tlx.presets import ConvertOptions, export_weights
from tlx.presets.text_folder import read_text_model

pytestmark = pytest.mark.slow
OPTIONS = ConvertOptions(use_hub_config=False)

RANDOM = {  # kind of configuration of transformers, and its fields
    "bert": ("BertConfig", {}),
    "bert of BERT-base's width": (
        "BertConfig",
        {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
    ),
    "bert with tanh and another epsilon": ("BertConfig", {"hidden_act": "gelu_new", "layer_norm_eps": 1e-5}),
    "bert of one head, relu and three segments": (
        "BertConfig",
        {"num_attention_heads": 1, "hidden_act": "relu", "type_vocab_size": 3},
    ),
    "roberta": ("RobertaConfig", {"type_vocab_size": 1, "max_position_embeddings": 66, "pad_token_id": 1}),
    "distilbert": ("DistilBertConfig", {}),
    "electra": ("ElectraConfig", {"embedding_size": 8}),
}
SMALL = {"vocab_size": len(VOCABULARY), "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3}
SMALL |= {"intermediate_size": 20, "max_position_embeddings": 64}
DISTILBERT = {"dim": 12, "n_layers": 2, "n_heads": 3, "hidden_dim": 20, "vocab_size": len(VOCABULARY)}


def random_folder(folder, name, head="Model", scale=1.0, **more):
    """Write a random model of transformers, and a vocabulary beside it; `more` are fields of its configuration."""
    transformers, torch = import_peer("transformers"), import_peer("torch")
    torch.manual_seed(0)
    kind, fields = RANDOM[name]
    own = DISTILBERT | {"max_position_embeddings": 64} if kind == "DistilBertConfig" else SMALL
    config = getattr(transformers, kind)(**own | fields | more)
    network = getattr(transformers, f"Auto{head}").from_config(config)
    for parameter in network.parameters():  # fresh ones have zeros for biases, which a table could swap unseen
        torch.nn.init.normal_(parameter, std=scale / max(parameter.shape[-1], 12) ** 0.5)
    network.save_pretrained(folder)
    write_vocabulary(folder)
    return folder


def write_vocabulary(folder):
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))


def verified(folder, change=None, options=OPTIONS):
    """Compare a folder's model with transformers'; `change` is done to the variables that tlx reads."""
    read = read_text_model(folder, options)
    variables = Conversion(read.plan, str(folder)).variables()
    config, spec = read.plan.config, read.described.preprocess
    if change is not None:
        config, variables, spec = change(config, variables, spec)
    return verify_text(read.table, config, variables, spec, folder)


@pytest.mark.parametrize("name", RANDOM)
def test_random_models_agree_stage_by_stage(name, tmp_path):
    done = verified(random_folder(tmp_path / "model", name))
    assert done.first is None, done.differences
    assert done.largest < 5e-6
    stages = [each.stage for each in done.differences]
    assert stages[:4] == ["pieces", "embeddings", "layer0", "layer1"]
    assert (POOLER in stages) == name.startswith("bert")


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert"])
def test_classifiers_agree_to_their_logits(name, tmp_path):
    done = verified(random_folder(tmp_path / "model", name, "ModelForSequenceClassification"))
    assert done.first is None, done.differences
    assert done.differences[-1].stage == "logits"


PRETRAINING = ConvertOptions(use_hub_config=False, head="pretraining")
HEADS = {
    "bert": ("ModelForPreTraining", ["mlm", "nsp"]),
    "bert with tanh and another epsilon": ("ModelForMaskedLM", ["mlm"]),
    "roberta": ("ModelForMaskedLM", ["mlm"]),
    "distilbert": ("ModelForMaskedLM", ["mlm"]),
    "electra": ("ModelForMaskedLM", ["mlm"]),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_of_pretraining_agree_and_go_back(name, tmp_path):
    head, stages = HEADS[name]
    folder = random_folder(tmp_path / "model", name, head)
    done = verified(folder, options=PRETRAINING)
    assert done.first is None, done.differences
    assert done.largest < 5e-6
    assert [each.stage for each in done.differences[4:]] == stages
    tlx.convert_weights(folder, tmp_path / "converted", options=ConvertOptions(head="pretraining"))
    tlx.presets.export_weights(tmp_path / "converted", tmp_path / "back", "hf")
    own, back = (load_file(each / "model.safetensors") for each in (folder, tmp_path / "back"))
    assert all(np.array_equal(back[name], own[name]) for name in own.keys() & back.keys())
    assert {name for name in own.keys() - back.keys() if "decoder" not in name and "projector" not in name} == set()
    transformers = import_peer("transformers")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        loaded, info = getattr(transformers, f"Auto{head}").from_pretrained("back", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert type(loaded).__name__ == json.loads((folder / "config.json").read_text())["architectures"][0]


def test_a_decoder_that_is_not_tied_is_refused(tmp_path):
    folder = random_folder(tmp_path / "model", "bert", "ModelForMaskedLM", tie_word_embeddings=False)
    with pytest.raises(WeightsError, match=r"'cls.predictions.decoder.weight' differs from '.*word_embeddings"):
        tlx.load(folder, head="pretraining")
    assert tlx.load(folder).config.pretraining is None  # the base alone is what it always was


def test_heads_of_pretraining_are_asked_for_where_there_are_none(tmp_path):
    folder = random_folder(tmp_path / "model", "bert")
    with pytest.raises(WeightsError, match="holds no heads of pretraining that hf/bert knows"):
        tlx.load(folder, head="pretraining")


def test_a_bias_of_masked_words_that_is_missing_is_found(tmp_path):
    folder = random_folder(tmp_path / "model", "bert", "ModelForPreTraining")
    assert verified(folder, zeroed("head/mlm/bias"), PRETRAINING).first == "mlm"
    assert verified(folder, transposed("head/mlm/transform/kernel"), PRETRAINING).first == "mlm"
    assert verified(folder, zeroed("head/nsp/bias"), PRETRAINING).first == "nsp"


@pytest.mark.parametrize("length", [1, 7, 128, 512])
def test_lengths_agree(length, tmp_path):
    transformers, torch = import_peer("transformers"), import_peer("torch")
    folder = random_folder(tmp_path / "model", "bert", max_position_embeddings=512)
    base = tlx.load(folder)
    draw = np.random.default_rng(0)
    ids = draw.integers(6, len(VOCABULARY), (3, length)).astype(np.int32)
    mask = np.arange(length) < np.array([[length], [max(1, length // 2)], [1]])
    segments = (np.arange(length) > length // 3).astype(np.int32) * mask
    with torch.no_grad():
        network = transformers.AutoModel.from_pretrained(folder).eval()
        theirs = network(
            **{"input_ids": torch.from_numpy(ids).long(), "attention_mask": torch.from_numpy(mask).long()},
            token_type_ids=torch.from_numpy(segments).long(),
        )
    x = base.model.apply(base.variables, {"ids": ids, "segments": segments, "mask": mask}, method="features")
    np.testing.assert_allclose(x["hidden"][mask], theirs.last_hidden_state.numpy()[mask], atol=5e-6)


TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "electra"])
def test_models_that_tag_words_agree_to_the_logits_of_words_and_go_back(name, tmp_path):
    transformers, torch = import_peer("transformers"), import_peer("torch")
    folder = random_folder(
        tmp_path / "model",
        name,
        "ModelForTokenClassification",
        id2label=dict(enumerate(TAGS)),
        label2id={tag: at for at, tag in enumerate(TAGS)},
    )
    done = verified(folder)
    assert done.first is None, done.differences
    assert done.differences[-1].stage == "logits"
    assert done.reference.endswith("ForTokenClassification")
    trained = tlx.load(folder)
    assert (trained.classes, trained.config.pool) == (TAGS, "words")
    sentences = [("The", "unaffable", "films", ",", "not", "cars"), ("Cafe",)]
    spec = trained.preprocess
    outputs = trained.model.apply(trained.variables, spec.on_device(spec.collate(sentences)))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    theirs = tokenizer(list(map(list, sentences)), is_split_into_words=True, padding=True, return_tensors="pt")
    network = transformers.AutoModelForTokenClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = network(**theirs).logits.numpy()
    for row, words in enumerate(sentences):
        places = [theirs.word_ids(row).index(word) for word in range(len(words))]
        np.testing.assert_allclose(outputs["logits"][row, : len(words)], expected[row, places], atol=5e-6)
        assert outputs["words"][row].tolist() == [at < len(words) for at in range(6)]
    tlx.convert_weights(folder, tmp_path / "own")
    assert tlx.load(str(tmp_path / "own")).objective == trained.objective
    export_weights(tmp_path / "own", tmp_path / "back", "hf")
    again = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "back").eval()
    assert again.config.id2label == dict(enumerate(TAGS))
    with torch.no_grad():
        np.testing.assert_array_equal(again(**theirs).logits.numpy(), expected)


def test_pairs_agree(tmp_path):
    transformers, torch = import_peer("transformers"), import_peer("torch")
    folder = random_folder(tmp_path / "model", "bert")
    base = tlx.load(folder)
    pairs = [{"text": text, "pair": other} for text, other in zip(TEXTS, reversed(TEXTS), strict=True)]
    spec = replace(base.preprocess, max_length=32)
    batch = spec.on_device(spec.collate(pairs))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    theirs = tokenizer(
        [each["text"] for each in pairs],
        [each["pair"] for each in pairs],
        **{"padding": "max_length", "truncation": "longest_first", "max_length": 32, "return_tensors": "pt"},
    )
    np.testing.assert_array_equal(batch["ids"], theirs["input_ids"].numpy())
    np.testing.assert_array_equal(batch["segments"], theirs["token_type_ids"].numpy())
    with torch.no_grad():
        expected = transformers.AutoModel.from_pretrained(folder).eval()(**theirs).pooler_output.numpy()
    np.testing.assert_allclose(base.model.apply(base.variables, batch), expected, atol=2e-6)


def leaf(variables, path):
    tree = variables["params"]
    *owners, name = path.split("/")
    for owner in owners:
        tree = tree[owner]
    return tree, name


def transposed(path):
    def change(config, variables, spec):
        tree, name = leaf(variables, path)
        tree[name] = tree[name].T
        return config, variables, spec

    return change


def swapped(one, other):
    def change(config, variables, spec):
        (first, a), (second, b) = leaf(variables, one), leaf(variables, other)
        first[a], second[b] = second[b], first[a]
        return config, variables, spec

    return change


def with_settings(**fields):
    def change(config, variables, spec):
        return replace(config, settings=replace(config.settings, **fields)), variables, spec

    return change


def rolled(path, by):
    def change(config, variables, spec):
        tree, name = leaf(variables, path)
        tree[name] = np.roll(tree[name], by, axis=0)
        return config, variables, spec

    return change


def zeroed(path):
    def change(config, variables, spec):
        tree, name = leaf(variables, path)
        tree[name] = np.zeros_like(tree[name])
        return config, variables, spec

    return change


def shifted_vocabulary(config, variables, spec):
    other = tlx.text.Tokenizer.from_vocabulary((*VOCABULARY[:6], VOCABULARY[-1], *VOCABULARY[6:-1]))
    return config, variables, replace(spec, tokenizer=other)


FAULTS = {
    "tanh GELU": (with_settings(hidden_act="gelu_new"), "layer0"),
    "epsilon of PyTorch": (with_settings(layer_norm_eps=1e-5), "embeddings"),
    "query transposed": (transposed("base/layer1/attention/query/kernel"), "layer1"),
    "query and key swapped": (
        swapped("base/layer0/attention/query/kernel", "base/layer0/attention/key/kernel"),
        "layer0",
    ),
    "gamma and beta swapped": (swapped("base/embeddings/norm/scale", "base/embeddings/norm/bias"), "embeddings"),
    "segments one off": (rolled("base/embeddings/segment/embedding", 1), "embeddings"),
    "positions two off": (rolled("base/embeddings/position/embedding", -2), "embeddings"),
    "bias missing": (zeroed("base/layer1/mlp/up/bias"), "layer1"),
    "vocabulary one off": (shifted_vocabulary, "pieces"),
    "output of attention transposed": (transposed("base/layer0/attention/output/kernel"), "layer0"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_where_it_is(fault, tmp_path):
    change, stage = FAULTS[fault]
    scale = 0.1 if "epsilon" in fault else 2.0  # small embeddings, as pretrained ones are, are where it counts
    done = verified(random_folder(tmp_path / "model", "bert", scale=scale), change)
    assert done.first == stage, done.differences


def test_a_mask_that_is_ignored_is_found(tmp_path, monkeypatch):
    from tlx.models import transformer

    folder = random_folder(tmp_path / "model", "bert")
    monkeypatch.setattr(transformer, "attended", lambda x: np.ones((1, 1, 1, 1), bool))
    from tlx.convert.verify import run_layer

    run_layer.clear_cache()
    assert verified(folder).first == "layer0"
    run_layer.clear_cache()


def test_a_pooler_without_tanh_is_found(tmp_path, monkeypatch):
    import flax.linen as nn

    from tlx.convert.verify import run_layer
    from tlx.models import head

    folder = random_folder(tmp_path / "model", "bert")
    monkeypatch.setattr(head.nn, "tanh", lambda x: x)
    run_layer.clear_cache()
    assert verified(folder).first == POOLER
    run_layer.clear_cache()
    assert nn is head.nn


def test_float64_agrees_to_nine_digits(tmp_path):
    """In a process of its own, for JAX takes float64 for all of one."""
    import subprocess
    import sys

    folder = random_folder(tmp_path / "model", "bert with tanh and another epsilon")
    program = f"""
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np, jax.numpy as jnp, torch
from tlx.convert.reference import import_torchvision
import_torchvision()
import transformers
from tlx.presets.load import load
from tlx.models.bert import bert
base = load({str(folder)!r})
texts = {TEXTS!r}
batch = base.preprocess.on_device(base.preprocess.collate(list(texts)))
params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), base.variables["params"]["base"])
hidden = bert(base.config.settings, dtype=jnp.float64).apply({{"params": params}}, batch)["hidden"]
network = transformers.AutoModel.from_pretrained({str(folder)!r}, attn_implementation="eager").double().eval()
with torch.no_grad():
    theirs = network(
        input_ids=torch.from_numpy(np.array(batch["ids"])).long(),
        attention_mask=torch.from_numpy(np.array(batch["mask"])).long(),
    ).last_hidden_state.numpy()
mask = np.asarray(batch["mask"])
assert hidden.dtype == np.float64
print(float(np.abs(np.asarray(hidden)[mask] - theirs[mask]).max() / np.abs(theirs).max()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout.splitlines()[-1]) < 1e-9


def test_tiny_models_by_hand_agree_too(tmp_path):
    import_peer("transformers")
    folder = write_text_folder(tmp_path / "tiny", TINY)
    write_vocabulary(folder)
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert verified(folder).first is None
