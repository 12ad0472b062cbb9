"""Tiny text models, as model hubs lay them out, made of random numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

SPECIAL = ("[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("the", "a", "good", "bad", "film", "play", "very", "not", "dull", "fine", "cafe", "car")
ENDS = ("##s", "##ing", "##ly")
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz0123456789.,!?'")
VOCABULARY = tuple(dict.fromkeys((*SPECIAL, *WORDS, *ENDS, *LETTERS, *(f"##{letter}" for letter in LETTERS))))
MODULES = ("Transformer", "Pooling", "Normalize")
CHARACTERS = (1024).to_bytes(4, "little") + bytes(1024) + b"a\0b\0"  # the length of a trie, it, and texts
TEXTS = ("A good film.", "bad", "The play is very dull, not fine at all!", "Café films", "x" * 120)

TINY: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": len(VOCABULARY),
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}


def tensors_of(
    config: dict[str, Any], *, pooler: bool = True, classes: int = 0, seed: int = 0
) -> dict[str, np.ndarray]:
    """Draw the tensors of a BERT under the names of Hugging Face's base model, and of a classifier on it."""
    draw = np.random.default_rng(seed)
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], width),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        dense = {f"attention.self.{name}": (width, width) for name in ("query", "key", "value")}
        dense |= {
            "attention.output.dense": (width, width),
            "intermediate.dense": (inner, width),
            "output.dense": (width, inner),
        }
        for name, shape in dense.items():
            shapes |= {f"{layer}.{name}.weight": shape, f"{layer}.{name}.bias": shape[:1]}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{layer}.{name}.weight": (width,), f"{layer}.{name}.bias": (width,)}
    if pooler:
        shapes |= {"pooler.dense.weight": (width, width), "pooler.dense.bias": (width,)}
    made = {
        name: (draw.normal(size=shape) * 0.3 + (1.0 if "LayerNorm.weight" in name else 0.0)).astype(np.float32)
        for name, shape in shapes.items()
    }
    if not classes:
        return made
    named = {f"bert.{name}": array for name, array in made.items()}
    head = {"classifier.weight": (classes, width), "classifier.bias": (classes,)}
    return named | {name: draw.normal(size=shape).astype(np.float32) for name, shape in head.items()}


def write_text_folder(
    folder: Path, config: dict[str, Any] | None = None, tensors: dict[str, np.ndarray] | None = None, **how: Any
) -> Path:
    """Write a folder of weights, configuration and vocabulary; `how` goes to `tensors_of`."""
    config = TINY if config is None else config
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors_of(config, **how) if tensors is None else tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return folder


def write_samples(folder: Path) -> None:
    """Write tiny text models with all the files that hubs have beside weights, and tokenizers of all kinds."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    from tlx.text import Tokenizer as Words

    def put(place: Path, name: str, value: Any) -> None:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(value if isinstance(value, str) else json.dumps(value))

    sentences = write_text_folder(folder / "sentences")
    put(sentences, "tokenizer.json", Words.from_vocabulary(VOCABULARY).json)
    kinds = {f"{index}_{kind}": f"sentence_transformers.models.{kind}" for index, kind in enumerate(MODULES)}
    listed = [
        {"idx": at, "name": str(at), "path": path if at else "", "type": kinds[path]} for at, path in enumerate(kinds)
    ]
    put(sentences, "modules.json", listed)
    put(sentences, "1_Pooling/config.json", {"word_embedding_dimension": 12, "pooling_mode_mean_tokens": True})
    put(sentences, "sentence_bert_config.json", {"max_seq_length": 24, "do_lower_case": False})
    named = TINY | {"id2label": {"0": "no", "1": "yes"}, "problem_type": "single_label_classification"}
    plain = write_text_folder(folder / "classifier", named, classes=2)
    put(plain, "tokenizer_config.json", {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True})
    bytes_of = Tokenizer(
        models.BPE({piece: at for at, piece in enumerate((*LETTERS, "ab", "abc"))}, [("a", "b"), ("ab", "c")])
    )
    bytes_of.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.Replace(Regex(" {2,}"), " ")])
    bytes_of.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bytes_of.post_processor = processors.RobertaProcessing(("b", 1), ("a", 0))
    roberta = write_text_folder(folder / "roberta", TINY | {"model_type": "roberta", "pad_token_id": 1})
    put(roberta, "tokenizer.json", bytes_of.to_str())
    unigram = Tokenizer(
        models.Unigram([("<unk>", 0.0), *((letter, -1.0) for letter in LETTERS), ("fil", -2.0)], 0, False)
    )
    unigram.normalizer = normalizers.Sequence([normalizers.Precompiled(CHARACTERS), normalizers.Prepend("a")])
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    put(write_text_folder(folder / "unigram"), "tokenizer.json", unigram.to_str())
