"""A training that was killed and goes on: the same bits as one that was not; and what is not gone on from."""

import json
import threading

import pytest
import torch

from pgolf.errors import Stopped
from pgolf.model.init import initial_model
from pgolf.ranks.group import Ranks
from pgolf.store.scratch import load, save
from pgolf.train import checkpoints, loop
from pgolf.train.averaging import WeightAverage
from pgolf.train.checkpoint_record import PART_FILE, RECORD_FILE, read_record, usable_record
from pgolf.train.checkpoints import Checkpoints
from pgolf.train.loop import prime, train
from pgolf.train.optimizers import Optimizers
from pgolf.train.schedule import repeats_layers
from pgolf.train.state import TrainingState
from pgolf.train.train_job import CheckpointPlace
from tests.train.runs import learnable_tokens, spans_of, with_train, write_data

OF = {"seed": 1, "number of ranks": 1}
BANKS = {"muon_layout": "banks", "projections_by": "adam", "clip_at": "rank"}
# Rates fall from step 3 on, below 0.9 in step 4: from there on everything late is on, and snapshots are taken.
LATE = {
    "late_qat_below_scale": 0.9,
    "late_qat_bits": 4,
    "crownq_weight": 5.0,
    "crownq_below_scale": 0.9,
    "swa_below_scale": 0.9,
    "swa_every_steps": 2,
}
STEPS = 8


def config_of(**fields):
    return with_train(steps=STEPS, warmdown_steps=6, spans_per_step=2, **fields)


def state_of(config):
    model = initial_model(config.model, 1)
    average = WeightAverage(model.state_dict(), config.train)
    return TrainingState(model, Optimizers(model, config.train, Ranks()), average)


class Killed(Exception):
    """Stands for SIGKILL: nothing after it happens."""


class Eager(Checkpoints):
    """Keeps the state after every step, and waits for the thread: in the next step it is on the disk."""

    def is_due(self, elapsed_s):
        if self._writing is not None:
            self._writing.result()
        super().is_due(elapsed_s)
        return True


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("checkpoints") / "data", [learnable_tokens(2000)])


def run(data, config, folder=None, *, killed_in=None, told_in=None, of=OF, lag=0, clock_s=None, kind=Eager):
    """One process's life: resumes what is in the folder. Returns what is trained, reports and the keeper."""
    model, spans, reports = initial_model(config.model, 1), spans_of(data, config), []
    if config.train.priming_steps:
        prime(model, config.train, spans, Ranks())
    keeper = None
    if folder is not None:
        folder.mkdir(exist_ok=True)
        place = CheckpointPlace(folder=folder, every_s=1.0, of=of, resumes=usable_record(folder, of) is not None)
        keeper = kind(place, Ranks())
    ticks = iter(range(10_000))

    def on_step(report):
        reports.append(report)
        if report.steps_done == killed_in:
            raise Killed
        if report.steps_done == told_in:
            assert keeper.tell_to_end()

    try:
        trained = train(
            model,
            config.train,
            spans,
            Ranks(),
            clock_s=clock_s or (lambda: float(next(ticks))),
            on_step=on_step,
            lag=lag,
            keeper=keeper,
        )
    except (Killed, Stopped):
        trained = None
    if keeper is not None:
        keeper.close()
    return trained, reports, keeper


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


def losses(reports):
    return [(report.steps_done, report.loss_nats, report.gradient_norm) for report in reports]


@pytest.mark.parametrize("average", ["ema", "swa", "swa_of_ema"])
@pytest.mark.parametrize("layout", [{}, BANKS], ids=["matrices", "banks"])
def test_killed_again_and_again_it_gives_the_bits_of_a_run_that_was_not(data, tmp_path, layout, average):
    """Killed in steps 2, 4, 6 and 8, each time going on after the step before; primed again every time."""
    config = config_of(average=average, priming_steps=1, **LATE, **layout)
    whole, reports, _ = run(data, config)
    for step in range(2, STEPS + 1, 2):
        nothing, mine, keeper = run(data, config, tmp_path / "kept", killed_in=step)
        assert nothing is None
        began = 0 if step == 2 else step - 3
        assert (keeper.start.steps if keeper.start else 0) == began
        assert losses(mine) == losses(reports[began:step])
    resumed, mine, keeper = run(data, config, tmp_path / "kept")
    assert keeper.start.steps == STEPS - 1
    assert losses(mine) == losses(reports[STEPS - 1 :])
    assert same(resumed.state, whole.state)


def looped(config):
    """Layers 0 and 1 run three times, from the middle of the training on."""
    loops = {"recurrence": (0, 1), "recurrence_passes": 3, "recurrence_shares": "blocks", "skip_gates": True}
    model = config.model.model_copy(update=loops)
    return config.model_copy(
        update={
            "model": model,
            "train": config.train.model_copy(update={"recurrence_from": 0.5, "warmdown_share": 0.8}),
        }
    )


@pytest.mark.parametrize("step", [2, 4, 5, 7])
def test_killed_before_or_after_its_layers_recur_it_gives_the_bits_of_a_run_that_was_not(data, tmp_path, step):
    """They recur from step 5 on. The record need not say so: it follows from the steps."""
    config = looped(config_of(priming_steps=1))
    whole, reports, _ = run(data, config)
    run(data, config, tmp_path / "kept", killed_in=step)
    resumed, mine, keeper = run(data, config, tmp_path / "kept")
    assert keeper.start.steps == step - 1
    assert losses(mine) == losses(reports[step - 1 :])
    assert same(resumed.state, whole.state)
    train_throughout = config.train.model_copy(update={"recurrence_from": None})
    throughout, _, _ = run(data, config.model_copy(update={"train": train_throughout}))
    assert not same(throughout.state, whole.state)


@pytest.mark.parametrize("lag", [0, 1, 2])
@pytest.mark.parametrize("killed_in", [None, 2, 4])
def test_by_the_clock_layers_recur_from_their_moment_on_whatever_was_expected_before(
    data, tmp_path, monkeypatch, capsys, killed_in, lag
):
    """At 6 of 12 s. The first step takes 4 s, so that with steps in flight more time is expected than has passed."""
    seconds, asked = [0.0, 4.0, *(4.5 + 0.5 * step for step in range(40))], []

    def noted(config, step, elapsed_s):
        asked.append((step, repeats_layers(config, step, elapsed_s)))
        return asked[-1][1]

    monkeypatch.setattr(loop, "repeats_layers", noted)
    config = looped(config_of(clock_limit_s=12.0))
    if killed_in is not None:
        ticks = iter(seconds)
        run(data, config, tmp_path / "kept", killed_in=killed_in, clock_s=lambda: next(ticks))
        reached_s = read_record(tmp_path / "kept").elapsed_s
        seconds = [0.0, *(0.5 * step for step in range(1, 40))]
        assert reached_s < 6.0
    ticks = iter(seconds)
    # Who keeps every step waits for every step, and has none in flight.
    folder = None if killed_in is None else tmp_path / "kept"
    run(data, config, folder, lag=lag, clock_s=lambda: next(ticks))
    steps, states = zip(*asked, strict=True)
    assert list(states) == sorted(states)  # never off once on, through the kill
    assert states[-1]
    first = steps[states.index(True)]
    assert 5 <= first <= 5 + 2 * lag
    assert capsys.readouterr().out.splitlines() == [f"recurrent layers repeat from step {first + 1} on"]


@pytest.mark.parametrize("lag", [1, 3])
def test_with_steps_in_flight_what_is_kept_is_one_moment(data, tmp_path, lag):
    """Kept after step 4 alone, with the steps launched behind it waited for; killed when step 6 is reported."""

    class AfterStep4(Eager):
        def is_due(self, elapsed_s):
            super().is_due(elapsed_s)
            self.asked = getattr(self, "asked", 0) + 1
            return self.asked == 4

    config = config_of(**LATE)
    whole, reports, _ = run(data, config)
    run(data, config, tmp_path / "kept", killed_in=6, lag=lag, kind=AfterStep4)
    resumed, mine, keeper = run(data, config, tmp_path / "kept", lag=lag)
    assert keeper.start.steps == 4
    assert losses(mine) == losses(reports[4:])
    assert same(resumed.state, whole.state)


@pytest.mark.parametrize("lag", [0, 1, 3])
@pytest.mark.parametrize("kind", [Checkpoints, Eager], ids=["none before", "one being written"])
def test_told_to_end_a_training_keeps_all_that_is_launched_and_goes_on_to_the_same_weights(data, tmp_path, lag, kind):
    """Told when step 3 is reported, which it hears at the next."""
    config = config_of(**LATE)
    whole, reports, _ = run(data, config)
    still = {"clock_s": lambda: 0.0} if kind is Checkpoints else {}  # by the clock none is due
    ended, mine, _ = run(data, config, tmp_path / "kept", told_in=3, lag=lag, kind=kind, **still)
    assert ended is None
    assert losses(mine) == losses(reports[: len(mine)])
    reached = 4 + (lag if kind is Checkpoints else 0)  # who keeps every step waits for every step
    assert len(mine) == reached
    resumed, later, keeper = run(data, config, tmp_path / "kept", lag=lag)
    assert keeper.start.steps == reached
    assert losses(later) == losses(reports[reached:])
    assert same(resumed.state, whole.state)


def test_before_its_first_step_a_training_has_nothing_to_keep_and_is_not_told(data, tmp_path):
    place = CheckpointPlace(folder=tmp_path, every_s=1.0, of=OF, resumes=False)
    assert not Checkpoints(place, Ranks()).tell_to_end()
    _, _, keeper = run(data, config_of(), tmp_path / "kept")
    assert keeper.tell_to_end()
    never = place.model_copy(update={"every_s": 0.0})
    keeper = Checkpoints(never, Ranks())
    keeper.restore(state_of(config_of()))
    assert not keeper.tell_to_end()


def test_keeping_checkpoints_changes_nothing(data, tmp_path):
    config = config_of(**LATE)
    plain, plain_reports, _ = run(data, config)
    kept, reports, _ = run(data, config, tmp_path / "kept")
    assert losses(reports) == losses(plain_reports)
    assert same(kept.state, plain.state)
    assert read_record(tmp_path / "kept").steps == STEPS - 1


def test_the_clock_goes_on_from_where_it_was(data, tmp_path):
    """One second a step, limit 6: killed in step 4 after 4 s, with 3 s in the checkpoint. It does the same 6 steps."""
    config = config_of(clock_limit_s=6.0)
    ticks = iter(range(100))
    whole, reports, _ = run(data, config, clock_s=lambda: float(next(ticks)))
    run(data, config, tmp_path / "kept", killed_in=4)
    record = read_record(tmp_path / "kept")
    assert record.steps == 3
    assert 3.0 < record.elapsed_s < 3.5  # with what the copy took
    resumed, mine, _ = run(data, config, tmp_path / "kept")
    assert (resumed.steps, whole.steps) == (6, 6)
    assert resumed.elapsed_s == pytest.approx(6.0, abs=0.5)
    assert [report.rate_scale for report in mine] == pytest.approx([r.rate_scale for r in reports[3:]], abs=0.2)


def test_late_rounding_that_a_clock_switched_on_stays_on(data, tmp_path):
    """It is sticky: a clock that stood still in between has raised the rates again, above the trigger."""
    config = with_train(steps=50, clock_limit_s=4.0, warmdown_steps=2, late_qat_below_scale=0.9, late_qat_bits=3)
    times = iter([0.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 3.0])
    every_step = {"clock_s": lambda: next(times), "killed_in": 7}
    _, reports, _ = run(data, config, tmp_path / "kept", **every_step)
    assert [report.rate_scale for report in reports][3:] == [0.5, pytest.approx(2 / 3), pytest.approx(5 / 6), 1.0]
    record = read_record(tmp_path / "kept")
    assert (record.steps, record.rounding) == (6, True)


def test_training_goes_on_while_a_checkpoint_is_written_and_the_files_hold_the_step_of_the_copy(
    data, tmp_path, monkeypatch
):
    """The state after step 2 is due first; its writer has to wait until step 6 begins. No second copy is made."""
    writes, kept_after = threading.Event(), []
    written = checkpoints._write_part

    def wait_and_write(path, tensors):
        assert writes.wait(60)
        return written(path, tensors)

    class Late(Checkpoints):
        asked = 0

        def is_due(self, elapsed_s):
            self.asked += 1
            if self.asked == 6:
                writes.set()
                self._writing.result()
            return super().is_due(elapsed_s)

        def keep(self, state):
            super().keep(state)
            kept_after.append(state.steps)

    config = config_of(**LATE)
    whole, _, _ = run(data, config)
    monkeypatch.setattr(checkpoints, "_write_part", wait_and_write)
    run(data, config, tmp_path / "kept", killed_in=6, kind=Late)
    assert kept_after == [2]
    resumed, _, keeper = run(data, config, tmp_path / "kept")
    assert keeper.start.steps == 2
    assert same(resumed.state, whole.state)


@pytest.fixture
def kept(data, tmp_path):
    """A folder with the checkpoint of a run killed in step 5."""
    run(data, config_of(), tmp_path / "kept", killed_in=5)
    return tmp_path / "kept"


def part(folder):
    (path,) = folder.glob("step-*.safetensors")
    return path


def truncate(folder):
    path = part(folder)
    path.write_bytes(path.read_bytes()[:-8])


def alter(folder):
    content = bytearray(part(folder).read_bytes())
    content[-5] ^= 1
    part(folder).write_bytes(content)


def rewrite(folder, **fields):
    record = json.loads(load(folder / RECORD_FILE))
    save(folder / RECORD_FILE, json.dumps(record | fields).encode())


def break_record(folder):
    content = (folder / RECORD_FILE).read_bytes()
    (folder / RECORD_FILE).write_bytes(content[:-20])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (truncate, "bytes, expected"),
        (alter, "is altered"),
        (lambda folder: part(folder).unlink(), "cannot be read (No such file"),
        (break_record, "training.json is damaged"),
        (lambda folder: save(folder / RECORD_FILE, b'{"steps": 4}'), "training.json is damaged"),
        (lambda folder: rewrite(folder, files={}), "it lists no file"),
        (lambda folder: rewrite(folder, files={"../x": {"size_bytes": 1, "sha256": "0" * 64}}), "it lists ../x"),
        (lambda folder: rewrite(folder, of=OF | {"seed": 2}), "its seed is 2, this run's 1"),
        (lambda folder: rewrite(folder, of=OF | {"number of ranks": 2}), "its number of ranks is 2, this run's 1"),
        (lambda folder: rewrite(folder, of=OF | {"torch": "1.0"}), "its torch is 1.0, this run's None"),
    ],
)
def test_a_damaged_or_foreign_checkpoint_is_said_to_be_so_and_removed_and_training_starts_anew(data, kept, spoil, says):
    spoil(kept)
    said = []
    assert usable_record(kept, OF, said.append) is None
    assert len(said) == 1
    assert says in said[0]
    assert said[0].endswith("training starts from the beginning")
    assert list(kept.iterdir()) == []
    whole, _, _ = run(data, config_of())
    again, _, keeper = run(data, config_of(), kept)
    assert keeper.start is None
    assert same(again.state, whole.state)


def test_what_a_kill_left_half_written_is_removed_and_the_checkpoint_before_it_counts(kept):
    (kept / "step-000000009.rank-0.safetensors").write_bytes(b"half")
    (kept / f".{RECORD_FILE}.unfinished").write_bytes(b"half")
    said = []
    record = usable_record(kept, OF, said.append)
    assert (record.steps, said) == (4, [])
    assert {path.name for path in kept.iterdir()} == {RECORD_FILE, *record.files}


def test_looking_at_a_damaged_record_changes_nothing(kept):
    break_record(kept)
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    assert read_record(kept) is None
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before


def test_a_checkpoint_replaces_the_one_before_only_when_it_is_whole(data, tmp_path):
    """At every moment the record names files that are there, and nothing of earlier steps stays for long."""
    seen = []

    class Watching(Eager):
        def is_due(self, elapsed_s):
            due = super().is_due(elapsed_s)
            self._thread.submit(lambda: None).result()
            record = read_record(self.place.folder)
            if record is not None:
                assert usable_record_without_removing(self.place.folder)
                seen.append(record.steps)
            assert len(list(self.place.folder.glob("step-*"))) <= 1
            return due

    run(data, config_of(), tmp_path / "kept", kind=Watching)
    assert seen == list(range(1, STEPS))


def usable_record_without_removing(folder):
    before = sorted(path.name for path in folder.iterdir())
    found = usable_record(folder, OF)
    assert sorted(path.name for path in folder.iterdir()) == before
    return found


def test_a_disk_that_takes_no_checkpoint_costs_the_checkpoint_and_not_the_training(data, tmp_path, capfd, monkeypatch):
    def full(path, tensors, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_tensors", full)
    whole, _, _ = run(data, config_of())
    trained, _, _ = run(data, config_of(), tmp_path / "kept")
    assert same(trained.state, whole.state)
    assert "no checkpoint after step 1: " in capfd.readouterr().out
    assert list((tmp_path / "kept").iterdir()) == []


class BesideAFullDisk(Ranks):
    """Rank 0 of two, the other of which says that it could not write."""

    def largest(self, *values):
        return values

    def gather(self, part):
        return torch.cat((part, torch.zeros_like(part)))


def test_where_one_rank_cannot_write_there_is_no_checkpoint_and_the_one_before_stays(kept):
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    state = state_of(config_of())
    place = CheckpointPlace(folder=kept, every_s=1.0, of=OF, resumes=False)
    keeper = Checkpoints(place, BesideAFullDisk(0, 2))
    keeper.restore(state)
    state.steps = 6
    keeper.keep(state)
    keeper._writing.result()
    assert (kept / PART_FILE.format(steps=6, rank=0)).exists()
    keeper.wait()
    keeper.close()
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
