"""The folder of leases: the same for every user and job, and one in which nobody can replace another's file."""

import os

import pytest

from pgolf.errors import LeaseError
from pgolf.machine import lease_place
from pgolf.machine.lease_place import CANDIDATES, apart, common_folder
from pgolf.pipeline.place import lease_dir

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes folders that belong to root")


def folder(path, mode=0o1777, owner=0):
    path.mkdir()
    path.chmod(mode)
    os.chown(path, owner, -1)
    return path


@as_root
def test_folders_that_not_everybody_can_lock_in_or_where_others_remove_files_are_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(LeaseError, "most_characters", 5000)  # the real places have shorter names
    unfit = [
        tmp_path / "none",
        folder(tmp_path / "roots-alone", 0o755),
        folder(tmp_path / "not-sticky", 0o777),
        folder(tmp_path / "anothers", owner=65534),
    ]
    (tmp_path / "file").touch()
    fit = folder(tmp_path / "fit")
    (tmp_path / "linked").symlink_to(fit)  # as /var/lock to /run/lock
    assert common_folder([*unfit, tmp_path / "file", fit]) == fit
    assert common_folder([tmp_path / "linked"]) == fit
    with pytest.raises(LeaseError, match=r"mode 0755 .* mode 0777 .* user 65534 .*set PGOLF_LEASES"):
        common_folder(unfit)


def test_temporary_folder_and_home_decide_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("PGOLF_LEASES")
    before = lease_dir()
    for name in ("TMPDIR", "TEMP", "HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    assert lease_dir() == before
    assert before in [candidate.resolve() for candidate in CANDIDATES]


def test_the_setting_is_taken_as_it_is_and_one_that_differs_by_job_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PGOLF_LEASES", str(tmp_path / "new"))
    assert lease_dir() == tmp_path / "new"
    monkeypatch.setenv("PGOLF_LEASES", "leases")
    with pytest.raises(LeaseError, match="PGOLF_LEASES is leases, which is another folder for every job"):
        lease_dir()


def test_a_container_is_told_that_its_own_folder_is_seen_by_nobody_else(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_place, "_OWN_NAMESPACES", {"pid": 1})
    assert "jobs outside of it do not see its leases" in str(apart(tmp_path))
    monkeypatch.setattr(os.path, "ismount", lambda _path: True)  # mounted from the machine
    assert apart(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/dev/null", "/dev/null is not a folder"),
        ("/dev/null/x", "Not a directory"),
        ("{}/link", "{}/link is not a folder"),
        ("{}/" + "x" * 256, "File name too long"),
    ],
)
def test_a_setting_that_can_be_no_folder_is_refused_before_anything_waits_for_a_device(
    tmp_path, monkeypatch, text, why
):
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    monkeypatch.setattr(LeaseError, "most_characters", 5000)
    monkeypatch.setenv("PGOLF_LEASES", text.format(tmp_path))
    with pytest.raises(LeaseError) as refusal:
        lease_dir()
    assert f"where no device can be leased: {why.format(tmp_path)}; set PGOLF_LEASES" in str(refusal.value)


def test_a_folder_that_cannot_be_written_to_serves_where_the_locks_are_there_already(tmp_path, monkeypatch):
    monkeypatch.setenv("PGOLF_LEASES", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)  # as for users without the right; tests may be root
    with pytest.raises(LeaseError, match="cannot be written to"):
        lease_dir()
    (tmp_path / "pgolf-cpu-0.lock").touch()
    assert lease_dir() == tmp_path
