"""What `finetune` and `probe` share: the base, the data, how the base sees them, and the cache."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tlx.cli.data_options import DATA_GROUP, DataOptions
from tlx.errors import ConfigError, DataError, TlxError
from tlx.progress import doing

if TYPE_CHECKING:
    from tlx.data import Data, InputSpec
    from tlx.presets import Pretrained
    from tlx.training import ActivationCache

DEFAULT_DATA, DEFAULT_BASE = "digits", "cnn-mnist"
TEXT_BASES = "such as hf/all-MiniLM-L6-v2 or hf/bert-base-uncased (tlx presets 'hf/*')"
VECTORS = "vectors"  # what --base calls none at all, of data that are vectors


@dataclass(frozen=True, kw_only=True)
class TransferOptions(DataOptions):
    """What every command understands that takes a base to other data."""

    GROUPS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "data": (*DATA_GROUP, "inputs", "skip_bad", "workers"),
        "how the base sees images": ("input_size", "invert", "margin", "interpolation", "grey_to_rgb"),
        "how the base reads texts": ("max_length", "long"),
        "model": ("until", "pool", "dtype"),
        "cache of frozen stages": ("cache", "cache_limit", "cache_dtype"),
        "machine and output": ("device", "config", "json", "debug"),
    }

    data: str = DEFAULT_DATA
    """What to train on: a folder of images or .txt files with a folder for each class, a table of texts or vectors
    (.csv, .tsv, .jsonl, .parquet), a .csv or .jsonl manifest of images, a .npz file, or digits, idx:DIR,
    idx:DIR/PREFIX, tfds:NAME, hf:NAME."""
    inputs: tuple[str, ...] = ()
    """Of a table of vectors: the columns that are the input, by name or pattern ('f*'); by default all of numbers that
    are no target."""
    base: str | None = None
    """What to start from: a preset (see tlx presets), the folder of a run, an export or a conversion, or of texts that
    of a Hugging Face model. By default cnn-mnist, which is refused where images are in colour; for vectors none, a head
    alone; for texts there is no default."""
    weights: str | None = None
    """The weight file of a published base, as its source publishes it, or with glove, word2vec and fasttext the file of
    word vectors; by default it is fetched."""
    until: str | None = None
    """Cut the base after this stage."""
    input_size: tuple[int, int] | None = None
    """Height and width at which the base sees images; by default as the base says."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """What the model computes in; its parameters are float32 in either. By default as the base says."""
    config: str | None = None
    """A YAML file of these options; flags win over it."""
    invert: bool = False
    """Turn black into white: where the base knows light on dark and the data are dark on light."""
    margin: int | None = None
    """Pixels of background put around the image; by default what the base says."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None
    """How images are resized; by default as the base says."""
    grey_to_rgb: str | None = None
    """How grey becomes RGB: repeat, or the name of a matplotlib colour map."""
    max_length: int | None = None
    """Of texts: the most pieces of one, special ones included; by default as the base says."""
    long: Literal["error", "head", "head+tail", "windows"] | None = None
    """What becomes of longer texts: refused, or their head, or head and tail, or windows of them all; by default head.
    How much is left out is said."""
    pool: Literal["flatten", "average", "max", "cls", "pooler", "cnn", "lstm", "words"] | None = None
    """How the head takes features; by default as suits the base. cls, pooler: a text's first piece; cnn, lstm: a small
    network over all its words; words: each word's first piece, for tags."""

    cache: Literal["auto", "memory", "disk", "off"] = "auto"
    """Where the activations of frozen stages are kept, so that they are computed once."""
    cache_limit: float = 8.0
    """How many gigabytes they may take."""
    cache_dtype: Literal["computed", "float32", "float16", "bfloat16"] = "computed"
    """The type they are kept in; half the size in float16 and bfloat16, which round them."""

    def check_options(self, out: str | None) -> None:
        """Raise `ConfigError` for what would be noticed too late."""
        if not (math.isfinite(self.cache_limit) and self.cache_limit >= 0):
            raise ConfigError(f"--cache-limit: {self.cache_limit} is no number of gigabytes; say 8, for example")
        if out == "":
            raise ConfigError("--out is empty: name a directory")

    @property
    def base_name(self) -> str:
        """The base, as --base names it, or the default one."""
        return DEFAULT_BASE if self.base is None else self.base

    def load_base(self) -> "Pretrained":
        """Load the base, for images of --input-size."""
        doing(f"loading {self.base_name}")
        base = self.base_as_named()
        return base if self.input_size is None else base.without_head().with_input(self.input_size)

    def base_as_named(self) -> "Pretrained":
        """Load the base, for images of its own size."""
        import tlx

        return tlx.load(self.base_name, self.weights, until=self.until, dtype=self.dtype)

    def load_data(self, preprocess: "InputSpec | None") -> "Data":
        """Load the data that the options name, as `load` does."""
        return self.load(self.data, preprocess, self.inputs)

    def base_and_data(
        self, check: "Callable[[Pretrained, InputSpec], None]" = lambda base, spec: None
    ) -> "tuple[Pretrained, InputSpec, Data]":
        """Load the base and the data, and return the base's input spec with what the options change of it.

        Data that are vectors need no base: where none is named they get that of `tlx.vector_base`.

        Args:
            check: is called before the data are read, with the base and its spec, and may raise.

        Raises:
            ConfigError: where the base takes images and the data are vectors, or the other way round.
        """
        from tlx.data import Vectors
        from tlx.data.source import is_of_texts
        from tlx.presets.vector_base import is_of_vectors, vector_base
        from tlx.presets.word_base import is_word_base

        if self.base is not None and is_word_base(self.base):
            return self._words_and_data(check)
        base = None if self.base == VECTORS else self.load_base()
        spec = None if base is None else self.preprocess(base.preprocess)
        if base is not None and spec is not None:
            check(base, spec)
        try:
            data = self.load_data(spec)
        except DataError:
            if hasattr(spec, "takes_text") or not self._names_texts():
                raise
            cure = f"name a base for these, {TEXT_BASES}"
            if self.base is None:
                raise ConfigError(f"--base: the data are texts: {cure}") from None
            raise ConfigError(f"--base {self.base}: takes no texts, and the data are texts: {cure}") from None
        of_texts, takes_texts = is_of_texts(data.train), hasattr(spec, "takes_text")
        if of_texts and self.base is None:
            raise ConfigError(f"--base: the data are texts: name a base for these, {TEXT_BASES}")
        if of_texts != takes_texts:
            takes, data_are = ("texts", "no texts") if takes_texts else ("no texts", "texts")
            others = "images or vectors" if takes_texts else f"texts, {TEXT_BASES}"
            raise ConfigError(
                f"--base {self.base}: takes {takes}, and the data are {data_are}: name a base for {others}"
            )
        if of_texts and base is not None and spec is not None:
            return (base, *_tokenised(data, spec))
        of_vectors = is_of_vectors(data.train)
        if base is None or spec is None or (of_vectors and self.base is None):
            if not of_vectors:
                raise ConfigError(f"--base {VECTORS}: the data are no vectors of numbers: name a base for images")
            base = vector_base(data)
            spec = self.preprocess(base.preprocess)
            check(base, spec)
        elif of_vectors != isinstance(spec, Vectors):
            cure = "leave --base out, for vectors need none" if of_vectors else "name a base for images"
            takes, data_are = ("images", "vectors") if of_vectors else ("vectors", "images")
            raise ConfigError(f"--base {self.base}: takes {takes}, and the data are {data_are}: {cure}")
        return base, spec, data

    def _words_and_data(self, check: "Callable[[Pretrained, InputSpec], None]") -> "tuple[Pretrained, InputSpec, Data]":
        """Load the data, and a base of the vectors of their words."""
        from tlx.data.source import is_of_texts
        from tlx.presets.word_base import placeholder, unknown_note, words_named

        name = self.base or ""
        file = words_named(name, self.weights)
        data = self.load_data(placeholder())
        if not is_of_texts(data.train):
            raise ConfigError(f"--base {name}: takes texts, and the data are none: name a base for images or vectors")
        base = self.load_words(str(file), name, data)
        spec = self.preprocess(base.preprocess)
        check(base, spec)
        return (base, *_tokenised(replace(data, notes=(*data.notes, unknown_note(file, base))), spec))

    def load_words(self, file: str, name: str, data: "Data") -> "Pretrained":
        """Load word vectors, a file's or published ones, as a base for data."""
        from tlx.presets.word_base import described, word_base

        doing(f"reading {file}")
        return described(word_base(file, data, name=name), file)

    def _names_texts(self) -> bool:
        """Tell whether the data are texts, whatever the base takes."""
        from tlx.data import DataSpec
        from tlx.data.kinds import kind_for

        try:
            return kind_for(DataSpec(self.data), None)[0] == "texts"
        except TlxError:
            return False

    def check_suits(self, data: "Data", spec: "InputSpec") -> list[str]:
        """Say which base was taken where none was named, and what the base's input loses of the images.

        Raise `ConfigError` where none was named and the images are in colour, which the default one does not see.
        """
        from tlx.images import Preprocess
        from tlx.presets.suitable import look_at, lost, suitable_bases, takes

        if not len(data.train) or not isinstance(spec, Preprocess):
            return []
        name, images = self.base_name, look_at(data.train)
        losses = " and ".join(lost(images, spec))
        others = " or ".join(f"--base {other}" for other in suitable_bases(images))
        misfit = f"the images are {images}, and {name} takes {takes(spec)}"
        if self.base is None and "colour" in losses:
            raise ConfigError(f"no --base was named, and the default one does not suit: {misfit}: name {others}")
        notes = []
        if self.base is None and self.data != DEFAULT_DATA:
            notes.append(f"no --base was named: took {name}, which comes with tlx and takes {takes(spec)}")
        if losses:
            notes.append(f"{misfit}: {losses} will be lost; try {others}")
        return notes

    def preprocess(self, spec: "InputSpec") -> "InputSpec":
        """Return the base's input spec with what the options change of it."""
        from tlx.images import Preprocess

        names = ("margin", "interpolation", "grey_to_rgb")
        changed = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if hasattr(spec, "takes_text"):
            read = {name: getattr(self, name) for name in ("max_length", "long") if getattr(self, name) is not None}
            spec = replace(spec, **read)  # type: ignore[type-var]
        else:
            for name in ("max_length", "long"):
                if getattr(self, name) is not None:
                    raise ConfigError(
                        f"--{name.replace('_', '-')}: is for texts, and the base takes none: leave it out"
                    )
        if not isinstance(spec, Preprocess):
            for name in (*changed, *["invert"] * self.invert):
                raise ConfigError(f"--{name.replace('_', '-')}: is for images, and the base takes none: leave it out")
            return spec
        own = spec
        return replace(own, invert=own.invert != self.invert, **changed)

    def kept(self, views: int = 0) -> "ActivationCache":
        """Return where activations are kept."""
        from tlx.training.cache_options import ActivationCache

        return ActivationCache(self.cache, round(self.cache_limit * 1e9), self.cache_dtype, views)

    def given(self, kind: Any, *but: str) -> dict[str, Any]:
        """Return the options that are fields of `kind`, by name."""
        return {f.name: getattr(self, f.name) for f in fields(kind) if f.name not in but and hasattr(self, f.name)}


def _tokenised(data: "Data", spec: "InputSpec") -> "tuple[InputSpec, Data]":
    """Tokenise texts; return the spec that pads to their lengths, and the data with notes on what is left out."""
    from tlx.data.tokenized import tokenized_data

    found, chosen = tokenized_data(data, spec)
    return chosen, found
