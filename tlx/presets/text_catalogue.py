"""The pretrained text models that others publish: their repository, licence and paper."""

from dataclasses import dataclass

from tlx.convert.tables.texts import FAMILIES
from tlx.errors import ConfigError, suggestion

PAPERS = {
    "bert": "https://arxiv.org/abs/1810.04805",
    "small": "https://arxiv.org/abs/1908.08962",
    "distilbert": "https://arxiv.org/abs/1910.01108",
    "roberta": "https://arxiv.org/abs/1907.11692",
    "electra": "https://arxiv.org/abs/2003.10555",
    "minilm": "https://arxiv.org/abs/2002.10957",
    "sentences": "https://arxiv.org/abs/1908.10084",
}
PREFIX = "hf:"  # before ORG/NAME of any repository of the Hugging Face hub


@dataclass(frozen=True)
class PublishedText:
    """A text model of the Hugging Face hub.

    `family` is what its configuration calls `model_type`; `data` says what it was trained on.
    """

    name: str
    repo: str
    family: str
    licence: str
    paper: str
    data: str

    @property
    def page(self) -> str:
        """The page that documents the weights."""
        return f"https://huggingface.co/{self.repo}"


_WORDS = "Wikipedia, books"
_SMALL = {"tiny": (2, 128), "mini": (4, 256), "small": (4, 512), "medium": (8, 512)}  # of the 24, by name


def _google(layers: int, width: int) -> str:
    return f"google/bert_uncased_L-{layers}_H-{width}_A-{width // 64}"


# name below hf/, repository, family, licence, paper, data
_ROWS = (
    *(
        (f"bert-{size}-{case}", f"google-bert/bert-{size}-{case}", "bert", "apache-2.0", "bert", _WORDS)
        for size in ("base", "large")
        for case in ("uncased", "cased")
    ),
    (
        "bert-base-multilingual-cased",
        "google-bert/bert-base-multilingual-cased",
        "bert",
        "apache-2.0",
        "bert",
        "104 languages",
    ),
    *(
        (f"bert-{name}", _google(layers, width), "bert", "apache-2.0", "small", _WORDS)
        for name, (layers, width) in _SMALL.items()
    ),
    *(
        (f"bert-L{layers}-H{width}", _google(layers, width), "bert", "apache-2.0", "small", _WORDS)
        for layers in (2, 4, 6, 8, 10, 12)
        for width in (128, 256, 512, 768)
    ),
    *(
        (name, f"distilbert/{name}", "distilbert", "apache-2.0", "distilbert", data)
        for name, data in (
            ("distilbert-base-uncased", _WORDS),
            ("distilbert-base-cased", _WORDS),
        )
    ),
    *(
        (name, f"FacebookAI/{name}", "roberta", "mit", "roberta", "English texts")
        for name in ("roberta-base", "roberta-large")
    ),
    ("distilroberta-base", "distilbert/distilroberta-base", "roberta", "apache-2.0", "distilbert", "OpenWebText"),
    *(
        (f"electra-{size}", f"google/electra-{size}-discriminator", "electra", "apache-2.0", "electra", _WORDS)
        for size in ("small", "base", "large")
    ),
    (
        "MiniLM-L12-H384-uncased",
        "microsoft/MiniLM-L12-H384-uncased",
        "bert",
        "mit",
        "minilm",
        _WORDS,
    ),
    *(
        (name, f"sentence-transformers/{name}", "bert", "apache-2.0", "sentences", "sentence pairs")
        for name in ("all-MiniLM-L6-v2", "all-MiniLM-L12-v2", "multi-qa-MiniLM-L6-cos-v1", "paraphrase-MiniLM-L6-v2")
    ),
)
PUBLISHED_TEXTS: dict[str, PublishedText] = {
    f"hf/{name}": PublishedText(f"hf/{name}", repo, family, licence, PAPERS[paper], data)
    for name, repo, family, licence, paper, data in _ROWS
}
"""Every entry by name; any other repository of these families is `hf:ORG/NAME`."""
FILES = (("config.json",), ("tokenizer.json", "vocab.txt"), ("model.safetensors", "pytorch_model.bin"))
OPTIONAL = ("tokenizer_config.json", "modules.json", "1_Pooling/config.json", "sentence_bert_config.json")
KERAS_ORGANISATION = "keras/"  # whose repositories are presets of KerasHub
KERAS_FILES = (
    ("config.json",),
    ("tokenizer.json",),
    ("assets/tokenizer/vocabulary.txt", "assets/tokenizer/vocabulary.json"),
    ("model.weights.h5",),
)
KERAS_OPTIONAL = ("assets/tokenizer/merges.txt", "preprocessor.json", "task.json", "task.weights.h5")


def files_of(repo: str) -> tuple[tuple[str, ...], ...]:
    """Return groups of files of a repository, of each of which one is needed; the last one is that of its weights.

    >>> files_of("keras/bert_tiny_en_uncased")[-1]
    ('model.weights.h5',)
    """
    return KERAS_FILES if repo.startswith(KERAS_ORGANISATION) else FILES


def optional_of(repo: str) -> tuple[str, ...]:
    """Return the files that a repository may lack."""
    return KERAS_OPTIONAL if repo.startswith(KERAS_ORGANISATION) else OPTIONAL


def list_texts() -> tuple[str, ...]:
    """Name the published text models.

    >>> list_texts()[:2]
    ('hf/bert-base-uncased', 'hf/bert-base-cased')
    """
    return tuple(PUBLISHED_TEXTS)


def published_text(name: str) -> PublishedText:
    """Return the entry of a text model, 'hf/NAME' or 'hf:ORG/NAME'; raise `ConfigError` with the nearest name.

    >>> published_text("hf/bert-tiny").repo
    'google/bert_uncased_L-2_H-128_A-2'
    """
    if name.startswith(PREFIX):
        repo = name.removeprefix(PREFIX).partition("@")[0]
        own = next((entry for entry in PUBLISHED_TEXTS.values() if entry.repo == repo), None)
        return own or PublishedText(name, repo, "", "unknown: see its page", "", "")
    if name not in PUBLISHED_TEXTS:
        raise ConfigError(
            f"no published text model is called {name!r}{suggestion(name, PUBLISHED_TEXTS) or ':'} any other of the "
            f"hub's is hf:ORG/NAME, of the families {', '.join(FAMILIES)}"
        )
    return PUBLISHED_TEXTS[name]


def is_published_text(name: str) -> bool:
    """Tell whether a name is meant as that of a text model of the hub: 'hf/NAME' or 'hf:ORG/NAME'."""
    return name.startswith((PREFIX, "hf/"))
