"""Fetching from a local server that speaks the hub's protocol."""

import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from pydantic import ValidationError

from pgolf.corpus import fetch_stage as fetch
from pgolf.corpus.dataset import open_dataset
from pgolf.corpus.fetch_config import FetchConfig
from pgolf.corpus.shards import TokenStream, read_shard, write_shard
from pgolf.errors import DataError, FetchError, ShardError, TokenizerError
from pgolf.run_options import Made, Progress, RunOptions
from tests.corpus.hub_server import COMMIT, HubServer
from tests.corpus.odd_tokenizers import processor_of

REPO = "someone/golf-data"
TRAIN = "datasets/datasets/fineweb10B_sp340/fineweb_train_{:06d}.bin"
VAL = "datasets/datasets/fineweb10B_sp340/fineweb_val_{:06d}.bin"
CONFIG = FetchConfig(variant="sp340", train_shards=2, repo_id=REPO)


def shard_content(folder: Path, tokens: list[int]) -> bytes:
    write_shard(folder / "shard.bin", tokens)
    return (folder / "shard.bin").read_bytes()


@pytest.fixture
def hub(
    tmp_path_factory: pytest.TempPathFactory, toy_tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HubServer]:
    """A published data set of 3 train and 2 val shards, beside another one."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    huggingface_hub.close_session()
    folder = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(0)
    files = {TRAIN.format(i): shard_content(folder, rng.integers(1, 300, 5000).tolist()) for i in range(3)}
    files |= {VAL.format(i): shard_content(folder, rng.integers(1, 300, 700 - i).tolist()) for i in range(2)}
    files["datasets/tokenizers/fineweb_340_bpe.model"] = toy_tokenizer.read_bytes()
    files["datasets/tokenizers/fineweb_340_bpe.vocab"] = b"<pad>\t0\n"
    entry = {
        "name": "fineweb10B_sp340",
        "tokenizer_name": "sp_bpe_340",
        "path": "datasets/fineweb10B_sp340",
        "vocab_size": 340,
        "bos_id": 1,
        "stats": {"files_train": 3, "files_val": 2, "tokens_train": 15000, "tokens_val": 1399},
    }
    manifest = {
        "version": "10B",
        "num_docs": 77,
        "tokenizers": [
            {"name": "pure_byte_260", "path": "tokenizers/fineweb_pure_byte_260.json"},
            {
                "name": "sp_bpe_340",
                "model_path": "tokenizers/fineweb_340_bpe.model",
                "vocab_path": "tokenizers/fineweb_340_bpe.vocab",
            },
        ],
        "datasets": [entry | {"name": "fineweb10B_byte260", "tokenizer_name": "pure_byte_260"}, entry],
    }
    files["datasets/manifest.json"] = json.dumps(manifest).encode()
    with HubServer(REPO, files) as server:
        yield server
        # Close the client's kept-alive connections, or they outlive the server.
        huggingface_hub.close_session()


def fetch_into(tmp_path: Path, hub: HubServer, config: FetchConfig = CONFIG, **options: object) -> Made:
    """Into tmp_path/out, made anew as the store does after an interrupted run; the download cache stays."""
    out = tmp_path / "out"
    if out.exists():
        out.rename(tmp_path / f"abandoned{len(list(tmp_path.iterdir()))}")
    out.mkdir()
    values = {"cache_dir": tmp_path / "cache", "endpoint": hub.endpoint, "token": False} | options
    return fetch.make(config, {}, out, RunOptions(), **values)


def edit_manifest(hub: HubServer, **fields: object) -> None:
    manifest = json.loads(hub.files["datasets/manifest.json"])
    manifest["datasets"][1] |= fields
    hub.files["datasets/manifest.json"] = json.dumps(manifest).encode()


def content_gets(hub: HubServer) -> list[str]:
    return [path for path, _ in hub.gets]


def test_a_fetched_folder_is_an_open_data_set_of_the_published_tokens(tmp_path: Path, hub: HubServer) -> None:
    made = fetch_into(tmp_path, hub)
    dataset = open_dataset(tmp_path / "out")
    assert dataset.name == "fineweb10B_sp340"
    assert len(dataset.train_shards) == 2
    assert len(dataset.val_shards) == 2
    for path, remote in [*zip(dataset.train_shards, map(TRAIN.format, range(2)))]:
        assert path.read_bytes() == hub.files[remote]
    assert TokenStream(dataset.train_shards, vocab_size=340).pass_tokens == 10_000
    assert made.facts["revision"] == COMMIT
    assert (made.facts["tokens_train"], made.facts["tokens_val"], made.facts["files"]) == (10_000, 1_399, 4)
    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()) == [
        "datasets/fineweb10B_sp340/fineweb_train_000000.bin",
        "datasets/fineweb10B_sp340/fineweb_train_000001.bin",
        "datasets/fineweb10B_sp340/fineweb_val_000000.bin",
        "datasets/fineweb10B_sp340/fineweb_val_000001.bin",
        "manifest.json",
        "tokenizers/fineweb_340_bpe.model",
        "tokenizers/fineweb_340_bpe.vocab",
    ]
    assert json.loads((tmp_path / "out/manifest.json").read_text())["num_docs"] == 77


def test_progress_counts_every_file(tmp_path: Path, hub: HubServer) -> None:
    reports: list[Progress] = []
    (tmp_path / "out").mkdir()
    fetch.make(
        CONFIG,
        {},
        tmp_path / "out",
        RunOptions(report=reports.append),
        cache_dir=tmp_path / "cache",
        endpoint=hub.endpoint,
        token=False,
    )
    assert [report.done for report in reports] == [1, 2, 3, 4, 5, 6]
    assert {report.total for report in reports} == {6}


def test_more_train_shards_than_published_are_refused_before_any_is_downloaded(tmp_path: Path, hub: HubServer) -> None:
    with pytest.raises(FetchError, match="4 train shards requested, 3 are published"):
        fetch_into(tmp_path, hub, CONFIG.model_copy(update={"train_shards": 4}))
    assert content_gets(hub) == ["datasets/manifest.json"]


def test_a_dropped_connection_is_resumed_where_it_broke(
    tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client keeps whole blocks of 10 MB only; the toy shards have 11 kB.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1)
    hub.cuts = {TRAIN.format(1)}
    fetch_into(tmp_path, hub)
    assert [wanted for path, wanted in hub.gets if path == TRAIN.format(1)] == ["", "bytes=5512-"]
    assert (tmp_path / "out/datasets/fineweb10B_sp340/fineweb_train_000001.bin").read_bytes() == hub.files[
        TRAIN.format(1)
    ]


def test_a_rerun_after_an_interruption_downloads_only_what_is_missing(tmp_path: Path, hub: HubServer) -> None:
    hub.failing = {TRAIN.format(0)}
    with pytest.raises(FetchError, match=r"fineweb_train_000000\.bin: download failed .*500.*run again"):
        fetch_into(tmp_path, hub)
    hub.failing.clear()
    hub.gets.clear()
    fetch_into(tmp_path, hub)
    assert content_gets(hub) == [TRAIN.format(0), TRAIN.format(1)]
    first = {p.name: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    hub.gets.clear()
    fetch_into(tmp_path, hub)
    assert content_gets(hub) == []
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == first


def test_a_damaged_download_is_fetched_once_more(tmp_path: Path, hub: HubServer) -> None:
    hub.altered = {TRAIN.format(0): 1}
    fetch_into(tmp_path, hub)
    shard = tmp_path / "out/datasets/fineweb10B_sp340/fineweb_train_000000.bin"
    assert shard.read_bytes() == hub.files[TRAIN.format(0)]
    hub.altered = {TRAIN.format(2): 2}
    with pytest.raises(FetchError, match=r"fineweb_train_000002\.bin: downloaded twice.* 11024 bytes"):
        fetch_into(tmp_path, hub, CONFIG.model_copy(update={"train_shards": 3}))


def test_a_shard_altered_in_the_cache_is_fetched_again(tmp_path: Path, hub: HubServer) -> None:
    fetch_into(tmp_path, hub)
    shard = tmp_path / "out/datasets/fineweb10B_sp340/fineweb_val_000001.bin"
    with open(shard, "r+b") as file:  # the same file as the cache's, by a hard link
        file.seek(-1, 2)
        file.write(b"\xff")
    fetch_into(tmp_path, hub)
    assert shard.read_bytes() == hub.files[VAL.format(1)]


def test_a_published_file_that_is_no_shard_is_refused(tmp_path: Path, hub: HubServer) -> None:
    hub.files[TRAIN.format(1)] = hub.files[TRAIN.format(1)][:-2]
    with pytest.raises(ShardError, match=r"fineweb_train_000001\.bin: 11022 bytes hold 4999 tokens.*counts 5000"):
        fetch_into(tmp_path, hub)


def test_validation_shards_that_do_not_sum_to_the_manifest_are_refused(tmp_path: Path, hub: HubServer) -> None:
    edit_manifest(hub, stats={"files_train": 3, "files_val": 1, "tokens_train": 15000, "tokens_val": 1399})
    with pytest.raises(FetchError, match="announces 1399 validation tokens, the 1 val shards hold 700"):
        fetch_into(tmp_path, hub)


def test_a_missing_file_is_named(tmp_path: Path, hub: HubServer) -> None:
    del hub.files[VAL.format(1)]
    with pytest.raises(FetchError, match=r"fineweb_val_000001\.bin: the file is missing at revision 0123"):
        fetch_into(tmp_path, hub)


def test_a_missing_repository_revision_or_data_set_is_named(tmp_path: Path, hub: HubServer) -> None:
    for change, message in (
        ({"repo_id": "someone/else"}, "someone/else does not exist"),
        ({"revision": "v9"}, "no revision 'v9'"),
        ({"variant": "sp9"}, "no data set 'fineweb10B_sp9'; published: fineweb10B_byte260, fineweb10B_sp340"),
        ({"remote_root": "elsewhere"}, r"elsewhere/manifest\.json: the file is missing"),
    ):
        with pytest.raises(FetchError, match=message):
            fetch_into(tmp_path, hub, CONFIG.model_copy(update=change))


def test_an_unreachable_hub_is_a_fetch_error(tmp_path: Path, hub: HubServer) -> None:
    with pytest.raises(FetchError, match="download failed"):
        fetch_into(tmp_path, hub, endpoint="http://127.0.0.1:9")


def test_a_pinned_revision_and_the_branch_it_stands_for_give_the_same_files(tmp_path: Path, hub: HubServer) -> None:
    fetch_into(tmp_path, hub)
    by_branch = {p.name: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    fetch_into(tmp_path, hub, CONFIG.model_copy(update={"revision": COMMIT}))
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == by_branch


def test_another_repositorys_data_set_at_a_commit_is_fetched_without_asking_what_its_branch_is(
    tmp_path: Path, hub: HubServer
) -> None:
    """Another tokenization, of another owner, at a commit that is not the branch's any more."""
    pinned = "89abcdef0123456789abcdef0123456789abcdef"
    files = {path.replace("fineweb10B_sp340", "fineweb10B_sp8192"): content for path, content in hub.files.items()}
    manifest = files["datasets/manifest.json"].replace(b"fineweb10B_sp340", b"fineweb10B_sp8192")
    files["datasets/manifest.json"] = manifest
    config = FetchConfig(variant="sp8192", train_shards=2, repo_id="kevclark/parameter-golf", revision=pinned)
    with HubServer(config.repo_id, files) as other:
        other.commit = pinned
        made = fetch_into(tmp_path, other, config)
        assert made.facts["revision"] == pinned
        assert other.gets[0] == ("datasets/manifest.json", "")
        dataset = open_dataset(tmp_path / "out")
        assert (dataset.name, len(dataset.train_shards)) == ("fineweb10B_sp8192", 2)
        assert dataset.train_shards[1].read_bytes() == hub.files[TRAIN.format(1)]
        with pytest.raises(FetchError, match=r"no data set 'fineweb10B_sp1024'; published: .*fetch\.repo_id"):
            fetch_into(tmp_path, other, config.model_copy(update={"variant": "sp1024"}))
        with pytest.raises(FetchError, match=f"kevclark/parameter-golf has no revision '{COMMIT}'"):
            fetch_into(tmp_path, other, config.model_copy(update={"revision": COMMIT}))
        huggingface_hub.close_session()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"datasets": [{"name": "fineweb10B_sp340"}], "tokenizers": []}'])
def test_a_manifest_of_another_kind_is_refused(tmp_path: Path, hub: HubServer, content: bytes) -> None:
    hub.files["datasets/manifest.json"] = content
    with pytest.raises(FetchError, match=r"manifest\.json: not a manifest in the published format"):
        fetch_into(tmp_path, hub)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"bos_id": 2}, r"fineweb10B_sp340: says bos_id is 2, its tokenizer's model file says 1"),
        ({"vocab_size": 1024}, r"fineweb10B_sp340: says vocab_size is 1024, its tokenizer's model file says 340"),
    ],
)
def test_a_manifest_that_says_other_than_its_tokenizer_is_refused(
    tmp_path: Path, hub: HubServer, fields: dict, says: str
) -> None:
    edit_manifest(hub, **fields)
    with pytest.raises(TokenizerError, match=says):
        fetch_into(tmp_path, hub)
    edit_manifest(hub, bos_id=1, vocab_size=340)
    manifest = json.loads(hub.files["datasets/manifest.json"])
    manifest["tokenizers"][1] |= fields
    hub.files["datasets/manifest.json"] = json.dumps(manifest).encode()
    with pytest.raises(TokenizerError, match=says.partition(":")[2]):
        fetch_into(tmp_path, hub)


def test_a_manifest_cannot_write_outside_the_folder(tmp_path: Path, hub: HubServer) -> None:
    edit_manifest(hub, path="../../escape")
    with pytest.raises(ValueError, match="leaves the data folder"):
        fetch_into(tmp_path, hub)
    assert not (tmp_path.parent / "escape").exists()


def test_the_published_manifest_in_the_cache_is_left_alone(tmp_path: Path, hub: HubServer) -> None:
    fetch_into(tmp_path, hub)
    cached = next((tmp_path / "cache").rglob("manifest.json"))
    assert cached.read_bytes() == hub.files["datasets/manifest.json"]
    assert read_shard(next((tmp_path / "cache").rglob("fineweb_val_000000.bin"))).size == 700


@pytest.mark.parametrize("fields", [{"train_shards": 0}, {"variant": "byte260"}, {"repo_id": "no-owner"}, {"x": 1}])
def test_a_config_that_cannot_be_fetched_is_refused(fields: dict) -> None:
    with pytest.raises(ValidationError):
        FetchConfig(**fields)


def publish_texts(hub: HubServer, folder: Path, model: Path, texts: list[str], *, byte_tokens: int = 0) -> None:
    """Publish these texts as the validation tokens, in two shards, with byte shards of so many tokens if any."""
    processor = processor_of(model.read_bytes())
    tokens = [token for text in texts for token in (1, *processor.encode(text))]
    stats = {"files_train": 3, "files_val": 2, "tokens_val": len(tokens)}
    for index, part in enumerate((tokens[:9], tokens[9:])):
        hub.files[VAL.format(index)] = shard_content(folder, part)
    if byte_tokens:
        stats["files_val_bytes"] = 2
        for index, count in enumerate((9, byte_tokens - 9)):
            name = VAL.format(index).replace("_val_", "_val_bytes_")
            hub.files[name] = shard_content(folder, [2] * count)
    edit_manifest(hub, stats=stats)


def test_tokens_for_which_the_table_must_be_exact_are_verified(
    tmp_path: Path, hub: HubServer, toy_tokenizer: Path
) -> None:
    publish_texts(hub, tmp_path, toy_tokenizer, ["The quick fox jumps.", "Sphinx, twice"])
    made = fetch_into(tmp_path, hub)
    assert (made.facts["bytes_verified"], made.facts["bytes_unverified"]) == (True, None)


def test_tokens_that_no_text_gives_are_said_not_to_be_verified(tmp_path: Path, hub: HubServer) -> None:
    made = fetch_into(tmp_path, hub)  # drawn at random
    assert made.facts["bytes_verified"] is False
    assert made.facts["bytes_unverified"] == (
        "the tokens do not begin with a BOS, so it is not known where documents begin"
    )


def test_published_byte_shards_are_fetched_and_not_verified(
    tmp_path: Path, hub: HubServer, toy_tokenizer: Path
) -> None:
    texts = ["The quick fox jumps.", "Sphinx, twice"]
    size = sum(len(processor_of(toy_tokenizer.read_bytes()).encode(text)) + 1 for text in texts)
    publish_texts(hub, tmp_path, toy_tokenizer, texts, byte_tokens=size)
    made = fetch_into(tmp_path, hub)
    assert len(open_dataset(tmp_path / "out").val_byte_shards) == 2
    assert made.facts["bytes_verified"] is False
    assert "no text to compare them with" in str(made.facts["bytes_unverified"])
    publish_texts(hub, tmp_path, toy_tokenizer, texts, byte_tokens=size - 1)
    (tmp_path / "again").mkdir()
    with pytest.raises(ShardError, match=rf"bytes of {size - 10} tokens, fineweb_val_000001.bin holds {size - 9};"):
        fetch_into(tmp_path / "again", hub)


@pytest.mark.parametrize(
    ("counted", "says"),
    [
        (
            [[2] * 8, [2] * 92],
            r"val_bytes_000000\.bin: bytes of 8 tokens, fineweb_val_000000\.bin holds 9",
        ),  # as many in all
        ([[2] * 9, [0] * 91], r"val_bytes_000001\.bin: counts 0 bytes of text for 91 tokens"),
        ([[2] * 100], "files_val_bytes is 1, expected one per val shard"),
    ],
)
def test_published_bytes_that_cannot_be_those_of_the_tokens_are_refused(
    tmp_path: Path, hub: HubServer, counted: list[list[int]], says: str
) -> None:
    for index, size in enumerate((9, 91)):
        hub.files[VAL.format(index)] = shard_content(tmp_path, [5] * size)
    for index, part in enumerate(counted):
        hub.files[VAL.format(index).replace("_val_", "_val_bytes_")] = shard_content(tmp_path, part)
    edit_manifest(hub, stats={"files_train": 3, "files_val": 2, "tokens_val": 100, "files_val_bytes": len(counted)})
    with pytest.raises(DataError, match=says):
        fetch_into(tmp_path, hub)
