"""`tlx vocabulary`: report how a base's tokenizer splits texts, and add whole words to its vocabulary."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from tlx.cli.data_options import DATA_GROUP, DataOptions
from tlx.cli.output import percent, print_facts, print_json, print_table
from tlx.errors import ConfigError, DataError
from tlx.files import home
from tlx.progress import doing

if TYPE_CHECKING:
    from tlx.data import Data
    from tlx.presets import Pretrained
    from tlx.probes import ProbeComparison
    from tlx.vocabulary import Coverage

SHOWN = 10  # words


@dataclass(frozen=True, kw_only=True)
class Vocabulary(DataOptions):
    """Report how a base's tokenizer splits the words of texts, and add the words that save the most pieces.

    With --add the words are chosen on one half of the texts, without labels, and the report is of the other half. A
    word's row begins from the mean of its old pieces' rows; it learns more only as the base is trained.
    """

    GROUPS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "most used": ("data", "base", "weights", "add", "out", "least", "begin", "compare", "seeds", "max_length"),
        "data": DATA_GROUP,
    }

    data: str
    """The texts: a .txt file with one a line, a table (.csv, .tsv, .jsonl, .parquet), or other data of texts."""
    base: str
    """The text model whose vocabulary it is: a preset such as hf/bert-base-uncased, or a folder."""
    weights: str | None = None
    """The weight file of a published base, as its source publishes it; by default it is fetched."""
    add: int | None = None
    """Add so many words, first in place of the [unusedN] pieces (BERT has 994), then as new rows; by default none."""
    least: int = 5
    """How often a word must be there to be added."""
    begin: str = "mean"
    """How the rows of new words begin: mean, of their old pieces' rows; fresh, at random; or a file of word vectors,
    mapped by least squares from the words that both have."""
    out: str | None = None
    """A folder for the base with its new words, for --base of other commands."""
    compare: bool = False
    """With --add, and labels: compare linear probes on the base before and after, with a 95% interval."""
    seeds: int = 5
    """With --compare: on how many splits, of seed --seed and the next ones."""
    max_length: int | None = None
    """The most pieces of a text, special ones included; by default as the base says."""

    def run(self) -> None:
        import tlx
        from tlx.presets.bundle import check_free
        from tlx.vocabulary import adapt_vocabulary

        self._check()
        if self.out is not None:
            check_free(self.out)
        doing(f"loading {self.base}")
        base = self._fitted(tlx.load(self.base, self.weights))
        spec: Any = base.preprocess
        texts = self._texts(spec)
        result: dict[str, Any] = {"base": base.name, "data": self.data}
        if self.add is None:
            from tlx.vocabulary import coverage

            found = coverage(spec.tokenizer, texts, max_length=spec.max_length)
            result |= {"before": found.to_dict()}
            self._tell(result, {"before": found})
            return
        adapted, report = adapt_vocabulary(
            base, texts, self.add, least=self.least, begin=self._begin(base), seed=self.seed
        )
        result |= {"added": len(report.words), **report.to_dict(), "path": self.out}
        if len(report.words) < self.add:
            print(
                f"tlx: only {len(report.words):,} words save any piece and are there {self.least} times or more",
                file=sys.stderr,
            )
        if self.out is not None:
            tlx.save(adapted, self.out)
        if self.compare:
            result["comparison"] = self._compared(base, adapted).to_dict()
        self._tell(result, {"before": report.before, "after": report.after})

    def _check(self) -> None:
        """Raise `ConfigError` for what would be noticed too late."""
        if self.add is None:
            named = [name for name in ("out", "compare") if getattr(self, name)]
            if named:
                raise ConfigError(f"--{named[0]}: goes with --add, the number of words")
        elif self.add < 0:
            raise ConfigError(f"--add: {self.add} is not a number of words")
        if self.out == "":
            raise ConfigError("--out is empty: name a directory")
        if self.compare and self.seeds < 2:
            raise ConfigError(f"--seeds: {self.seeds}: an interval needs two or more")

    def _fitted(self, base: "Pretrained") -> "Pretrained":
        from tlx.text import Tokens

        if not isinstance(base.preprocess, Tokens):
            raise ConfigError(f"--base {self.base}: takes no texts: name a text model, such as hf/bert-base-uncased")
        if self.max_length is None:
            return base
        return replace(base, preprocess=replace(base.preprocess, max_length=self.max_length))

    def _texts(self, spec: Any) -> list[str]:
        """Read the texts; a file needs no labels, unless options speak of these."""
        from tlx.data.text_files import text_files
        from tlx.presets.word_base import texts_of
        from tlx.text.tokens import as_texts

        labelled = self.compare or self.target or self.validation_data or self.test_data
        if labelled or not os.path.isfile(home(self.data)):
            return texts_of(self._load(self.seed, spec))
        doing("reading the data")
        first, second = as_texts(text_files([self.data], self.text).columns["input"])
        return [*first, *(second or ())]

    def _load(self, seed: int, spec: Any) -> "Data":
        from tlx.data.source import is_of_texts

        data = replace(self, seed=seed).load(self.data, spec)
        if not is_of_texts(data.train):
            raise DataError(f"--data {self.data}: holds no texts: name a file or a folder of them")
        return data

    def _begin(self, base: "Pretrained") -> Any:
        if self.begin in ("mean", "fresh"):
            return self.begin
        if not os.path.isfile(home(self.begin)):
            raise ConfigError(f"--begin {self.begin}: is not mean, fresh or a file of word vectors")
        from tlx.text import open_word_vectors

        doing("reading the word vectors")
        return open_word_vectors(self.begin)

    def _compared(self, before: "Pretrained", after: "Pretrained") -> "ProbeComparison":
        from tlx.probes import compare_probes

        seeds = range(self.seed, self.seed + self.seeds)
        return compare_probes(before, after, lambda seed: self._load(seed, before.preprocess), seeds=tuple(seeds))

    def _tell(self, result: Mapping[str, Any], found: "Mapping[str, Coverage]") -> None:
        if self.json:
            print_json(result)
            return
        first = found["before"]
        held = ", held out of the choice of words" if "after" in found else ""
        print_table(
            f"{result['base']} on {result['data']}: {first.words:,} words of {first.texts:,} texts{held}",
            ("", *found),
            [(name, *(value(each) for each in found.values())) for name, value in _LINES.items()],
        )
        print_table(
            "most split words",
            ("word", "count", "pieces"),
            [(each.word, each.count, " ".join(each.pieces)) for each in first.most_split[:SHOWN]],
            cut=("pieces",),
        )
        if "after" in found:
            rows = result["rows"]
            print_facts(
                [
                    f"{result['added']:,} words added, {result['in_unused_slots']:,} in place of unused pieces",
                    f"rows {rows['before']:,} -> {rows['after']:,}",
                    f"pieces saved {percent(result['pieces_saved'])}",
                    *([f"saved {result['path']}"] if result["path"] else []),
                ]
            )
        if "comparison" in result:
            _tell_comparison(result["comparison"])


_LINES: Mapping[str, Any] = {
    "pieces a word": lambda each: f"{each.pieces_per_word:.3f}",
    "words split": lambda each: percent(each.split_share),
    "different words": lambda each: f"{each.distinct_words:,}",
    "pieces": lambda each: f"{each.pieces:,}",
    "unknown pieces": lambda each: f"{each.unknown_pieces:,}",
    "texts over 256 pieces": lambda each: percent(each.over_256_share),
    "texts over 512 pieces": lambda each: percent(each.over_512_share),
    "pieces cut off": lambda each: f"{each.lost_pieces:,} (over {each.max_length})",
}


def _tell_comparison(found: Mapping[str, Any]) -> None:
    metric = found["metric"].replace("_", " ")
    print_table(
        f"linear probes before and after: test {metric}",
        ("seed", "before", "after", "difference"),
        [
            (str(seed), before, after, after - before)
            for seed, before, after in zip(found["seeds"], found["before"], found["after"], strict=True)
        ],
    )
    low, high = found["interval"]
    print(f"{found['verdict']}: mean difference {found['difference']:+.4f}, 95% interval {low:+.4f} to {high:+.4f}")
