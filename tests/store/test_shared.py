"""A store behind an S3 service: what is shared is whole and verified, built once, and never lost with the service."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from pgolf.errors import ConfigError, StoreError, StoreUnreachable
from pgolf.pipeline.upkeep import delete, garbage, put_aside, refuse_while_building, verify
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Artifact, Damaged, build_once
from pgolf.store.output_record import RECORD_FILE
from pgolf.store.remote import Changed, Remote, checked_url
from pgolf.store.remote_lock import is_held, remote_lock
from pgolf.store.shared import _PINNED, SharedStore
from tests.eventually import eventually
from tests.faulty_service import Fault, FaultyService, at, undisturbed
from tests.object_service import BUCKET, CREDENTIALS, Service
from tests.ports import free_port
from tests.toy_stage import TOY, ToyConfig, toy_key


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    service = Service(tmp_path_factory.mktemp("service") / "log")
    service.start()
    service.files().mkdir(BUCKET)
    yield service
    service.stop()


@pytest.fixture
def url(service, monkeypatch) -> str:
    """An address of its own for each test, and the environment that reaches it."""
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}"


@pytest.fixture(autouse=True)
def _nothing_in_use_any_more():
    yield
    for descriptor in _PINNED.values():
        os.close(descriptor)
    _PINNED.clear()


def store_at(url: str, cache: Path, **options) -> SharedStore:
    return SharedStore(Remote(url), cache, **{"lease_s": 2.0, **options})


def build(store: SharedStore, key=None, **hooks) -> tuple[Artifact, bool]:
    return build_once(store, TOY, key or toy_key(), node="toy", inputs={}, parents={}, run=RunOptions(), **hooks)


def payload(artifact: Artifact) -> dict[str, bytes]:
    return {name: (artifact.path / name).read_bytes() for name in artifact.record.files}


def objects(service: Service, url: str) -> set[str]:
    root = url.removeprefix("s3://")
    return {path.removeprefix(f"{root}/") for path in service.files().find(root)}


def test_what_one_machine_builds_another_downloads_verified_and_does_not_build(service, url, tmp_path):
    ours, built = build(store_at(url, tmp_path / "one"))
    theirs, rebuilt = build(store_at(url, tmp_path / "two"))
    assert (built, rebuilt) == (True, False)
    assert theirs.path.is_relative_to(tmp_path / "two")
    assert payload(theirs) == payload(ours)
    assert (theirs.path / RECORD_FILE).read_bytes() == (ours.path / RECORD_FILE).read_bytes()
    folder = ours.path.name
    assert objects(service, url) == {f"records/{folder}.json", f"{folder}/text.txt", f"{folder}/sub/log.txt"}


def test_looking_downloads_nothing_but_the_record(url, tmp_path):
    build(store_at(url, tmp_path / "one"))
    store = store_at(url, tmp_path / "two")
    found = store.look(toy_key())
    assert isinstance(found, Artifact)
    assert not found.path.exists()
    assert store.fetch(found).path.is_dir()


def test_records_are_fetched_once_for_as_long_as_they_stay_the_same(service, url, tmp_path):
    for seed in range(3):
        build(store_at(url, tmp_path / "one"), toy_key(seed=seed))
    assert len(list(store_at(url, tmp_path / "two").records("toy"))) == 3
    before = service.requests("GET", "/records/toy-")
    assert len(list(store_at(url, tmp_path / "two").records())) == 3
    assert service.requests("GET", "/records/toy-") == before
    build(store_at(url, tmp_path / "one"), toy_key(seed=3))
    before = service.requests("GET", "/records/toy-")
    assert len(list(store_at(url, tmp_path / "two").records("toy"))) == 4
    assert service.requests("GET", "/records/toy-") == before + 1


def alter(service: Service, path: str) -> None:
    content = service.files().cat_file(path)
    service.files().pipe_file(path, content[:-1] + bytes([content[-1] ^ 1]))


def truncate(service: Service, path: str) -> None:
    service.files().pipe_file(path, service.files().cat_file(path)[:-1])


def remove(service: Service, path: str) -> None:
    service.files().rm_file(path)


@pytest.mark.parametrize(
    ("harm", "name", "says"),
    [
        (alter, "{folder}/text.txt", "text.txt altered"),
        (truncate, "{folder}/text.txt", "has 7 bytes, expected 8"),
        (remove, "{folder}/sub/log.txt", "log.txt is missing"),
        (alter, "records/{folder}.json", "is not a record"),
    ],
)
def test_a_damaged_object_is_a_miss_is_moved_aside_and_built_again(service, url, tmp_path, harm, name, says):
    ours, _ = build(store_at(url, tmp_path / "one"))
    root, folder = url.removeprefix("s3://"), ours.path.name
    harm(service, f"{root}/{name.format(folder=folder)}")
    store = store_at(url, tmp_path / "two")
    found = store.get(toy_key())
    assert isinstance(found, Damaged)
    assert says in found.why
    assert not (tmp_path / "two" / folder).exists()
    rebuilt, built = build(store)
    assert built
    assert payload(rebuilt) == payload(ours)
    assert any(name.startswith(f"quarantine/{folder}.") for name in objects(service, url))
    again, built = build(store_at(url, tmp_path / "three"))
    assert not built
    assert payload(again) == payload(ours)


def test_an_upload_that_ended_before_its_record_is_no_output(service, url, tmp_path):
    ours, _ = build(store_at(url, tmp_path / "one"))
    remove(service, f"{url.removeprefix('s3://')}/records/{ours.path.name}.json")
    assert store_at(url, tmp_path / "two").look(toy_key()) is None
    _, built = build(store_at(url, tmp_path / "one"))
    assert not built, "it is there in the first cache, and only has to be shared again"
    assert isinstance(store_at(url, tmp_path / "two").look(toy_key()), Artifact)


def test_a_record_of_an_object_far_too_large_is_not_downloaded(service, url, tmp_path):
    ours, _ = build(store_at(url, tmp_path / "one"))
    path = f"{url.removeprefix('s3://')}/{ours.path.name}/text.txt"
    service.files().pipe_file(path, b"x" * 1_000_000)
    before = service.requests("GET", "text.txt")
    assert isinstance(store_at(url, tmp_path / "two").get(toy_key()), Damaged)
    assert service.requests("GET", "text.txt") == before


CHILD = """
import sys
from contextlib import suppress
from pathlib import Path
from pgolf.store.artifact import build_once
from pgolf.store.remote import Remote
from pgolf.run_options import RunOptions
from pgolf.store.shared import SharedStore
from tests.toy_stage import TOY, ToyConfig, toy_key
store = SharedStore(Remote(sys.argv[1]), Path(sys.argv[2]), lease_s=2.0)
key = toy_key(ToyConfig(repeat=int(sys.argv[3])), dawdle_s=float(sys.argv[4]))
print("go", flush=True)
sys.stdin.readline()
artifact, built = build_once(store, TOY, key, node="toy", inputs={}, parents={}, run=RunOptions())
print(built, artifact.record.checksum, flush=True)
"""


def child(service: Service, url: str, cache: Path, repeat: int, dawdle_s: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, url, str(cache), str(repeat), str(dawdle_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **service.environment},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n"
    return process


def test_of_four_processes_with_caches_of_their_own_one_builds_and_all_have_its_bytes(service, url, tmp_path):
    racers = [child(service, url, tmp_path / str(i), 3, 0.2) for i in range(4)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    said = [racer.communicate(timeout=120)[0].split() for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 4
    assert sorted(built for built, _ in said) == ["False", "False", "False", "True"]
    assert len({checksum for _, checksum in said}) == 1


def test_the_lock_of_a_killed_holder_goes_to_exactly_one_taker(service, url, tmp_path):
    holder = child(service, url, tmp_path / "dead", 3, 30.0)
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write("\n")
    holder.stdin.flush()
    eventually((tmp_path / "dead" / "started").exists, "it has begun", within_s=60)
    name = f"locks/{toy_key(ToyConfig(repeat=3), dawdle_s=30.0).folder}.json"
    remote = Remote(url)
    time.sleep(3.0)
    assert is_held(remote, name), "the lease is renewed for as long as its holder lives"
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    inside, order, waited = [], [], []

    def take(i: int) -> None:
        with remote_lock(Remote(url), name, holder=str(i), lease_s=2.0, on_wait=lambda: waited.append(i)):
            inside.append(i)
            order.append(len(inside))
            time.sleep(0.3)
            inside.remove(i)

    takers = [threading.Thread(target=take, args=(i,)) for i in range(3)]
    began_s = time.monotonic()
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join(timeout=60)
    assert order == [1, 1, 1], "one after the other, never two at once"
    assert time.monotonic() - began_s >= 2.0, "not before the dead holder's lease was over"
    assert sorted(waited) == [0, 1, 2]
    assert not is_held(remote, name)


DOWNLOAD = """
import sys
from contextlib import suppress
from pathlib import Path
from pgolf.store.remote import Remote
from pgolf.store.shared import SharedStore
from tests.toy_stage import toy_key
class Slow(Remote):
    def download(self, name, path):
        super().download(name, path)
        print("one file", flush=True)
        sys.stdin.readline()
SharedStore(Slow(sys.argv[1]), Path(sys.argv[2])).get(toy_key())
"""


def test_what_a_killed_download_leaves_is_garbage_and_a_running_one_is_not(service, url, tmp_path):
    ours, _ = build(store_at(url, tmp_path / "one"))
    cache = tmp_path / "two"
    process = subprocess.Popen(
        [sys.executable, "-c", DOWNLOAD, url, str(cache)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **service.environment},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"one file\n"
    store = store_at(url, cache)
    assert garbage(store, [ours.path.name]) == []
    process.send_signal(signal.SIGKILL)
    process.communicate()
    [left] = garbage(store, [ours.path.name])
    assert left.path == cache / f".get-{ours.path.name}-{process.pid}"
    assert left.why == "left over from a killed process"
    again = store.get(toy_key())
    assert isinstance(again, Artifact)
    assert payload(again) == payload(ours)
    assert garbage(store, [ours.path.name]) == [], "whoever downloads it next removes what is left"
    left.path.mkdir()
    delete(store, garbage(store, [ours.path.name]))
    assert not left.path.exists()


def test_a_conditional_write_needs_what_it_saw(url):
    remote = Remote(url)
    first = remote.write("a", b"1", instead_of=Remote.ABSENT)
    with pytest.raises(Changed):
        remote.write("a", b"2", instead_of=Remote.ABSENT)
    second = remote.write("a", b"2", instead_of=first)
    with pytest.raises(Changed):
        remote.write("a", b"3", instead_of=first)
    with pytest.raises(Changed):
        remote.write("gone", b"3", instead_of=second)
    assert remote.read("a", max_bytes=10) == (b"2", second)


@pytest.mark.parametrize("content", [b"", b"[" * 4000, b"null", b'{"lease_s": {}}'])
def test_a_lock_object_that_says_nothing_is_taken_when_a_lease_is_over(url, content):
    remote = Remote(url)
    remote.write("locks/a", content, instead_of=Remote.ABSENT)
    began_s = time.monotonic()
    with remote_lock(remote, "locks/a", holder="we", lease_s=0.4, on_wait=lambda: None):
        assert time.monotonic() - began_s >= 0.4
        assert is_held(remote, "locks/a")


class AnswerLost(Remote):
    """Its first write arrives, the answer does not, and the client's second try finds the first one's object."""

    lost = False

    def write(self, name: str, content: bytes, **how: object) -> str:
        etag = super().write(name, content, **how)
        if not self.lost:
            self.lost = True
            super().write(name, content, **how)
        return etag


@pytest.mark.parametrize("before", [None, b'{"turn": -1}'])
def test_a_lock_whose_answer_was_lost_is_known_as_our_own_at_once(url, before):
    remote = AnswerLost(url)
    if before is not None:
        Remote(url).write("locks/a", before, instead_of=Remote.ABSENT)
    waited: list[bool] = []
    with remote_lock(remote, "locks/a", holder="we", lease_s=600.0, on_wait=lambda: waited.append(True)) as held:
        assert remote.lost
        assert is_held(remote, "locks/a")
        assert not held.lost.is_set()
    assert waited == []
    assert not is_held(remote, "locks/a")


def test_a_holder_that_lost_its_lease_shares_nothing_and_takes_what_the_other_made(service, url, tmp_path):
    store, key = store_at(url, tmp_path / "one", lease_s=0.4), toy_key()

    def usurp() -> list[str]:
        other = SharedStore(Remote(url), tmp_path / "two", lease_s=0.4)
        path = f"{url.removeprefix('s3://')}/locks/{key.folder}.json"
        service.files().pipe_file(path, b'{"turn": -1, "token": "other"}')
        theirs.append(build(other, key)[0])
        eventually(store._leases[key.folder].lost.is_set, "the lease is lost", within_s=10)
        return []

    theirs: list[Artifact] = []
    mine, _ = build(store, key, changed_meanwhile=usurp)
    assert mine.record.checksum == theirs[0].record.checksum
    assert len(list((tmp_path / "one" / "quarantine").iterdir())) == 1


def test_no_such_bucket_is_said(url, tmp_path):
    with pytest.raises(StoreError, match="there is no bucket nowhere-at-all"):
        build(store_at("s3://nowhere-at-all/x", tmp_path))


def test_wrong_credentials_are_said_and_shown_to_nobody(tmp_path, monkeypatch):
    service = Service(tmp_path / "log")
    service.start(INITIAL_NO_AUTH_ACTION_COUNT="0")
    try:
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(StoreError, match="refuses these credentials") as refused:
            build(store_at(f"s3://{BUCKET}/x", tmp_path / "cache"))
        assert all(value not in str(refused.value) for value in CREDENTIALS.values())
    finally:
        service.stop()


def test_a_service_that_goes_down_before_the_upload_costs_nothing_that_was_made(service, url, tmp_path, monkeypatch):
    with FaultyService(service.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")

        def down() -> list[str]:
            proxy.follow(lambda _request: Fault.REQUEST_LOST)
            return []

        with pytest.raises(StoreUnreachable, match=r"toy is finished and kept in .*, but could not be shared"):
            build(store_at(url, tmp_path / "cache"), changed_meanwhile=down)
        with pytest.raises(StoreUnreachable, match="cannot read"):
            build(store_at(url, tmp_path / "other"))
        proxy.follow(undisturbed)
        _, built = build(store_at(url, tmp_path / "cache"))
        assert not built, "what was kept is shared now"
        _, built = build(store_at(url, tmp_path / "other"))
        assert not built


def test_a_service_that_is_not_there_is_said(url, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnreachable, match="cannot read"):
        build(store_at(url, tmp_path))


def test_the_cache_keeps_its_limit_and_drops_what_was_used_longest_ago_but_nothing_in_use_or_unshared(url, tmp_path):
    cache = tmp_path / "cache"
    keys = [toy_key(ToyConfig(text="x" * 1000), seed=seed) for seed in range(4)]

    def fresh() -> SharedStore:
        _nothing_held()
        return store_at(url, cache, limit_bytes=2200)

    def here() -> list[int]:
        return [seed for seed, key in enumerate(keys) if (cache / key.folder).exists()]

    for seed in (0, 1):
        build(fresh(), keys[seed])
    os.utime(cache / keys[1].folder, (1, 1))
    build(fresh(), keys[2])
    assert here() == [0, 2], "1 was used longest ago"
    fresh()
    os.utime(cache / keys[0].folder, (1, 1))
    other = store_at(url, cache, limit_bytes=2200)
    other.get(keys[0])  # and so in use
    os.utime(cache / keys[0].folder, (1, 1))
    build(other, keys[3])
    assert here() == [0, 3]
    again, built = build(fresh(), keys[1])
    assert not built, "what left the cache is downloaded again"
    assert again.path.exists()
    remote = Remote(url)
    for seed in range(4):
        remote.remove(f"records/{keys[seed].folder}.json")
    there = here()
    fresh()._evict(for_bytes=10_000)
    assert here() == there, "the only copy stays"


def _nothing_held() -> None:
    for descriptor in _PINNED.values():
        os.close(descriptor)
    _PINNED.clear()


def test_verify_reads_every_object_and_gc_removes_what_no_result_refers_to(service, url, tmp_path):
    store = store_at(url, tmp_path / "one")
    kept, _ = build(store, toy_key(seed=1))
    gone, _ = build(store, toy_key(seed=2))
    root = url.removeprefix("s3://")
    service.files().pipe_file(f"{root}/toy-0123456789ab/half.bin", b"x")
    alter(service, f"{root}/{gone.path.name}/text.txt")
    wrong = {item.folder: item.why for item in verify(store_at(url, tmp_path / "two")) if item.why}
    assert list(wrong) == [f"{url}/{gone.path.name}"]
    found = garbage(store, [kept.path.name])
    why = {item.objects or item.path.name: item.why for item in found}
    assert why == {
        gone.path.name: "no result refers to it",
        f"{gone.path.name}/": "no result refers to it",
        "toy-0123456789ab/": "left over from an unfinished upload",
    }
    delete(store, found)
    folder = kept.path.name
    assert objects(service, url) == {f"records/{folder}.json", f"{folder}/text.txt", f"{folder}/sub/log.txt"}


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("s3://key:secret@bucket/x", "contains credentials"),
        ("gs://bucket/x", "lacks the conditional writes"),
        ("s3://bucket/../other", "give the store as"),
        ("s3://bucket/a//b", "give the store as"),
        ("s3://Bucket", "give the store as"),
        ("s3://bucket/x?y=1", "give the store as"),
    ],
)
def test_an_address_that_cannot_be_a_store_is_refused(address, says):
    with pytest.raises(ConfigError, match=says) as refused:
        checked_url(address)
    assert "secret" not in str(refused.value)


def test_what_a_run_on_one_machine_uses_is_not_deleted_from_another(url, tmp_path):
    one, two = store_at(url, tmp_path / "one"), store_at(url, tmp_path / "two")
    build(one)
    with (
        two.using("pgolf run demo"),
        pytest.raises(StoreError, match="pgolf run demo"),
        one.alone("pgolf gc --delete"),
    ):
        pass
    with one.alone("pgolf gc --delete"):
        said, entered = [], threading.Event()

        def come() -> None:
            with two.using("pgolf run demo", said.append):
                entered.set()

        comer = threading.Thread(target=come)
        comer.start()
        eventually(lambda: said, "it says for whom it waits")
        assert "pgolf gc --delete" in said[0]
        assert not entered.is_set()
    comer.join(timeout=60)
    assert entered.is_set()
    assert one.remote.listing("using/") == {}


USER = """
import sys
from contextlib import suppress
from pathlib import Path
from pgolf.store.remote import Remote
from pgolf.store.shared import SharedStore
with SharedStore(Remote(sys.argv[1]), Path(sys.argv[2]), lease_s=2.0).using("pgolf run demo"):
    print("in", flush=True)
    sys.stdin.readline()
"""


def test_a_run_that_died_on_another_machine_keeps_nothing_once_its_lease_is_over(service, url, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", USER, url, str(tmp_path / "two")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **service.environment},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"in\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    one, said = store_at(url, tmp_path / "one"), []
    with one.alone("pgolf gc --delete", said.append):
        pass
    assert f"pid {process.pid}" in said[0]
    assert one.remote.listing("using/") == {}


class Killed(BaseException):
    """As kill -9: nothing that would clean up runs on."""


@pytest.mark.parametrize("steps", [1, 3, 4, 5])
def test_a_collection_of_objects_that_is_killed_anywhere_loses_nothing(url, tmp_path, monkeypatch, steps):
    remote = Remote(url)
    ours, _ = build(SharedStore(remote, tmp_path / "one"))
    left = [0]

    def stops(real):
        def step(*arguments):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return real(*arguments)

        return step

    def killed_after(steps: int, what) -> None:
        left[0] = steps
        with monkeypatch.context() as patched, suppress(Killed):
            for name in ("copy", "remove"):
                patched.setattr(remote, name, stops(getattr(remote, name)))
            what(SharedStore(remote, tmp_path / "two"))

    def collect(store: SharedStore) -> None:
        put_aside(store, garbage(store, []))

    def restore(store: SharedStore) -> None:
        for batch in reversed(store.remote_bin.batches()):
            store.remote_bin.take_back(batch, list(batch.sizes))

    killed_after(steps, collect)
    if steps % 2:
        killed_after(100, collect)
        assert garbage(SharedStore(remote, tmp_path / "two"), []) == []
    killed_after(steps, restore)
    killed_after(100, restore)
    found = SharedStore(remote, tmp_path / "three").get(toy_key())
    assert isinstance(found, Artifact)
    assert payload(found) == payload(ours)


def test_notes_of_results_are_shared_and_the_last_writer_stays(url, tmp_path):
    one, two = store_at(url, tmp_path / "one"), store_at(url, tmp_path / "two")
    one.write_note("a", b"1")
    two.write_note("a", b"2")
    two.write_note("b", b"3")
    assert dict(one.notes()) == {"a": b"2", "b": b"3"}
    one.drop_note("a")
    assert dict(two.notes()) == {"b": b"3"}


class Silent(Remote):
    """Writes of locks do not come to the service while it is silent."""

    silent = False

    def write(self, name: str, content: bytes, **how: object) -> str:
        if self.silent and not name.startswith("records/"):
            raise StoreUnreachable(f"{self.url}: no answer")
        return super().write(name, content, **how)


def test_a_lease_that_could_not_be_renewed_in_time_counts_as_ours_only_if_the_service_says_so(url):
    remote = Silent(url)
    with remote_lock(remote, "locks/a", holder="we", lease_s=0.4, on_wait=lambda: None) as held:
        assert held.is_ours()
        remote.silent = True
        time.sleep(0.5)
        with pytest.raises(StoreUnreachable):
            held.is_ours()
        remote.silent = False
        assert held.is_ours(), "nobody has taken it"
        remote.silent = True
        with remote_lock(Remote(url), "locks/a", holder="others", lease_s=0.4, on_wait=lambda: None):
            remote.silent = False
            assert not held.is_ours()


def test_who_does_not_know_whether_others_have_begun_shares_and_deletes_nothing(service, url, tmp_path):
    shared, _ = build(store_at(url, tmp_path / "one"))
    remote = Silent(url)
    store = SharedStore(remote, tmp_path / "two", lease_s=0.4)
    with store.alone("pgolf gc --delete"):
        remote.silent = True
        time.sleep(0.5)
        with pytest.raises(StoreUnreachable):
            store.remove(f"{shared.path.name}/")
        remote.silent = False

    def silent() -> list[str]:
        remote.silent = True
        time.sleep(0.5)
        return []

    key = toy_key(seed=7)
    with pytest.raises(StoreUnreachable, match="is finished and kept"):
        build(store, key, changed_meanwhile=silent)
    there = objects(service, url)
    assert {f"{shared.path.name}/text.txt", f"records/{shared.path.name}.json"} <= there
    assert not any(name.startswith(key.folder) for name in there)


class SilentAfterAFile(Silent):
    """It falls silent with the first file that was uploaded, for longer than a lease."""

    def upload(self, path: Path, name: str) -> None:
        super().upload(path, name)
        self.silent = True
        time.sleep(0.5)


def test_who_is_cut_off_between_two_files_shares_no_record(service, url, tmp_path):
    store, key = SharedStore(SilentAfterAFile(url), tmp_path, lease_s=0.4), toy_key()
    with pytest.raises(StoreUnreachable, match="is finished and kept"):
        build(store, key)
    there = objects(service, url)
    assert f"{key.folder}/sub/log.txt" in there
    assert not {f"{key.folder}/text.txt", f"records/{key.folder}.json"} & there


class AnswersLostWhile(Remote):
    """What is written arrives, and the answers do not; nothing can be read then."""

    lost = False

    def write(self, name: str, content: bytes, **how: object) -> str:
        etag = super().write(name, content, **how)
        if self.lost:
            raise StoreUnreachable(f"{self.url}: no answer")
        return etag

    def read(self, name: str, *, max_bytes: int) -> tuple[bytes, str] | None:
        if self.lost:
            raise StoreUnreachable(f"{self.url}: no answer")
        return super().read(name, max_bytes=max_bytes)


def test_a_renewal_whose_answer_was_lost_costs_neither_the_lock_nor_its_end(url):
    remote = AnswersLostWhile(url)
    with remote_lock(remote, "locks/a", holder="we", lease_s=600.0, on_wait=lambda: None) as held:
        remote.lost = True
        for _ in range(2):  # the second finds another object, and cannot see whose
            with pytest.raises(StoreUnreachable):
                held.renew()
        remote.lost = False
        assert not held.lost.is_set()
    assert not is_held(remote, "locks/a"), "it is free at once"


class LateRemoval(Remote):
    """Its removals are given up, and arrive later."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.late: list[tuple[str, dict[str, object]]] = []

    def remove(self, name: str, **how: object) -> None:
        self.late.append((name, how))
        raise StoreUnreachable(f"{self.url}: no answer")


def test_a_removal_of_a_lock_that_arrives_late_does_not_take_it_from_the_next_holder(url):
    late = LateRemoval(url)
    with remote_lock(late, "locks/a", holder="we", lease_s=600.0, on_wait=lambda: None) as held:
        held.remove_at_end = True
    with remote_lock(Remote(url), "locks/a", holder="next", lease_s=600.0, on_wait=lambda: None) as theirs:
        for name, how in late.late:
            with suppress(Changed):
                Remote(url).remove(name, **how)
        assert late.late
        theirs.renew()
        assert not theirs.lost.is_set()
        assert is_held(Remote(url), "locks/a")


class Conflicting(Remote):
    """The first write of a record is refused for the sake of another, which then fails."""

    refused = False

    def write(self, name: str, content: bytes, **how: object) -> str:
        if name.startswith("records/") and not self.refused:
            self.refused = True
            raise Changed(name)
        return super().write(name, content, **how)


def test_a_record_refused_for_the_sake_of_a_write_that_failed_is_written_again(service, url, tmp_path):
    ours, _ = build(SharedStore(Conflicting(url), tmp_path / "one"))
    assert f"records/{ours.path.name}.json" in objects(service, url)


def test_an_answer_that_ends_halfway_is_asked_for_again(service, url, monkeypatch):
    Remote(url).write("a", b"content", instead_of=Remote.ABSENT)
    with FaultyService(service.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        remote = Remote(url)
        proxy.follow(at(0, Fault.ANSWER_CUT, requests=2))
        found = remote.read("a", max_bytes=100)
        assert found is not None
        assert found[0] == b"content"
        assert proxy.faults[Fault.ANSWER_CUT] == 2
        proxy.follow(at(0, Fault.ANSWER_CUT, requests=3))
        with pytest.raises(StoreUnreachable, match="cannot read a"):
            remote.read("a", max_bytes=100)


def test_a_renewal_that_is_not_answered_is_sent_again(service, url, monkeypatch):
    with FaultyService(service.port, late_s=60.0) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        with remote_lock(Remote(url), "locks/a", holder="we", lease_s=4.0, on_wait=lambda: None) as held:
            proxy.follow(at(0, Fault.ANSWER_LATE))
            eventually(lambda: len(proxy.requests) > 1, "it does not wait for the answer", within_s=40)
            assert proxy.faults[Fault.ANSWER_LATE] == 1
            assert not held.lost.is_set()


def test_a_lock_that_a_dead_holder_left_does_not_keep_others_from_deleting(url, tmp_path):
    remote = Remote(url)
    remote.write("locks/toy-dead.json", b'{"turn": 3, "lease_s": 0.1}', instead_of=Remote.ABSENT)
    store = store_at(url, tmp_path, lease_s=0.4)
    with remote_lock(remote, "locks/toy-alive.json", holder="we", lease_s=0.4, on_wait=lambda: None):
        assert list(store.held()) == ["toy-alive"]
    refuse_while_building(store)
