"""The word vectors that others publish: where they are, how many words they have, whose they are."""

import re
from dataclasses import dataclass

from tlx.errors import ConfigError, suggestion
from tlx.presets.hub import Url

KINDS = ("glove", "word2vec", "fasttext")
GLOVE_FILES = "https://nlp.stanford.edu/data/"
FASTTEXT_FILES = "https://dl.fbaipublicfiles.com/fasttext/"
GENSIM_FILES = "https://github.com/RaRe-Technologies/gensim-data/releases/download/"
PAPERS = {
    "glove": "https://aclanthology.org/D14-1162",
    "word2vec": "https://arxiv.org/abs/1310.4546",
    "fasttext": "https://arxiv.org/abs/1712.09405",
    "cc": "https://arxiv.org/abs/1802.06893",
}
CC = re.compile(r"fasttext/cc\.([a-z]{2,3})\.300")
# https://fasttext.cc/docs/en/crawl-vectors.html
_CODES = """
af als am an ar arz as ast az azb ba bar bcl be bg bh bn bpy br bs ca ce ceb ckb co cs cv cy da de diq dv el eml en eo
es et eu fa fi fr frr fy ga gd gl gom gu gv he hi hif hr hsb ht hu hy ia id ilo io is it ja jv ka kk km kn ko ku ky la
lb li lmo lt lv mai mg mhr min mk ml mn mr mrj ms mt mwl my myv mzn nah nap nds ne new nl nn no nso oc or os pa pam pfl
pl pms pnb ps pt qu rm ro ru sa sah sc scn sco sd sh si sk sl so sq sr su sv sw ta te tg th tk tl tr tt ug uk ur uz vec
vi vls vo wa war xmf yi yo zea zh
"""
LANGUAGES = frozenset(_CODES.split())


@dataclass(frozen=True)
class PublishedVectors:
    """Word vectors as their source publishes them.

    Args:
        name: what --base calls them.
        location: the file, or the archive that it is in. Where its source publishes no hash, tlx keeps that of what
            came first.
        member: the file in the archive; nothing, where it is no archive.
        words: how many it has, roughly.
        size: numbers of a vector.
        data: what they were made of.
        licence: the source's.
        paper: which describes them.
        page: which documents them.
    """

    name: str
    location: Url
    member: str
    words: int
    size: int
    data: str
    licence: str
    paper: str
    page: str


def _glove(archive: str, sizes: tuple[int, ...], words: int, data: str) -> list[PublishedVectors]:
    stem = f"glove.{archive}"
    return [
        PublishedVectors(
            name=f"glove/{archive.removesuffix('.300d')}.{size}d",
            location=Url(f"{GLOVE_FILES}{stem}.zip"),
            member=f"{stem.removesuffix('.300d')}.{size}d.txt",
            words=words,
            size=size,
            data=data,
            licence="PDDL 1.0: Stanford",
            paper=PAPERS["glove"],
            page="https://nlp.stanford.edu/projects/glove/",
        )
        for size in sizes
    ]


def _fasttext(name: str, archive: str, words: int, data: str) -> PublishedVectors:
    return PublishedVectors(
        name=f"fasttext/{name}",
        location=Url(f"{FASTTEXT_FILES}vectors-english/{archive}"),
        member=f"{name}.vec",
        words=words,
        size=300,
        data=data,
        licence="CC BY-SA 3.0: fastText",
        paper=PAPERS["fasttext"],
        page="https://fasttext.cc/docs/en/english-vectors.html",
    )


def _crawl(language: str) -> PublishedVectors:
    return PublishedVectors(
        name=f"fasttext/cc.{language}.300",
        location=Url(f"{FASTTEXT_FILES}vectors-crawl/cc.{language}.300.vec.gz"),
        member="",
        words=2_000_000,
        size=300,
        data="Common Crawl",
        licence="CC BY-SA 3.0: fastText",
        paper=PAPERS["cc"],
        page="https://fasttext.cc/docs/en/crawl-vectors.html",
    )


# Google publishes its vectors on Google Drive alone, which asks before it gives so large a file. gensim's mirror has
# the MD5 that its list of data states.
_GOOGLE_NEWS = PublishedVectors(
    name="word2vec/google-news-300",
    location=Url(
        f"{GENSIM_FILES}word2vec-google-news-300/word2vec-google-news-300.gz", md5="a5e5354d40acb95f9ec66d5977d140ef"
    ),
    member="",
    words=3_000_000,
    size=300,
    data="Google News",
    licence="none stated: Google",
    paper=PAPERS["word2vec"],
    page="https://code.google.com/archive/p/word2vec/",
)
PUBLISHED_VECTORS: dict[str, PublishedVectors] = {
    entry.name: entry
    for entry in (
        *_glove("6B", (50, 100, 200, 300), 400_000, "Wikipedia, news"),
        *_glove("42B.300d", (300,), 1_900_000, "Common Crawl"),
        *_glove("840B.300d", (300,), 2_200_000, "Common Crawl"),
        *_glove("twitter.27B", (25, 50, 100, 200), 1_200_000, "Twitter"),
        _GOOGLE_NEWS,
        _fasttext("wiki-news-300d-1M", "wiki-news-300d-1M.vec.zip", 1_000_000, "Wikipedia, news"),
        _fasttext("wiki-news-300d-1M-subword", "wiki-news-300d-1M-subword.vec.zip", 1_000_000, "Wikipedia, news"),
        _fasttext("crawl-300d-2M", "crawl-300d-2M.vec.zip", 2_000_000, "Common Crawl"),
        _fasttext("crawl-300d-2M-subword", "crawl-300d-2M-subword.zip", 2_000_000, "Common Crawl"),
        _crawl("en"),
    )
}
"""Entries by name; fastText has `fasttext/cc.LANG.300` for each of `LANGUAGES`."""


def list_vectors() -> tuple[str, ...]:
    """Name the published word vectors; of fastText's `cc.LANG.300` the English ones stand for all.

    >>> list_vectors()[:2]
    ('glove/6B.50d', 'glove/6B.100d')
    """
    return tuple(PUBLISHED_VECTORS)


def published_vectors(name: str) -> PublishedVectors:
    """Return the entry of word vectors; raise `ConfigError` with the nearest name for a name that is none.

    >>> published_vectors("glove/6B.100d").member, published_vectors("fasttext/cc.de.300").location.url[-17:]
    ('glove.6B.100d.txt', '/cc.de.300.vec.gz')
    """
    if name in PUBLISHED_VECTORS:
        return PUBLISHED_VECTORS[name]
    language = CC.fullmatch(name)
    if language and language[1] in LANGUAGES:
        return _crawl(language[1])
    cure = f"fastText's languages are {' '.join(sorted(LANGUAGES))}" if language else "tlx presets lists them"
    raise ConfigError(
        f"no published word vectors are called {name!r}{suggestion(name, PUBLISHED_VECTORS) or ':'} {cure}, and any "
        "other file goes with --weights FILE"
    )


def is_published_vectors(name: str) -> bool:
    """Tell whether a name is meant as that of published word vectors: 'glove/NAME', say.

    >>> is_published_vectors("glove/6B.50d"), is_published_vectors("glove"), is_published_vectors("keras/vgg16")
    (True, False, False)
    """
    kind, slash, rest = name.partition("/")
    return bool(slash and rest) and kind in KINDS
