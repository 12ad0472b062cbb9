"""Small tables and files of texts, as bytes."""

import io
from collections.abc import Callable, Mapping

ROWS = (
    ("A good film.", "yes"),
    ("bad, dull; not \u201cfine\u201d", "no"),
    ("Caf\u00e9 \U0001f600 \u65e5\u672c is fine", "yes"),
    ("It is a play", "no"),
)


def _lines(separator: str, quote: str = "", header: bool = True) -> str:
    rows = [("text", "label"), *ROWS] if header else [*ROWS]
    return "".join(f"{quote}{text}{quote}{separator}{label}\r\n" for text, label in rows)


def _parquet() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = io.BytesIO()
    texts, labels = zip(*ROWS, strict=True)
    pq.write_table(pa.table({"text": texts, "label": labels, "stars": [1.5, 2.0, None, 4.0]}), made)
    return made.getvalue()


OBJECTS = '{"text": "A good film", "label": "yes"}\n{"text": "a bad \\ud83d\\ude00 film", "label": ["no"]}\n'
PAIRS = '1\tWhat is a good film?\tIs it a good film?\n0\tHow is it?\tWhat is a "play"\n1\ta b c\td e f\n'
CONLL = "-DOCSTART- -X- O\n\nCaf\u00e9 NNP B-ORG\nRome NNP I-ORG\n. . O\n\nAnna NNP B-PER\nsaw VBD O\n"
CONLLU = "# text = no\n1-2\tno\t_\t_\t_\t_\t_\t_\t_\t_\n"
CONLLU += "1\tn\tn\tADP\tE\t_\t2\tcase\t_\t_\n2\to\to\tDET\tR\t_\t0\troot\t_\t_\n\n"
TEXT_SAMPLES: Mapping[str, tuple[tuple[str, Callable[[], bytes]], ...]] = {
    "text-csv": (
        ("commas.csv", lambda: _lines(",", '"').encode("utf-8-sig")),
        ("semicolons.csv", lambda: ("sep=;\n" + _lines(";", '"')).encode()),
        ("utf16.csv", lambda: _lines(",", '"').encode("utf-16")),
    ),
    "text-tsv": (("named.tsv", lambda: _lines("\t").encode()), ("pairs.tsv", lambda: PAIRS.encode())),
    "text-jsonl": (("objects.jsonl", OBJECTS.encode), ("texts.jsonl", lambda: b'"a film"\n"no film"\n')),
    "text-parquet": (("rows.parquet", _parquet),),
    "text-tags": (
        ("names.conll", CONLL.encode),
        ("words.conllu", CONLLU.encode),
        (
            "lists.jsonl",
            lambda: b'{"tokens": ["Rome", "fell"], "tags": ["B-X", "O"]}\n{"tokens": ["a"], "tags": ["O"]}\n',
        ),
    ),
    "text-lines": (("lines.txt", lambda: "\r\n\n".join(text for text, _ in ROWS).encode()),),
}
