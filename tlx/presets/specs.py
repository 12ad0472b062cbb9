"""Input specs as files describe them."""

from collections.abc import Callable, Mapping
from typing import Any

from tlx.data.inputs import InputSpec, Vectors
from tlx.errors import ConfigError
from tlx.images.preprocess import Preprocess
from tlx.text.tokens import TOKENIZER, Tokens
from tlx.text.word_tokenizer import WordTokenizer

KINDS: dict[str, Callable[..., InputSpec]] = {"vectors": Vectors.from_dict, "tokens": Tokens.from_dict}
WITH_FILES = ("tokens",)  # of which a part is in files of their own
FILES = (TOKENIZER, WordTokenizer.file)
"""The names of the files that a model's folder may hold for its input spec."""


def register_input_spec(kind: str, from_dict: Callable[[Mapping[str, Any]], InputSpec]) -> None:
    """Let saved models be loaded whose input spec's `to_dict` says this "kind".

    `from_dict` makes a spec of what `to_dict` returned; of a class without a method of that name, its fields are given
    to it by name.

    Raise `ConfigError` for a kind that is taken.
    """
    if not isinstance(kind, str) or not kind or kind in KINDS:
        raise ConfigError(f"kind: {kind!r} is no new name of an input spec; {', '.join(KINDS)} are taken")
    if isinstance(from_dict, type):
        made: Any = from_dict
        from_dict = getattr(made, "from_dict", None) or (
            lambda plain: made(**{name: value for name, value in plain.items() if name != "kind"})
        )
    KINDS[kind] = from_dict


def spec_from_dict(plain: Any, files: Mapping[str, bytes] | None = None) -> InputSpec:
    """Build an input spec from `InputSpec.to_dict`'s data: images, where it names no kind.

    `files` are those that a spec has beside its description, by name.

    >>> spec_from_dict(Vectors(8).to_dict())
    Vectors(size=8, mean=(), std=(), columns=())
    """
    kind = plain.get("kind") if isinstance(plain, Mapping) else None
    if kind is None:
        return Preprocess.from_dict(plain)
    if kind not in KINDS:
        raise ConfigError(
            f"preprocess: unknown kind {kind!r}: register it first (tlx.presets.register_input_spec), or name the file "
            "that does (--import)"
        )
    return KINDS[kind](plain, files or {}) if kind in WITH_FILES else KINDS[kind](plain)
