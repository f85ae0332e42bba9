"""A published data set is known by its commit: who fetches before and after a name has moved has different data."""

import json
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from flows.commands.cli import main
from pgolf.corpus.fetch_config import FetchConfig
from pgolf.errors import ConfigError, FetchError
from pgolf.pipeline.build import build_node
from pgolf.pipeline.graph import Sources, data_node, key_of
from pgolf.pipeline.listen import Silence
from pgolf.pipeline.revisions import pin
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Artifact, Store
from pgolf.store.content import Memo
from tests.corpus.hub_server import COMMIT, HubServer
from tests.corpus.test_fetch import CONFIG, REPO, VAL, hub, shard_content

MOVED = "f" * 40
__all__ = ["hub"]


@pytest.fixture(autouse=True)
def own_hub(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The Hub of this process is the one of the tests."""
    point_to(hub.endpoint, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    return hub


def point_to(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub.close_session()
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)


def move(hub: HubServer, tmp_path: Path) -> None:
    """The publisher corrects a validation shard."""
    hub.commit = MOVED
    hub.files[VAL.format(1)] = shard_content(tmp_path, list(range(1, 300)) + [9] * 400)


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    point_to("http://127.0.0.1:9", monkeypatch)


def known_commit(config: FetchConfig, store: Store) -> FetchConfig:
    """As a run takes it: asked, or refused."""
    pinned = pin(config, store)
    pinned.refuse_unasked()
    assert pinned.config is not None
    return pinned.config


def fetched(config: FetchConfig, folder: Path) -> Artifact:
    store = Store(folder)
    node = data_node(known_commit(config, store), Sources())
    return build_node(node, {}, store, Memo(folder / "memo"), RunOptions(), Silence())[0]


def test_two_machines_that_fetch_before_and_after_a_move_have_different_outputs(hub, tmp_path):
    before = fetched(CONFIG, tmp_path / "a")
    move(hub, tmp_path)
    after = fetched(CONFIG, tmp_path / "b")
    assert before.record.key_digest != after.record.key_digest
    assert before.outputs["val"] != after.outputs["val"]
    assert before.outputs["train"] == after.outputs["train"], "what has not changed is not trained on again"
    assert [artifact.record.key["config"]["revision"] for artifact in (before, after)] == [COMMIT, MOVED]
    # The first machine does not take its old data for the new.
    assert fetched(CONFIG, tmp_path / "a").record.key_digest == after.record.key_digest


def test_a_name_and_the_commit_that_it_stands_for_are_one_output(tmp_path):
    by_name = fetched(CONFIG, tmp_path / "store")
    assert fetched(CONFIG.model_copy(update={"revision": COMMIT}), tmp_path / "store").path == by_name.path


def test_no_key_is_made_of_a_name(tmp_path):
    with pytest.raises(ConfigError, match=r"fetch\.revision=main is a name, which may move"):
        key_of(data_node(CONFIG, Sources()), {}, Memo(tmp_path / "memo"))
    for revision in ("v1.0", COMMIT[:7], COMMIT.upper(), f"{COMMIT}\n"):
        assert not FetchConfig(revision=revision).is_pinned


def test_of_a_commit_nobody_is_asked(tmp_path, monkeypatch):
    artifact = fetched(CONFIG, tmp_path / "store")
    go_offline(monkeypatch)
    config = CONFIG.model_copy(update={"revision": COMMIT})
    assert pin(config, Store(tmp_path / "store")).note == ""
    assert fetched(config, tmp_path / "store") == artifact


def test_what_cannot_be_asked_is_an_error_of_a_run_that_says_what_to_pass(tmp_path, monkeypatch):
    go_offline(monkeypatch)
    store = Store(tmp_path / "store")
    with pytest.raises(FetchError, match=f"cannot ask which commit fetch.revision=main of {REPO} is .*; none was"):
        known_commit(CONFIG, store)


def test_the_latest_commit_of_this_data_set_and_number_of_shards_is_the_one_to_pass(hub, tmp_path, monkeypatch):
    store = Store(tmp_path / "store")
    fetched(CONFIG, store.root)
    move(hub, tmp_path)
    fetched(CONFIG.model_copy(update={"train_shards": 1}), store.root)
    go_offline(monkeypatch)
    for shards, commit in ((2, COMMIT), (1, MOVED), (3, MOVED)):
        config = CONFIG.model_copy(update={"train_shards": shards})
        with pytest.raises(FetchError, match=f"latest here is {commit}, .*: --set fetch.revision={commit} takes it"):
            known_commit(config, store)
        assert pin(config, store).config.revision == commit
    other = CONFIG.model_copy(update={"variant": "sp1024"})
    with pytest.raises(FetchError, match="none was fetched here yet"):
        known_commit(other, store)


def test_a_revision_that_the_hub_does_not_have_is_an_error_of_a_plan_too(tmp_path):
    with pytest.raises(FetchError, match="has no revision 'mian'"):
        pin(CONFIG.model_copy(update={"revision": "mian"}), Store(tmp_path))


def arguments(command: str, folder: Path, *more: str) -> list[str]:
    fetch = json.dumps(CONFIG.model_dump(mode="json"))
    sets = ["--set", f"fetch={fetch}", "--set", "tokenize=null", "--set", "model.vocab_size=340"]
    return [command, "pr715-tiny", *sets, "--store", str(folder / "store"), *more]


def plan(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[str, str]:
    """The line of the data, and what is said on the terminal beside the plan."""
    capsys.readouterr()
    assert main(arguments("plan", folder, *more)) == 0
    told = capsys.readouterr()
    return next(line for line in told.out.splitlines() if " data " in line), told.err


def test_the_plan_says_that_a_name_has_moved_and_what_stays_with_what_is_here(hub, tmp_path, capsys):
    line, told = plan(tmp_path, capsys)
    assert line.startswith("▸ run")
    assert f"is {COMMIT}; --set fetch.revision={COMMIT} stays with it" in told
    fetched(CONFIG, tmp_path / "store")
    assert plan(tmp_path, capsys)[0].startswith("✓ reuse")
    move(hub, tmp_path)
    line, told = plan(tmp_path, capsys)
    assert line.startswith("▸ run")
    assert f"revision {COMMIT} → {MOVED}" in line
    assert f"has moved to {MOVED}, from {COMMIT}, which was fetched on 2" in told
    stay = f"--set fetch.revision={COMMIT}"
    assert stay in told
    assert plan(tmp_path, capsys, *stay.split())[0].startswith("✓ reuse")
    fetched(CONFIG, tmp_path / "store")
    line, told = plan(tmp_path, capsys)
    assert line.startswith("✓ reuse")
    assert "has moved" not in told


def test_a_plan_without_a_network_says_what_it_could_not_ask_and_what_a_run_needs(tmp_path, capsys, monkeypatch):
    go_offline(monkeypatch)
    line, told = plan(tmp_path, capsys)
    assert line.startswith("? depends")
    assert "which commit fetch.revision=main is could not be asked" in line
    assert "none was fetched here yet" in told
    assert main([*arguments("run", tmp_path), "--no-prefect", "--results", str(tmp_path / "r")]) == 2
    assert f"cannot ask which commit fetch.revision=main of {REPO} is" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_a_plan_without_a_network_is_that_of_the_commit_that_is_here(tmp_path, capsys, monkeypatch):
    fetched(CONFIG, tmp_path / "store")
    go_offline(monkeypatch)
    line, told = plan(tmp_path, capsys)
    assert line.startswith("✓ reuse")
    assert f"cannot ask which commit fetch.revision=main of {REPO} is" in told
    assert f"--set fetch.revision={COMMIT} takes it and asks nobody" in told
    assert main([*arguments("run", tmp_path), "--no-prefect"]) == 2
    assert f"--set fetch.revision={COMMIT}" in capsys.readouterr().err
    assert "fetch.revision" not in plan(tmp_path, capsys, "--set", f"fetch.revision={COMMIT}")[1]


def test_where_shards_are_on_disk_nobody_is_asked(tmp_path, capsys, monkeypatch):
    data = fetched(CONFIG, tmp_path / "other").path
    go_offline(monkeypatch)
    line, told = plan(tmp_path, capsys, "--data", str(data))
    assert line.startswith("▸ run")
    assert "cannot ask" not in told


def test_shards_on_disk_are_the_input_that_fetched_ones_are(tmp_path):
    first = fetched(CONFIG, tmp_path / "store")
    node = data_node(CONFIG, replace(Sources(), data=first.path))
    store = Store(tmp_path / "store")
    again, built = build_node(node, {}, store, Memo(tmp_path / "memo"), RunOptions(), Silence())
    assert built
    for output in ("train", "val", "vocabulary"):
        assert again.outputs[output] == first.outputs[output]
