"""The formats that `bench.fuzz` mutates: valid samples of each, how they are mutated, and every reader of theirs."""

import gzip
import io
import json
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sentencepiece
import torch
import zstandard

from bench.mutations import json_bytes, mutated_bytes, mutated_json, mutated_text
from flows.commands import watch_command
from flows.parameters import SECTIONS, asked_for
from pgolf.corpus.byte_lengths import ByteTable
from pgolf.corpus.byte_shards import check_byte_shards
from pgolf.corpus.data_files import find_data
from pgolf.corpus.dataset import MANIFEST_NAME, Dataset, open_dataset
from pgolf.corpus.documents import Documents
from pgolf.corpus.model_proto import ModelSettings
from pgolf.corpus.shards import TokenStream, read_shard, stream_digest, validation_bytes, validation_tokens, write_shard
from pgolf.corpus.text_bytes import TextBytes
from pgolf.corpus.tokenizer import load_tokenizer, tokenizer_kind, vocab_text
from pgolf.corpus.vocabulary import vocabulary_digest
from pgolf.counts import count_stage, hint_stage
from pgolf.counts.config import CountConfig
from pgolf.counts.hint_config import HintConfig
from pgolf.counts.mass import MassSample, read_mass, write_mass
from pgolf.errors import PgolfError
from pgolf.eval.batch_means import BatchMean, read_batch_means, write_batch_means
from pgolf.eval.hints import hint_orders, read_hints
from pgolf.eval.trace import Trace, count_records, iterate_trace, read_plan, read_trace, trace_is_causal, write_trace
from pgolf.eval.windows import plan_windows
from pgolf.identity.fingerprint import digest
from pgolf.machine.process import Process
from pgolf.mix.cells import count_points
from pgolf.mix.mix_inputs import MixInputs
from pgolf.model.checkpoint import build_model, load_checkpoint, save_checkpoint
from pgolf.model.config import ModelConfig
from pgolf.model.gpt import GPT
from pgolf.model.published import from_published, read_published
from pgolf.model.wrapper_names import without_wrappers
from pgolf.pack.codec import CODECS
from pgolf.pack.container import MAGIC, PREFIX_BYTES, joined, packed_part, parts, serialize
from pgolf.pack.load import load_packed
from pgolf.pack.weights import to_content
from pgolf.pipeline.declared import declare, declared_of
from pgolf.pipeline.place import Place
from pgolf.pipeline.status import RUNNING, Status
from pgolf.quant.rounding import Quantized
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.changed import default_name
from pgolf.recipes.grid_text import MOST_POINTS, refuse_large_grid, with_grid
from pgolf.recipes.overrides import apply_overrides, validated
from pgolf.recipes.recipe import Recipe
from pgolf.recipes.recipe_file import find_recipe
from pgolf.store.output_record import RECORD_FILE, Record, read_record
from pgolf.tables.columns import moments_of
from pgolf.tables.parquet import append, read
from pgolf.tables.ranked import NEEDED, lists
from pgolf.tables.schema import DECLARATIONS, SCORES
from pgolf.tables.sheet import sheet_of
from pgolf.tables.text import to_csv, to_json, to_text
from pgolf.tables.texts import by_text

Mutate = Callable[[Random, Sequence[bytes]], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """samples: valid content, made with the help of an empty folder. mutate: one of them, changed. prepare: what
    readers find beside the file, once for a folder. read: all readers of it; whatever they raise passes.
    """

    name: str
    samples: Callable[[Path], Sequence[bytes]]
    mutate: Mutate
    read: Callable[[Path, bytes], None]
    prepare: Callable[[Path], None] | None = None


def _bytes(draw: Random, samples: Sequence[bytes]) -> bytes:
    return mutated_bytes(draw, draw.choice(samples), samples)


def _text(draw: Random, samples: Sequence[bytes]) -> bytes:
    texts = [sample.decode() for sample in samples]
    return mutated_text(draw, draw.choice(texts), texts).encode("utf-8", "surrogatepass")


def _json(draw: Random, samples: Sequence[bytes]) -> bytes:
    """Mostly other values, sometimes other bytes."""
    if draw.random() < 0.25:
        return _text(draw, samples)
    return json_bytes(mutated_json(draw, json.loads(draw.choice(samples))))


def _given(content: bytes) -> str:
    """What a program gets for the bytes of an argument."""
    return content.decode("utf-8", "surrogateescape")


# Data: shards, bytes per token, manifest, tokenizer, documents.

_VOCAB = 340
_TOKENS = np.random.default_rng(6).integers(255, 280, 400).astype(np.uint16)


def _tokenizer(**options: Any) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(
            ["The quick brown fox jumps over the lazy dog.", "Pack my box with jugs, 0123456789"] * 4
        ),
        model_writer=model,
        **{"model_type": "bpe", "vocab_size": 330, "byte_fallback": True, "minloglevel": 2, "hard_vocab_limit": False}
        | {"normalization_rule_name": "identity", "pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
        | options,
    )
    return model.getvalue()


@cache
def _small_tokenizer() -> bytes:
    return _tokenizer()


def _data_folder(folder: Path) -> Path:
    shards = folder / "datasets/toy"
    shards.mkdir(parents=True)
    (folder / "tokenizers").mkdir()
    (folder / "tokenizers/toy.model").write_bytes(_tokenizer(byte_fallback=False, vocab_size=60))
    for name in ("train", "val", "val_bytes"):
        write_shard(shards / f"fineweb_{name}_000000.bin", _TOKENS)
    (folder / MANIFEST_NAME).write_bytes(_MANIFEST)
    return folder


_MANIFEST = json_bytes(
    {
        "version": "10B",
        "tokenizers": [{"name": "toy", "vocab_size": _VOCAB, "bos_id": 1, "model_path": "tokenizers/toy.model"}],
        "datasets": [
            {
                "name": "toy",
                "tokenizer_name": "toy",
                "path": "datasets/toy",
                "vocab_size": _VOCAB,
                "bos_id": 1,
                "stats": {
                    "files_train": 1,
                    "files_val": 1,
                    "files_val_bytes": 1,
                    "tokens_val": 400,
                    "tokens_train": 400,
                },
            }
        ],
    }
)


def _shard_samples(folder: Path) -> list[bytes]:
    found = []
    for count in (1, 30, 400):
        write_shard(folder / "shard.bin", _TOKENS[:count])
        found.append((folder / "shard.bin").read_bytes())
    return found


def _dataset(folder: Path, shard: Path, byte_shard: Path) -> Dataset:
    return Dataset(
        folder=folder,
        name="toy",
        vocab_size=_VOCAB,
        bos_id=1,
        train_shards=(shard,),
        val_shards=(shard,),
        val_byte_shards=(byte_shard,),
        tokenizer_model=folder / "tokenizers/toy.model",
    )


def _read_shard(folder: Path, content: bytes) -> None:
    path = folder / "shard.bin"
    path.write_bytes(content)
    read_shard(path, vocab_size=_VOCAB)
    TokenStream([path], vocab_size=_VOCAB).take(60)
    dataset = _dataset(folder, path, path)
    stream_digest(validation_tokens(dataset, window=16))


def _read_byte_shard(folder: Path, content: bytes) -> None:
    shard, path = folder / "val.bin", folder / "bytes.bin"
    if not shard.exists():
        write_shard(shard, _TOKENS)
    path.write_bytes(content)
    check_byte_shards([shard], [path])
    validation_bytes(_dataset(folder, shard, path))


def _read_manifest(folder: Path, content: bytes) -> None:
    (folder / MANIFEST_NAME).write_bytes(content)
    errors = []
    for look in (lambda: _use(open_dataset(folder)), lambda: find_data(folder)):
        try:
            look()
        except PgolfError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _use(dataset: Dataset) -> None:
    ByteTable.from_tokenizer(dataset.tokenizer_model, vocab_size=dataset.vocab_size)
    np.flatnonzero(validation_tokens(dataset, window=16) == dataset.bos_id)
    validation_bytes(dataset)


def _tokenizer_samples(_folder: Path) -> list[bytes]:
    return [
        *[_small_tokenizer()] * 3,
        _tokenizer(model_type="unigram", byte_fallback=False, vocab_size=60, treat_whitespace_as_suffix=True),
        _tokenizer(user_defined_symbols="<a>,<b>", vocab_size=320),
        _tokenizer(normalization_rule_name="nmt_nfkc"),
    ]


_TEXTS = ("The quick  brown\tfox ", "\u00e9\u2028\ufb01 jumps 012", " over\n")


def _read_tokenizer(folder: Path, content: bytes) -> None:
    path = folder / "toy.model"
    path.write_bytes(content)
    processor = load_tokenizer(path)
    ByteTable.from_tokenizer(path)
    ModelSettings.read(path)
    tokenizer_kind(processor)
    vocab_text(processor)
    vocabulary_digest(processor)
    encoded = [np.array(ids, np.int32) for ids in processor.encode(list(_TEXTS))]
    TextBytes(processor, threads=1).count(_TEXTS, encoded, first=0)


def _documents_of(name: str, skip_bad: int = 1_000) -> Callable[[Path, bytes], None]:
    def read_documents(folder: Path, content: bytes) -> None:
        path = folder / name
        path.write_bytes(content)
        for _text_of_document in Documents(path, skip_bad=skip_bad):
            pass
        for _text_of_document in Documents(path):
            pass

    return read_documents


def _lines() -> bytes:
    texts = ("one", "zw\u00f6lf \ud83d\ude00", "\ttwo\n", "", "x" * 300)
    return b"".join(
        json.dumps({"text": text, "id": i, "meta": {"a": [1.5, None]}}).encode() + b"\n" for i, text in enumerate(texts)
    )


def _json_lines(draw: Random, samples: Sequence[bytes]) -> bytes:
    lines = draw.choice(samples).splitlines()
    at = draw.randrange(len(lines))
    lines[at] = _json(draw, [lines[at]]) if draw.random() < 0.7 else _bytes(draw, [lines[at]])
    return b"\n".join(lines)


def _compressed_lines(compress: Callable[[bytes], bytes]) -> Mutate:
    """Damage inside the compression, or in it."""

    def mutate(draw: Random, samples: Sequence[bytes]) -> bytes:
        if draw.random() < 0.2:
            return compress(_json_lines(draw, [_lines()]))
        return _bytes(draw, samples)

    return mutate


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def _zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


def _parquet_bytes(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return sink.getvalue().to_pybytes()


def _parquet_documents(_folder: Path) -> list[bytes]:
    texts = ["one", "zw\u00f6lf", None, "", "x" * 300] * 6
    return [
        _parquet_bytes(pa.table({"text": texts, "id": list(range(30))}), compression="none", use_dictionary=False),
        _parquet_bytes(pa.table({"text": texts}), compression="snappy", row_group_size=10),
        _parquet_bytes(pa.table({"text": texts}), compression="zstd", write_page_checksum=True),
        _parquet_bytes(pa.table({"text": pa.array(texts).dictionary_encode()}), compression="gzip"),
        _parquet_bytes(pa.table({"text": pa.array(texts, pa.large_string())}), data_page_version="2.0"),
        _parquet_bytes(pa.table({"text": pa.array(["a", "b"] * 8), "other": [[1], None] * 8}), compression="brotli"),
    ]


# Weights: torch.save files, safetensors, packed models.

_NETWORK = ModelConfig(
    vocab_size=20, width=16, layers=2, heads=2, kv_heads=1, mlp_width=16, bigram_buckets=8, bigram_dim=4, rope_dims=4
)


@cache
def _state() -> Mapping[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: (torch.randn(tensor.shape, generator=generator) * 0.3).to(tensor.dtype)
        for name, tensor in GPT(_NETWORK).state_dict().items()
    }


def _saved_samples(folder: Path) -> list[bytes]:
    found = []
    for state, options in (
        (_state(), {}),
        ({"a": torch.zeros(3)}, {"_use_new_zipfile_serialization": False}),
        ({"a": torch.zeros(3), "b": torch.arange(4.0).view(2, 2)}, {}),
        ({"a": torch.zeros(3), "b": torch.nn.Parameter(torch.ones(2))}, {"_use_new_zipfile_serialization": False}),
    ):
        torch.save(state, folder / "saved.pt", **options)
        found.append((folder / "saved.pt").read_bytes())
    return found


def _read_saved(folder: Path, content: bytes) -> None:
    path = folder / "saved.pt"
    path.write_bytes(content)
    from_published(_NETWORK, without_wrappers(read_published(path))[0])


def _checkpoint_samples(folder: Path) -> list[bytes]:
    path = folder / "checkpoint.safetensors"
    save_checkpoint(path, _NETWORK, _state(), {"seed": "1", "steps": "3"})
    return [path.read_bytes()]


def _safetensors(draw: Random, samples: Sequence[bytes]) -> bytes:
    """Damage anywhere, or in the header alone with its length made right."""
    sample = draw.choice(samples)
    if draw.random() < 0.3:
        return _bytes(draw, [sample])
    end = 8 + int.from_bytes(sample[:8], "little")
    header = json.loads(sample[8:end])
    if draw.random() < 0.5:
        about = header["__metadata__"]
        about["model_config"] = json.dumps(mutated_json(draw, json.loads(about["model_config"])))
    else:
        header = mutated_json(draw, header)
    written = json_bytes(header)
    return len(written).to_bytes(8, "little") + written + sample[end:]


def _read_checkpoint(folder: Path, content: bytes) -> None:
    path = folder / "checkpoint.safetensors"
    path.write_bytes(content)
    checkpoint = load_checkpoint(path)
    build_model(checkpoint.config, checkpoint.state)


@cache
def _packed_contents() -> list[bytes]:
    generator = torch.Generator().manual_seed(1)
    stored: dict[str, Any] = {}
    for name, tensor in _state().items():
        if tensor.ndim == 2 and min(tensor.shape) >= 16:
            codes = torch.randint(-7, 8, tensor.shape, generator=generator, dtype=torch.int8)
            stored[name] = Quantized(codes, torch.full((tensor.shape[0],), 0.01, dtype=torch.float16))
        else:
            stored[name] = tensor.to(torch.float16)
    dtypes = {name: tensor.dtype for name, tensor in _state().items()}
    return [serialize(to_content(stored, dtypes, _NETWORK, {"seed": "1"}))]


def _sealed(body: bytes, number: int, decoded_bytes: int) -> bytes:
    """A packed model's file with a right checksum, whatever it holds."""
    import hashlib

    prefix = struct.pack("<8sHHQQ", MAGIC, 3, number, len(body), decoded_bytes)
    return prefix + hashlib.sha256(prefix + body).digest() + body


def _packed_samples(_folder: Path) -> list[bytes]:
    [content] = _packed_contents()
    packed = {name: [packed_part(name, int(name != "rans"), part) for part in parts(name, content)] for name in CODECS}
    return [joined(name, content, of_name) for name, of_name in packed.items()]


def _packed(draw: Random, samples: Sequence[bytes]) -> bytes:
    """Damage as it comes; damage with the checksum repaired; another content compressed as it should be."""
    kind = draw.random()
    sample = draw.choice(samples)
    if kind < 0.1:
        return _bytes(draw, samples)
    number, decoded_bytes = struct.unpack_from("<H", sample, 10)[0], struct.unpack_from("<Q", sample, 20)[0]
    if kind < 0.5:
        claimed = (
            decoded_bytes
            if draw.random() < 0.7
            else draw.choice((0, 1 << 20, 1 << 29, 1 << 30, 1 << 40, decoded_bytes + 1))
        )
        return _sealed(
            mutated_bytes(draw, sample[PREFIX_BYTES:], samples),
            draw.choice((number, number, number, 0, 1, 2, 3)),
            claimed,
        )
    [content] = _packed_contents()
    start = 4 + struct.unpack_from("<I", content)[0]
    header = json.loads(content[4:start])
    if draw.random() < 0.6:
        header["meta"]["model_config"] = mutated_json(draw, header["meta"]["model_config"])
    else:
        header = mutated_json(draw, header)
    written = json_bytes(header)
    changed = struct.pack("<I", len(written)) + written + content[start:]
    packed = zstandard.ZstdCompressor(level=1).compress(changed)
    return _sealed(struct.pack("<III", 1, len(packed), len(changed)) + packed, 0, len(changed))


def _read_packed(folder: Path, content: bytes) -> None:
    path = folder / "model.pgolf"
    path.write_bytes(content)
    checkpoint = load_packed(path)
    build_model(checkpoint.config, checkpoint.state)


# Arrow: traces, counts, masses, hints, batch means, and a mix of them.

_WINDOW, _STRIDE = 64, 16
_PLAN = plan_windows(399 // _WINDOW * _WINDOW, window=_WINDOW, stride=_STRIDE)
_STREAM = stream_digest(_TOKENS[: _PLAN.targets + 1])
_ORDERS = (3, 4)


def _arrow_bytes(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=200)
    return sink.getvalue().to_pybytes()


def _table_of(content: bytes) -> pa.Table:
    return pa.ipc.open_file(pa.py_buffer(content)).read_all()


def _arrow(draw: Random, samples: Sequence[bytes]) -> bytes:
    """Damage anywhere, or another table written as it should be: other metadata, types, nulls, values, compression."""
    sample = draw.choice(samples)
    if draw.random() < 0.6:
        return _bytes(draw, [sample])
    table = _table_of(sample)
    metadata = dict(table.schema.metadata or {})
    for _ in range(draw.choice((1, 1, 2))):
        place = draw.randrange(table.num_columns)
        name, column = table.column_names[place], table.column(place)
        others = [other for other in range(table.num_columns) if other != place]
        match draw.randrange(7):
            case 0:
                table = table.set_column(
                    place, name, column.cast(draw.choice((pa.float64(), pa.string(), pa.int64())), safe=False)
                )
            case 1:
                hole = draw.randrange(len(column))
                table = table.set_column(
                    place,
                    name,
                    pa.array([None if i == hole else v for i, v in enumerate(column.to_pylist())], column.type),
                )
            case 2:
                table = table.select(others) if others else table
            case 3:
                table = table.append_column(draw.choice((name, "hint_5", "hint_logp_" + "9" * 30, "\u00e9")), column)
            case 4:
                table = table.slice(draw.randrange(len(table)), draw.choice((0, 1, 200)))
                if not len(table):
                    break
            case 5 if metadata:
                key = draw.choice(list(metadata))
                try:
                    metadata[key] = json_bytes(mutated_json(draw, json.loads(metadata[key])))
                except ValueError:
                    metadata[key] = mutated_bytes(draw, metadata[key], samples)[:500]
            case _:
                table = table.set_column(place, name, pa.array(column.to_pylist()[::-1], column.type))
    return _arrow_bytes(table.replace_schema_metadata(metadata), compression=draw.choice((None, None, "zstd", "lz4")))


def _trace_samples(folder: Path) -> list[bytes]:
    target = _PLAN.record_targets()
    random = np.random.default_rng(1)
    loss, entropy = (random.uniform(0.5, 4, len(target)).astype(np.float32) for _ in range(2))
    found = []
    for orders in ((), _ORDERS):
        trace = Trace(target, loss, entropy, {order: (-loss).astype(np.float32) for order in orders})
        write_trace(folder / "trace.arrow", [trace], plan=_PLAN, stream=_STREAM, hint_orders=orders)
        found.append((folder / "trace.arrow").read_bytes())
    return [*found, _arrow_bytes(_table_of(found[0]))]


def _config_metadata(key: bytes, config: Any) -> dict[bytes, bytes]:
    return {key: config.model_dump_json().encode(), b"pgolf.stream": _STREAM.encode()}


def _count_samples(_folder: Path) -> list[bytes]:
    config = CountConfig(orders=(2, 3), window=_WINDOW, stride=_STRIDE, ranks=1, estimator="exact")
    counts = np.random.default_rng(2).integers(0, 9, _PLAN.records).astype(np.uint32)
    columns = dict.fromkeys(count_stage.column_names(config.orders), counts)
    table = pa.table(columns).replace_schema_metadata(_config_metadata(count_stage.CONFIG_KEY, config))
    return [_arrow_bytes(table)]


def _mass_samples(folder: Path) -> list[bytes]:
    sample = MassSample(np.arange(5), np.ones((2, 5), np.uint32), np.full((2, 5), 0.5))
    write_mass(folder / "mass.arrow", (2, 3), sample)
    return [(folder / "mass.arrow").read_bytes()]


def _hint_samples(_folder: Path) -> list[bytes]:
    config = HintConfig(orders=_ORDERS, window=_WINDOW, stride=_STRIDE)
    random = np.random.default_rng(3)
    columns = {
        # No hint: what the trace says of hints then fits.
        name: (np.full(_PLAN.records, -1) if name.startswith("hint") else random.integers(0, 5, _PLAN.records)).astype(
            kind.to_pandas_dtype()
        )
        for name, kind in hint_stage.columns_of(_ORDERS)
    }
    return [_arrow_bytes(pa.table(columns).replace_schema_metadata(_config_metadata(hint_stage.CONFIG_KEY, config)))]


def _batch_samples(folder: Path) -> list[bytes]:
    write_batch_means(folder / "batches.arrow", [BatchMean(0, 0, i, i, i + 1, 64, 2.0, 1.5) for i in range(5)])
    return [(folder / "batches.arrow").read_bytes()]


def _prepare_mix(folder: Path) -> None:
    _data_folder(folder / "data")
    made = folder / "made"
    made.mkdir()
    for role, name, samples in (
        ("trace", "trace.arrow", _trace_samples(made)[2:]),
        ("hinted", "trace.arrow", _trace_samples(made)[1:2]),
        ("counts", "counts.arrow", _count_samples(made)),
        ("hints", "hints.arrow", _hint_samples(made)),
    ):
        (folder / role).mkdir()
        (folder / role / name).write_bytes(samples[0])


def _mix(folder: Path, **roles: str) -> None:
    inputs = {"data": folder / "data", "trace": folder / "trace", "counts.exact": folder / "counts"}
    inputs |= {role: folder / name for role, name in roles.items()}
    for _unit in MixInputs(inputs).units([]):
        pass


def _read_trace(folder: Path, content: bytes) -> None:
    path = folder / "mine/trace.arrow"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    _each(
        lambda: read_trace(path),
        lambda: read_plan(path),
        *(
            [lambda: list(iterate_trace(path)), lambda: count_records(path), lambda: trace_is_causal(path)]
            if _one_in(4, content)
            else []
        ),
        *([lambda: _mix(folder, trace="mine")] if _one_in(16, content) else []),
    )


def _read_counts(folder: Path, content: bytes) -> None:
    path = folder / "mine/counts.arrow"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    _each(
        lambda: list(count_stage.open_counts(path).blocks()),
        *([lambda: _mix(folder, **{"counts.exact": "mine"})] if _one_in(16, content) else []),
    )


def _read_mass(folder: Path, content: bytes) -> None:
    path = folder / "mass.arrow"
    path.write_bytes(content)
    read_mass(path, (2, 3))


def _read_hints(folder: Path, content: bytes) -> None:
    path = folder / "mine/hints.arrow"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    _each(
        lambda: hint_orders(path),
        lambda: read_hints(path, records=_PLAN.records, vocab_size=_VOCAB, stream=_STREAM),
        *([lambda: _mix(folder, hints="mine", trace="hinted")] if _one_in(16, content) else []),
    )


def _read_batches(folder: Path, content: bytes) -> None:
    path = folder / "batches.arrow"
    path.write_bytes(content)
    read_batch_means(path)


def _one_in(count: int, content: bytes) -> bool:
    """Whether a reader that takes long should look at this content too."""
    return zlib.crc32(content) % count == 0


def _each(*readers: Callable[[], object]) -> None:
    """All of them, whatever one of them says; then what the first one said."""
    errors = []
    for reader in readers:
        try:
            reader()
        except PgolfError as error:
            errors.append(error)
    if errors:
        raise max(errors, key=lambda error: len(str(error)))


# The store and the tables.


def _record_samples(_folder: Path) -> list[bytes]:
    key = {"stage": "toy", "version": 1, "config": {"a": 1}, "inputs": {}, "code": {"pgolf.x": "0" * 64}, "tools": {}}
    record = Record(
        node="toy",
        key_digest=digest(key),
        key=key,
        outputs={"out": "1" * 64},
        files={"a.txt": {"size_bytes": 6, "sha256": "0" * 64}, "sub/b.bin": {"size_bytes": 7, "sha256": "1" * 64}},
        facts={"steps": 3, "loss": 2.5, "ok": True, "none": None, "name": "x"},
        phases_s={"read": 0.5},
        wall_s=1.5,
        started_utc="2025-12-01T10:00:00+00:00",
        host="here",
        gpu=None,
        git_commit=None,
        parents={"x": {"folder": "toy-0123456789ab", "outputs": {"out": "2" * 64}}},
    )
    return [record.model_copy(update={"checksum": record.content_digest()}).to_bytes()]


def _record(draw: Random, samples: Sequence[bytes]) -> bytes:
    """Half of them with every digest made right again."""
    content = _json(draw, samples)
    if draw.random() < 0.5:
        return content
    try:
        data = json.loads(content)
        data["key_digest"] = digest(data["key"])
        data["checksum"] = digest({name: value for name, value in data.items() if name != "checksum"})
        return json_bytes(data)
    except (ValueError, TypeError, KeyError, RecursionError):
        return content


def _read_record(folder: Path, content: bytes) -> None:
    (folder / RECORD_FILE).write_bytes(content)
    record = read_record(folder)
    record.folder, record.size_bytes, record.to_bytes()


def _status_samples(_folder: Path) -> list[bytes]:
    status = Status(
        folder="train-0123456789ab",
        node="train[1]",
        stage="train",
        state="building",
        process=Process.here(),
        began_s=1.7e9,
        written_s=1.7e9,
        unit="tokens",
        done=10,
        total=100,
        reported_s=1.7e9 + 5,
        first_s=1.7e9 + 1,
        first_step=1,
        facts={"step": 3, "loss_nats": 2.5, "tokens_per_s": 1000.0},
        training={"steps": 10, "clock_limit_s": 60.0, "flops_per_token": 1000, "gpu": "NVIDIA H100", "ranks": 1},
    )
    return [status.model_dump_json().encode()]


def _read_status(folder: Path, content: bytes) -> None:
    (folder / RUNNING).mkdir(exist_ok=True)
    (folder / RUNNING / "train-0123456789ab.01234567.json").write_bytes(content)
    snapshot = watch_command.Watcher(folder).look()
    watch_command.lines(snapshot)
    watch_command.screen(snapshot, folder)
    json.dumps(watch_command.data(snapshot))


def _score_rows() -> list[dict[str, Any]]:
    row = {
        "recipe": "demo",
        "recipe_key": "a" * 64,
        "estimator": "neural",
        "loss_nats": 2.0,
        "bpb": 1.2,
        "bits": 2885.39,
        "targets": 1000,
        "bytes": 2400,
        "vocab": 512,
        "mass_mean": 1.0,
        "normalized": True,
        "causal": True,
        "fits_budget": True,
        "bytes_verified": True,
        "total_bytes": 90_000,
        "data_name": "builtin-512",
        "val_sha256": "1" * 64,
        "tokenizer_sha256": "2" * 64,
        "text_sha256": "3" * 64,
        "declared": True,
        "declared_utc": "2025-12-01T09:00:00+00:00",
        "started_utc": "2025-12-01T10:00:00+00:00",
    }
    return [row | {"seed": seed, "bpb": 1.2 + seed / 100} for seed in (1, 2)]


# Those that every row needs, and some of each type.
_OLDER_COLUMNS = [
    *dict.fromkeys((*SCORES.required, "loss_nats", "bpb", "targets", "normalized", "declared_utc", "started_utc"))
]


def _table_samples(folder: Path) -> list[bytes]:
    """As an older version with fewer columns wrote it, and as it is written."""
    whole = append(folder, SCORES, "run", _score_rows()).read_bytes()
    older = pq.read_table(pa.BufferReader(whole)).select(_OLDER_COLUMNS)
    return [_parquet_bytes(older, compression="zstd", write_page_checksum=True), whole]


@cache
def _parsed(content: bytes) -> pa.Table:
    return pq.read_table(pa.BufferReader(content))


def _table(draw: Random, samples: Sequence[bytes]) -> bytes:
    """Damage anywhere, or other values and types written as they should be."""
    if draw.random() < 0.5:
        return _bytes(draw, samples[:1] if draw.random() < 0.9 else samples)
    table = _parsed(samples[0])
    for _ in range(draw.choice((1, 2, 4))):
        place = draw.randrange(table.num_columns)
        field = table.schema.field(place)
        hostile: Sequence[Any] = (None,)
        kind = field.type
        if pa.types.is_string(kind):
            hostile = ("\x1b[2J", "", "9" * 600, "x\ny", "e\u0301\u202e", "NaN")
        elif pa.types.is_floating(kind):
            hostile = (float("nan"), float("inf"), -1.0, 1e308, 0.0)
        elif pa.types.is_integer(kind) or pa.types.is_timestamp(kind):
            hostile = (-1, 0, 2**63 - 1, -(2**63), 2**53)
        elif pa.types.is_boolean(kind):
            hostile = (True, False, None)
        elif pa.types.is_map(kind):
            hostile = (None, [("a", float("nan"))], [("a", 1.0), ("a", 2.0)])
        match draw.randrange(4):
            case 0:
                kind = draw.choice(
                    (pa.string(), pa.int64(), pa.float64(), pa.binary(), pa.list_(pa.int8()), pa.bool_())
                )
                values: list[Any] = [None] * len(table)
            case 1:
                table = table.drop_columns([field.name]) if table.num_columns > 1 else table
                continue
            case _:
                values = [draw.choice((*hostile, None)) for _row in range(len(table))]
        table = table.set_column(place, field.name, pa.array(values, kind))
    return _parquet_bytes(table, compression=draw.choice(("zstd", "none")))


def _read_table(folder: Path, content: bytes) -> None:
    (folder / SCORES.name).mkdir(exist_ok=True)
    (folder / SCORES.name / "run.parquet").write_bytes(content)
    read(folder, SCORES, columns=_OLDER_COLUMNS)
    if not _one_in(16, content):
        return
    whole = read(folder, SCORES)
    moments_of(whole.column("started_utc"))
    sheet = sheet_of(whole, SCORES)
    to_text(sheet, 80), to_csv(sheet), to_json(sheet)
    for _text_of, scores in by_text(read(folder, SCORES, columns=NEEDED)):
        for sheet in lists(scores, top=10).values():
            to_text(sheet, 80), to_json(sheet)


@cache
def _declared() -> Recipe:
    return apply_overrides(_demo(), ["mix.mixers=backoff", "mix.alphas=0.4", "estimators=exact"])


def _declaration_samples(folder: Path) -> list[bytes]:
    declare(_declared(), folder)
    [path] = (folder / DECLARATIONS.name).glob("*.parquet")
    rows = pq.read_table(path).to_pylist()
    return [json.dumps(row, default=str).encode() for row in rows]


def _declaration(draw: Random, samples: Sequence[bytes]) -> bytes:
    row = json.loads(draw.choice(samples))
    row["headline"] = _given(_json(draw, [row["headline"].encode()]))
    return json_bytes(row)


def _read_declaration(folder: Path, content: bytes) -> None:
    from datetime import UTC, datetime

    path = folder / DECLARATIONS.name / "run.parquet"
    path.unlink(missing_ok=True)
    row = json.loads(content)
    append(folder, DECLARATIONS, "run", [row | {"declared_utc": datetime(2025, 12, 1, tzinfo=UTC), "recipe": "demo"}])
    declared_of(_declared(), folder, datetime(2025, 12, 2, tzinfo=UTC))


# What people type.

_GRIDS = (
    "alpha=0:0.6:0.05 order=2..5",
    "k=1,4,16 order=2,3",
    "mixer=fixed,backoff alpha=[0.1,0.2] estimator=exact",
    "share=0,1e-4 chunk=1,64",
    "tilt=1,2.625 confidence=0.8 granularity=1",
)
_GRID_FILE = b"""
[[product]]
mixer = ["fixed", "backoff"]
alpha = "0:0.6:0.05"
order = "2..5"
[[bayes]]
share = 1e-4
[[bayes.member]]
k = [1, 4, 16]
[[hedge]]
experts = "proper"
"""
_SETS = (
    *(
        "train.steps=200",
        "count.orders=2..5",
        "mix.alphas=0:0.6:0.05",
        "seeds=1,2,3",
        "model.width=256",
        "train.muon_lr=0.02",
    ),
    *("compress.budget_bytes=16000000", "mix.mixers=fixed,backoff", "headline.alpha=null", "model.recurrence=(1, 2)"),
    *('mix.bayes=[{"share_rate": 0.1}]', "hint.orders=7,9", "tokenize.source=documents", "count.buckets=65536"),
    *("score.window=256", "calibrate.batches=2", "mix.also=[]", "model.xsa_layers=null", "train.clock_limit_s=60"),
)


@cache
def _demo() -> Recipe:
    return recipe_named("demo")


def _judge(recipe: Recipe) -> None:
    """What every command does with a recipe before it plans."""
    refuse_large_grid(recipe, MOST_POINTS)
    count_points(recipe.mix, dict.fromkeys(recipe.estimators, recipe.count.orders), recipe.hinted)
    digest({name: getattr(recipe, name) for name in Recipe.model_fields})


def _read_grid(_folder: Path, content: bytes) -> None:
    _judge(with_grid(_demo(), [_given(content)], None)[0])


def _read_grid_file(folder: Path, content: bytes) -> None:
    (folder / "grid.toml").write_bytes(content)
    _judge(with_grid(_demo(), (), folder / "grid.toml")[0])


def _read_set(_folder: Path, content: bytes) -> None:
    _judge(apply_overrides(_demo(), [_given(content)]))


def _place_samples(_folder: Path) -> list[bytes]:
    place = {
        "store": "artifacts", "remote": "s3://bucket/prefix", "cache_limit_bytes": 10, "results": "results",
        "documents": "d", "tokenizer": "t.model", "data": "data", "device": "cpu", "processes": 1,
        "checkpoint_every_s": 1.5, "checkpoints": {"1": "a.pt"}, "checkpoint_steps": {"1": 3},
    }  # fmt: skip
    return [json_bytes(place)]


def _read_place(folder: Path, content: bytes) -> None:
    try:
        given = json.loads(content)
    except (ValueError, RecursionError):
        return  # no program gives a flow such parameters
    validated(Place, given, "place")


def _recipe_samples(_folder: Path) -> list[bytes]:
    sections = _demo().model_dump(mode="json")
    return [json_bytes({"recipe": "demo", "max_points": 10_000, **{name: sections[name] for name in SECTIONS}})]


def _read_recipe(_folder: Path, content: bytes) -> None:
    try:
        given = json.loads(content)
    except (ValueError, RecursionError):
        return
    if not isinstance(given, dict) or not {"recipe", "max_points", *SECTIONS}.issuperset(given):
        return  # Prefect knows the names
    recipe, _place = asked_for(given)
    digest({name: getattr(recipe, name) for name in Recipe.model_fields})


_RECIPE_FILE = b"""# a comment
base = "demo"
name = "mine"
seeds = [1, 2, 3]
notes = "what to remember"
tags = ["one", "two"]
estimators = ["exact"]
[train]
steps = 300
clock_limit_s = "none"
muon_lr = 2e-2
[model]
width = 160
heads = 5
kv_heads = 1
[score.ttt]
kind = "lora"
rank = 8
[hint]
orders = "2..4"
[count]
orders = [2, 3, 4, 5]
[mix]
alphas = "0:0.6:0.05"
[[mix.bayes]]
share_rate = 1e-4
[headline]
order = 4
"""
_BASES = (b'base = "a.toml"\n', b'base = "b.toml"\n[train]\nsteps = 3\n', b'base = "../read/a.toml"\n', b"base = 7\n")
_PROGRAM = """
import json
from pathlib import Path
from pgolf.recipes.catalog import recipe_named

def recipe():
    said = json.loads((Path(__file__).parent / "said.json").read_bytes())
    made = recipe_named("demo")
    if not isinstance(said, dict):
        return said
    # Nothing is checked: what a program hands over may be anything.
    sections = {name: getattr(made, name).model_copy(update=part) for name, part in said.items()
                if isinstance(part, dict) and hasattr(getattr(made, name, None), "model_copy")}
    return made.model_copy(update=said | sections)
"""


def _prepare_recipe_files(folder: Path) -> None:
    """Another file to be based on, which is based on the one that is read: a circle."""
    (folder / "b.toml").write_text('base = "a.toml"')


def _read_recipe_file(folder: Path, content: bytes) -> None:
    path = folder / "a.toml"
    path.write_bytes(content)
    _take(find_recipe(str(path)))


def _prepare_program(folder: Path) -> None:
    (folder / "a.py").write_text(_PROGRAM)


def _program_samples(_folder: Path) -> list[bytes]:
    said = {"name": "mine", "seeds": [1, 2], "tags": ["a"], "train": {"steps": 5}, "model": {"width": 256}}
    return [json_bytes(said), json_bytes(recipe_named("demo").model_dump(mode="json") | {"name": "mine"})]


def _read_program(folder: Path, content: bytes) -> None:
    (folder / "said.json").write_bytes(content)
    _take(find_recipe(str(folder / "a.py")))


def _take(recipe: Recipe) -> None:
    """What every command does with a recipe before it plans."""
    _judge(recipe)
    default_name(recipe)
    recipe.model_dump_json()


def _plain(*samples: bytes) -> Callable[[Path], Sequence[bytes]]:
    return lambda _folder: samples


def _encoded(texts: Sequence[str]) -> Callable[[Path], Sequence[bytes]]:
    return _plain(*(text.encode() for text in texts))


def _prepare_data(folder: Path) -> None:
    _data_folder(folder)


FORMATS: Mapping[str, Format] = {
    form.name: form
    for form in (
        Format(name="shard", samples=_shard_samples, mutate=_bytes, read=_read_shard),
        Format(name="byte-shard", samples=_shard_samples, mutate=_bytes, read=_read_byte_shard),
        Format(name="manifest", samples=_plain(_MANIFEST), mutate=_json, read=_read_manifest, prepare=_prepare_data),
        Format(name="tokenizer", samples=_tokenizer_samples, mutate=_bytes, read=_read_tokenizer),
        Format(name="jsonl", samples=_plain(_lines()), mutate=_json_lines, read=_documents_of("a.jsonl")),
        Format(
            name="jsonl.gz",
            samples=_plain(_gzip(_lines()), _gzip(b"") + _gzip(_lines())),
            mutate=_compressed_lines(_gzip),
            read=_documents_of("a.jsonl.gz"),
        ),
        Format(
            name="jsonl.zst",
            samples=_plain(_zstd(_lines()), _zstd(b"\n") + _zstd(_lines())),
            mutate=_compressed_lines(_zstd),
            read=_documents_of("a.jsonl.zst"),
        ),
        Format(name="parquet", samples=_parquet_documents, mutate=_bytes, read=_documents_of("a.parquet")),
        Format(name="pt", samples=_saved_samples, mutate=_bytes, read=_read_saved),
        Format(name="safetensors", samples=_checkpoint_samples, mutate=_safetensors, read=_read_checkpoint),
        Format(name="pgolf", samples=_packed_samples, mutate=_packed, read=_read_packed),
        Format(name="trace", samples=_trace_samples, mutate=_arrow, read=_read_trace, prepare=_prepare_mix),
        Format(name="counts", samples=_count_samples, mutate=_arrow, read=_read_counts, prepare=_prepare_mix),
        Format(name="mass", samples=_mass_samples, mutate=_arrow, read=_read_mass),
        Format(name="hints", samples=_hint_samples, mutate=_arrow, read=_read_hints, prepare=_prepare_mix),
        Format(name="batches", samples=_batch_samples, mutate=_arrow, read=_read_batches),
        Format(name="record", samples=_record_samples, mutate=_record, read=_read_record),
        Format(name="status", samples=_status_samples, mutate=_json, read=_read_status),
        Format(name="table", samples=_table_samples, mutate=_table, read=_read_table),
        Format(name="declaration", samples=_declaration_samples, mutate=_declaration, read=_read_declaration),
        Format(name="grid", samples=_encoded(_GRIDS), mutate=_text, read=_read_grid),
        Format(name="grid-file", samples=_plain(_GRID_FILE), mutate=_text, read=_read_grid_file),
        Format(
            name="recipe-file",
            samples=_plain(*[_RECIPE_FILE] * 8, *_BASES),
            mutate=_text,
            read=_read_recipe_file,
            prepare=_prepare_recipe_files,
        ),
        Format(
            name="recipe-program", samples=_program_samples, mutate=_json, read=_read_program, prepare=_prepare_program
        ),
        Format(name="set", samples=_encoded(_SETS), mutate=_text, read=_read_set),
        Format(name="place", samples=_place_samples, mutate=_json, read=_read_place),
        Format(name="recipe", samples=_recipe_samples, mutate=_json, read=_read_recipe),
    )
}
