"""Feed damaged files to the readers and see that none crashes, hangs, runs code or opens another file.

    python experiments/fuzz_readers.py --mutations 10000 --format torch-zip --seed 0

Each mutation changes bits, bytes, lengths or the order of parts of a small valid file (in zip files: of a member, whose
CRC is then made right, or of the archive; in gzip files: of what is packed, or of the file; in TensorFlow's checkpoints
of a block, an entry or the object graph, whose CRC is then made right, or of a file). A child process opens it and
reads every tensor or word: an array or a `TlxError` is as it should be, anything else is a defect and is kept in the
folder `--keep`.

    python experiments/fuzz_readers.py --mutations 10000 --seed 0

    format          mutations   defects   read   WeightsError   UnsafeFileError
    keras-h5           10,000         0   1235           7137              1628
    keras-weights      10,000         0   3532           6468                 0
    keras              10,000         0   3825           6171                 4
    torch-zip          10,000         0   1530           5855              2615
    torch-legacy       10,000         0   2007           5912              2081
    safetensors        10,000         0   1958           8042                 0
    npz                10,000         0   1298           8680                22
    tf                 10,000         0    983           8959                58

    format          mutations   defects   read      DataError   UnsafeFileError
    glove              10,000         0   2139           7861                 0
    word2vec           10,000         0   2566           7434                 0
    fasttext           10,000         0   2920           7080                 0
    text-csv           10,000         0   2532           7468                 0
    text-tsv           10,000         0   2981           7019                 0
    text-jsonl         10,000         0    414           9586                 0
    text-parquet       10,000         0   1478           8522                 0
    text-tags          10,000         0   1682           8318                 0
    text-lines         10,000         0   4445           5555                 0

    format          mutations   defects   read   WeightsError   UnsafeFileError
    tokenizer          10,000         0   1159           8797                40
    vocab              10,000         0   7170           2830                 0
    text-config        10,000         0   1822           8178                 0
    text-weights       10,000         0   2675           7325                 0
    keras-hub          10,000         0   4484           5504                12

(tokenizer: 4 times a DataError, too)
on two cores shared with other work, HDF5 2.0.0: no mutation took longer than 2.6 s. One of keras-h5 (4676) made libhdf5
take 631 MB for a text that announced them, which is refused before since; all others stayed below 64 MB.
"""

import codecs
import contextlib
import gzip
import json
import os
import random
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import tyro

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

WEIGHTS = ("keras-h5", "keras-weights", "keras", "torch-zip", "torch-legacy", "safetensors", "npz", "tf")
VECTORS = ("glove", "word2vec", "fasttext")
MODELS = (
    "tokenizer",
    "vocab",
    "text-config",
    "text-weights",
    "keras-hub",
)  # a folder of a text model, one file of it damaged
DAMAGED = {
    "tokenizer": r"tokenizer\.json$",
    "vocab": r"vocab\.txt$|tokenizer_config\.json$",
    "text-config": r"config\.json$|modules\.json$",
    "text-weights": r"\.safetensors$",
    "keras-hub": r"json$|txt$",
}
TABLES = ("text-csv", "text-tsv", "text-jsonl", "text-parquet", "text-tags", "text-lines")
FORMATS = (*WEIGHTS, *VECTORS, *MODELS, *TABLES)
NUMBERS = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 62,
    (1 << 63) - 1,
    1 << 63,
)
ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        1,
        7,
        100_000,
        1 << 31,
        1 << 62,
        0.5,
        1e308,
        float("nan"),
        "",
        "\0",
        "[MASK]",
        "##a",
        "a" * 5000,
    ),
    *([], {}, [[]], "../../secret", "(a+)+c", ".*", {"Regex": "(a*)*b"}, {"Regex": "x*"}, {"String": ""}),
    *({"type": "Replace", "pattern": {"Regex": "a*a*a*b"}, "content": "ab"}, {"type": "Precompiled"}),
    *({"type": "FixedLength", "length": 0}, {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}),
    *(
        "WordPiece",
        "BPE",
        "Unigram",
        "WordLevel",
        "ByteLevel",
        "Precompiled",
        "Sequence",
        "Split",
        "roberta",
        "electra",
    ),
)
WATCHED = re.compile(
    r"open|os\.(system|exec|fork|posix_spawn|remove|rename)|subprocess|socket|marshal|exec|import|ctypes"
)
SPARE_BYTES = 640 << 20  # beyond what the child has mapped once it is warm
BATCH = 500


@dataclass(frozen=True)
class Options:
    """Fuzz the readers of weight files, word vector files, text models and tables of texts."""

    format: tuple[str, ...] = FORMATS
    """Which formats."""
    mutations: int = 10_000
    """How many mutations of each."""
    seed: int = 0
    timeout: float = 20.0
    """Seconds after which a mutation counts as a hang."""
    keep: Path = Path(tempfile.gettempdir()) / "tlx-fuzz"
    """Where the files that showed a defect are kept."""
    json: bool = False
    """Print one JSON object."""
    child: str = ""
    """For the script's own use: FORMAT:FIRST:LAST."""


@dataclass
class Result:
    mutations: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0
    most_megabytes: float = 0.0


def main(options: Options) -> int:
    if options.child:
        return work(options)
    results = {form: fuzz(form, options) for form in options.format}
    if options.json:
        outcomes = {form: {"outcomes": dict(result.outcomes)} for form, result in results.items()}  # asdict would count
        print(json.dumps({form: asdict(result) | outcomes[form] for form, result in results.items()}))
    else:
        for form, result in results.items():
            print(
                f"{form:14} {result.mutations:6} mutations, {len(result.defects)} defects, slowest "
                f"{result.slowest_seconds:.2f} s, most memory +{result.most_megabytes:.0f} MB, {dict(result.outcomes)}"
            )
            print(*result.defects[:20], sep="\n")
    return int(any(result.defects for result in results.values()))


# The parent: start children, notice how they end


def fuzz(form: str, options: Options) -> Result:
    result = Result()
    first = 0
    while first < options.mutations:
        last = min(first + BATCH, options.mutations)
        first = watch(form, first, last, options, result)
    result.mutations = options.mutations
    return result


def watch(form: str, first: int, last: int, options: Options, result: Result) -> int:
    """Run one child from mutation `first` on; return the mutation to go on with."""
    arguments = [sys.executable, __file__, "--child", f"{form}:{first}:{last}", "--seed", str(options.seed)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
    with (
        tempfile.TemporaryDirectory(prefix="tlx-fuzz-") as folder,
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=errors, cwd=folder, env=environment) as child,
    ):
        assert child.stdout is not None
        current, pending = first, b""
        limit = 120.0  # the first answer waits for the imports
        end = "ended early"
        while True:
            if not select.select([child.stdout], [], [], limit)[0]:
                end = f"no answer in {limit:.0f} s"
                child.send_signal(signal.SIGABRT)
                break
            block = os.read(child.stdout.fileno(), 1 << 16)
            if not block:
                break
            *lines, pending = (pending + block).split(b"\n")
            for line in lines:
                note(json.loads(line), form, options, result)
                current += 1
                limit = options.timeout
        code = child.wait()
        if current == last and code == 0:
            return last
        errors.seek(0)
        trace = " | ".join(errors.read().decode(errors="replace").splitlines()[-12:])
        result.outcomes["crash or hang"] += 1
        keep(form, current, options, result, f"{end}, exit status {code}: {trace}")
        return current + 1


def note(answer: dict[str, Any], form: str, options: Options, result: Result) -> None:
    result.outcomes[answer["outcome"]] += 1
    result.slowest_seconds = max(result.slowest_seconds, answer["seconds"])
    result.most_megabytes = max(result.most_megabytes, answer["megabytes"])
    if answer["defect"]:
        keep(form, answer["index"], options, result, answer["defect"])


def keep(form: str, index: int, options: Options, result: Result, what: str) -> None:
    options.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        mutated = mutant(samples(form, Path(folder)), options.seed, form, index)
    place = options.keep / f"{form}-{options.seed}-{index}" if len(mutated) > 1 else options.keep
    place.mkdir(exist_ok=True)
    stem = "" if len(mutated) > 1 else f"{form}-{options.seed}-{index}-"
    for name, content in mutated.items():
        put(place, f"{stem}{name}", content)
    kept = place / f"{stem}{next(iter(mutated))}"
    result.defects.append(f"{kept}: {what}")


# The child: mutate, open, read


def work(options: Options) -> int:
    form, first, last = options.child.split(":")
    folder = Path.cwd()
    os.mkfifo(folder / "secret")  # what samples point to outside themselves; opening it would hang
    unpacked = folder / "unpacked"  # where packed members of .keras files go for a while
    unpacked.mkdir()
    tempfile.tempdir = str(unpacked)
    files = samples(form, folder)

    import unicodedata  # noqa: F401  (Python itself imports this and the codec late)

    for codec in ("raw_unicode_escape", "utf_16_le", "utf_16_be", "utf_32_le", "utf_32_be", "latin_1"):
        codecs.lookup(codec)

    from tlx.errors import TlxError

    read = reader_of(form)
    for name, content in files:
        put(folder, f"sample-{name}", content)
    for name, _ in files:  # warm up: what is imported late is imported now
        with contextlib.suppress(TlxError):
            read(folder / f"sample-{name}")

    events: list[str] = []
    allowed = {""}

    def watch_events(event: str, arguments: tuple[Any, ...]) -> None:
        path = str(arguments[0]) if arguments else ""
        ours = event in ("open", "os.remove") and (path in allowed or path.startswith(tempfile.tempdir or "?"))
        ours = ours or (event, path) == ("open", "<string>")  # Python 3.12, for the line of a syntax error
        if WATCHED.match(event) and not ours:
            events.append(f"{event} {str(arguments[:1])[:100]}")

    sys.addaudithook(watch_events)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + SPARE_BYTES, mapped + SPARE_BYTES))
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for index in range(int(first), int(last)):
        mutated = mutant(files, options.seed, form, index)
        allowed.clear()
        for name, content in mutated.items():
            allowed.add(str(put(folder, name, content)))
        path = folder / next(iter(mutated))
        events.clear()
        start = time.perf_counter()
        defect = ""
        try:
            outcome, defect = read(path)
        except TlxError as error:
            outcome = check_message(error)
        except BaseException as error:
            outcome, defect = "other exception", f"{type(error).__name__}: {str(error)[:200]}"
        seconds = time.perf_counter() - start
        if outcome.startswith("message"):
            defect = outcome
        if left := list(unpacked.iterdir()):
            defect = f"left behind: {left}"
        if events:
            defect = f"events: {events[:5]}"
        allowed.add("")
        megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident) / 1024
        answer = {"index": index, "outcome": outcome, "defect": defect, "seconds": seconds, "megabytes": megabytes}
        print(json.dumps(answer), flush=True)
    return 0


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def reader_of(form: str) -> Callable[[Path], tuple[str, str]]:
    if form in MODELS:
        return read_model
    return read_texts if form in TABLES else read_vectors if form in VECTORS else read_weights


def read_model(path: Path) -> tuple[str, str]:
    """Load the text model of a folder, and split texts by its tokenizer; return what is wrong with it."""
    import numpy as np

    from tlx.presets.convert_options import ConvertOptions
    from tlx.presets.text_folder import load_text_folder
    from tlx.tree import flatten

    above = {"1_Pooling": 1, "tokenizer": 2}.get(path.parent.name, 0)  # of what is in a folder of the model's folder
    found = load_text_folder(path.parents[above], ConvertOptions())
    batch = found.preprocess.collate(["A good film.", "", "x" * 2000, "Café \u65e5\u672c \U0001f600 [MASK]" * 20])
    rows = found.config.settings.vocab_size
    if batch["ids"].min() < 0 or batch["ids"].max() >= rows:
        return "read", f"pieces {batch['ids'].min()} to {batch['ids'].max()} of a model of {rows} rows"
    leaves = flatten(found.variables).values()
    return "read", "" if all(np.isfinite(leaf).all() for leaf in leaves) else "weights that are not finite"


def read_texts(path: Path) -> tuple[str, str]:
    """Read the texts of a file, to train on and to predict from; return what is wrong with them."""
    from tlx.data.readers.tags import read_tags
    from tlx.data.readers.texts import read_texts as read
    from tlx.data.spec import DataSpec, Request
    from tlx.data.text_files import text_files
    from tlx.errors import TlxError

    defect, outcomes = "", []
    request = Request(str(path), DataSpec(str(path)), None, False)
    is_tagged = path.name in ("names.conll", "words.conllu", "lists.jsonl")
    first: Callable[[], Any] = (lambda: read_tags(request).train) if is_tagged else (lambda: read(request).train)
    readers: tuple[Callable[[], Any], ...] = (first,) if is_tagged else (first, lambda: text_files([path]))
    for each in readers:
        try:
            source = each()
        except TlxError as error:
            outcomes.append(check_message(error))
            continue
        outcomes.append("read")
        for row in range(len(source)):
            text = source[row]["input"]
            parts = text.values() if isinstance(text, dict) else text if isinstance(text, tuple) else (text,)
            if not all(isinstance(part, str) and part.strip() and "\0" not in part for part in parts):
                defect = f"row {row} is {text!r:.80}"
    wrong = [outcome for outcome in outcomes if outcome.startswith("message")]
    return (*wrong, outcomes[0])[0], defect


def read_weights(path: Path) -> tuple[str, str]:
    """Read every tensor; return the outcome and what is wrong with it."""
    from tlx.convert.read import open_weights
    from tlx.errors import TlxError

    outcome, defect = "read", ""
    for tensor in open_weights(path).tensors.values():
        try:
            array = tensor.read()
        except TlxError as error:
            outcome = check_message(error)
        else:
            if array.shape != tensor.shape or array.dtype.name != tensor.dtype:
                defect = f"{tensor.name}: {array.shape} of {array.dtype}, listed {tensor.shape} {tensor.dtype}"
    return outcome, defect


def read_vectors(path: Path) -> tuple[str, str]:
    """Read the vectors of all words and of some that are not there; return the outcome and what is wrong with it."""
    import numpy as np

    from tlx.text import open_word_vectors

    vectors = open_word_vectors(path)
    others = [vectors.vector(word) for word in ("", "unheard-of", "\udcff日本")]
    arrays = [vectors.matrix, *(vector[None] for vector in others if vector is not None)]
    if not all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays):
        return "read", "numbers that are not finite float32"
    if {array.shape[1] for array in arrays} != {vectors.dim} or len(vectors.matrix) != len(vectors.words):
        return "read", f"{[array.shape for array in arrays]} for {len(vectors.words)} words"
    return "read", "" if all(note.isprintable() for note in vectors.notes) else f"notes {vectors.notes}"


def check_message(error: ValueError) -> str:
    message = str(error)
    if not message.isprintable() or len(message) > 2000:
        return f"message is not one printable line: {message[:300]!r}"
    return type(error).__name__


# Mutations


def samples(form: str, folder: Path) -> list[tuple[str, bytes]]:
    from vector_files import SAMPLES as VECTOR_SAMPLES
    from weight_files import HOSTILE, SAMPLES

    if form in MODELS or form in TABLES:
        return text_samples(form, folder)
    if form == "tf":
        from tf_files import sample

        sample().write(folder)
        return [(path.name, path.read_bytes()) for path in sorted(folder.glob("model.ckpt.*"), reverse=True)]
    made = []
    for name, write in (*(SAMPLES | VECTOR_SAMPLES)[form], *HOSTILE.get(form, ())):
        write(folder / name)
        made.append((name, (folder / name).read_bytes()))
    return made


def text_samples(form: str, folder: Path) -> list[tuple[str, bytes]]:
    """Write text models and tables of texts; of a model, the other files are beside."""
    from text_files import TEXT_SAMPLES
    from text_models import write_samples

    if form in TABLES:
        return [(name, write()) for name, write in TEXT_SAMPLES[form]]
    if form == "keras-hub":
        from keras_hub_presets import write_preset

        write_preset(folder / "models" / "bert", task="BertTextClassifier", num_classes=2)
        write_preset(folder / "models" / "roberta", "RobertaBackbone")
    else:
        write_samples(folder / "models")
    return [(str(file.relative_to(folder)), file.read_bytes()) for file in sorted(folder.glob("models/**/*.*"))]


def mutant(files: list[tuple[str, bytes]], seed: int, form: str, index: int) -> dict[str, bytes]:
    """Make mutation `index`, the same on every call: the files to write, the first of which is to be opened."""
    chance = random.Random(f"{seed}/{form}/{index}")
    if form == "tf":
        return mutate_checkpoint(dict(files), chance)
    if form in MODELS:
        return mutate_model(files, form, chance)
    name, content = chance.choice(files)
    others = [other for _, other in files]
    if content.startswith(b"PK") and chance.random() < 0.7:
        return {name: mutate_member(content, chance)}
    if content.startswith(b"\x1f\x8b") and chance.random() < 0.7:
        plain = gzip.decompress(content)
        return {name: gzip.compress(mutate(plain, [plain], chance), mtime=0)}
    return {name: mutate(content, others, chance)}


def mutate_member(content: bytes, chance: random.Random) -> bytes:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    chosen = chance.randrange(len(members))
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for index, (name, member) in enumerate(members):
            archive.writestr(name, mutate(member, [member], chance) if index == chosen else member)
    return stream.getvalue()


def mutate_checkpoint(files: dict[str, bytes], chance: random.Random) -> dict[str, bytes]:
    """Mutate one part of a TensorFlow checkpoint; but for a file as a whole, make the CRCs right again."""
    from tf_files import GRAPH, block, literal, object_graph, sample, table, table_of

    index, data = files
    part = chance.choice(("file", "block", "packed", "entry", "graph"))
    made = sample()
    if part == "file":
        name = chance.choice((index, data))
        return files | {name: mutate(files[name], list(files.values()), chance)}
    if part in ("block", "packed"):
        content = block(dict(sorted(made.entries.items())))
        content = literal(content) if part == "packed" else content
        return files | {index: table_of([(b"x", mutate(content, [content], chance), int(part == "packed"))])}
    if part == "entry":
        key = chance.choice(sorted(made.entries))
        made.entries[key] = mutate(made.entries[key], list(made.entries.values()), chance)
        return files | {index: table(made.entries)}
    del made.entries[GRAPH]
    names = {key.decode(): f"layer/{place}" for place, key in enumerate(made.entries) if key.startswith(b"layers")}
    graph = object_graph(names)
    made.add_graph(mutate(graph, [graph], chance))
    return {index: table(made.entries), data: made.shards[0]}


def mutate_model(files: list[tuple[str, bytes]], form: str, chance: random.Random) -> dict[str, bytes]:
    """Mutate one file of a text model: its bytes, or what is in its JSON; the others stay beside it."""
    name, content = chance.choice([(name, content) for name, content in files if re.search(DAMAGED[form], name)])
    made = mutate_json(content, chance) if name.endswith(".json") and chance.random() < 0.7 else None
    folder = "/".join(name.split("/")[:2])
    beside = {other: content for other, content in files if other.startswith(folder) and other != name}
    return {name: mutate(content, [content], chance) if made is None else made, **beside}


def mutate_json(content: bytes, chance: random.Random) -> bytes:
    """Change some values of JSON: to odd ones, to others of the same file, to nothing, or into each other."""
    value = [json.loads(content)]
    for _ in range(chance.choice((1, 1, 2, 4))):
        node: Any = value
        while True:
            key = chance.choice(list(node)) if isinstance(node, dict) else chance.randrange(len(node))
            if not isinstance(node[key], dict | list) or not node[key] or chance.random() < 0.2:
                break
            node = node[key]
        match chance.randrange(4):
            case 0 if node is not value:
                del node[key]
            case 1:
                node[key] = (
                    [node[key]] if chance.random() < 0.5 else {"type": "Sequence", "normalizers": [node[key]] * 3}
                )
            case 2 if isinstance(node[key], int):
                node[key] += chance.choice((-1, 1, 1000))
            case _:
                node[key] = chance.choice(ODD)
        value = json.loads(json.dumps(value))  # nothing in it is shared
        if not value[0] or not isinstance(value[0], dict | list):
            break
    return json.dumps(value[0]).encode()


def mutate(content: bytes, others: list[bytes], chance: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        if data:
            chance.choice(MUTATIONS)(data, others, chance)
    return bytes(data)


def flip_bit(data: bytearray, others: list[bytes], chance: random.Random) -> None:
    data[somewhere(data, chance)] ^= 1 << chance.randrange(8)


def set_byte(data: bytearray, others: list[bytes], chance: random.Random) -> None:
    data[somewhere(data, chance)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))


def set_number(data: bytearray, others: list[bytes], chance: random.Random) -> None:
    width = chance.choice((2, 4, 8))
    at = somewhere(data, chance)
    value = chance.choice((*NUMBERS, len(data), len(data) - at, chance.randrange(len(data) + 1)))
    encoded = (value % (1 << 8 * width)).to_bytes(width, chance.choice(("little", "little", "big")))
    data[at : at + width] = encoded[: len(data) - at]


def set_digits(data: bytearray, others: list[bytes], chance: random.Random) -> None:
    found = list(re.finditer(rb"\d+", data))
    if found:
        digits = chance.choice(found)
        data[digits.start() : digits.end()] = str(chance.choice(NUMBERS) - chance.choice((0, 0, 2))).encode()


def cut(data: bytearray, others: list[bytes], chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def remove(data: bytearray, others: list[bytes], chance: random.Random) -> None:
    at = somewhere(data, chance)
    del data[at : at + chance.choice((1, 2, 4, 8, 100))]


def repeat(data: bytearray, others: list[bytes], chance: random.Random) -> None:
    at, to = somewhere(data, chance), somewhere(data, chance)
    data[to:to] = data[at : at + chance.choice((1, 4, 8, 50, 500))]


def copy_over(data: bytearray, others: list[bytes], chance: random.Random) -> None:
    at, to = somewhere(data, chance), somewhere(data, chance)
    piece = data[at : at + chance.choice((4, 8, 16, 64))][: len(data) - to]
    data[to : to + len(piece)] = piece


def splice(data: bytearray, others: list[bytes], chance: random.Random) -> None:
    other = chance.choice(others)
    at = somewhere(data, chance)
    data[at:] = other[somewhere(other, chance) :] if chance.random() < 0.5 else other[at:]


def somewhere(data: bytes | bytearray, chance: random.Random) -> int:
    """Choose a place, more often one near the start, where the headers of most formats are."""
    return int(len(data) * chance.random() ** chance.choice((1, 1, 3)))


MUTATIONS: tuple[Callable[[bytearray, list[bytes], random.Random], None], ...] = (
    *(flip_bit, flip_bit, set_byte, set_byte, set_number, set_number, set_digits),
    *(cut, remove, repeat, copy_over, splice),
)

if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
