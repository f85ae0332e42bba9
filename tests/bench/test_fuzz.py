"""What lies in a file or is typed ends in a message of ours: 500 mutations of each format, and what failed once."""

from pathlib import Path

import pytest

from bench.fuzz import LIMIT_BYTES, run, run_kept
from bench.fuzz_formats import FORMATS
from pgolf.errors import PgolfError

KEPT = Path(__file__).parent / "kept"
COUNT = 500


@pytest.mark.parametrize("name", FORMATS)
def test_mutations_are_read_or_end_in_a_message(name):
    report = run(FORMATS[name], COUNT, seed=1)
    assert not report.failures, "\n\n".join(f"{one.number}: {one.kind}\n{one.detail}" for one in report.failures[:3])
    assert report.mutations == report.read + report.messages == COUNT
    assert report.most_bytes < LIMIT_BYTES


@pytest.mark.parametrize("name", sorted(path.name for path in KEPT.iterdir()))
def test_what_failed_once_fails_no_more(name):
    report = run_kept(FORMATS[name], KEPT)
    assert not report.failures, "\n\n".join(f"{one.kind}\n{one.detail}" for one in report.failures[:3])
    assert report.mutations == len(list((KEPT / name).iterdir()))


def test_content_as_it_is_written_is_read(tmp_path):
    for form in FORMATS.values():
        folder = tmp_path / form.name
        (folder / "made").mkdir(parents=True)
        (folder / "read").mkdir()
        if form.prepare is not None:
            form.prepare(folder / "read")
        said = []
        for sample in form.samples(folder / "made"):
            try:
                form.read(folder / "read", sample)
            except PgolfError as error:
                said.append(str(error))
            else:
                break
        else:
            pytest.fail(f"no sample of {form.name} is valid: {said}")
