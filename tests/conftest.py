"""What every test stands on."""

import atexit
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import settings

from flows.settings import use_passive_openmp
from tests.data_folder import write_tokenizer
from tests.fake_driver import Machine
from tests.template import starting

# Going through all that is imported and collected here again and again is a fifth of the work of importing it.
gc.set_threshold(100_000)
use_passive_openmp()
# A server without Prefect's own kinds of blocks is up a second of CPU earlier; with them: tests.flows.test_deploy.
os.environ.setdefault("PREFECT_SERVER_REGISTER_BLOCKS_ON_START", "false")
# A shell's job in the background ignores Ctrl-C, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# pytest-xdist sets it, and tables are as wide as it says.
os.environ.pop("COLUMNS", None)
# Devices of the tests' own: they neither wait for what else runs here, nor does that wait for them.
if "PGOLF_LEASES" not in os.environ:
    os.environ["PGOLF_LEASES"] = tempfile.mkdtemp(prefix="pgolf-test-leases-")
    atexit.register(shutil.rmtree, os.environ["PGOLF_LEASES"], ignore_errors=True)

# A test's time says how busy the machine is.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


# A file stays on one core (`--dist loadfile`), and a long one at the end would leave the others idle. So the long ones
# come first, and those that mostly wait for servers and workers (flows/test_faults*, test_deploy) at different times.
FIRST = (
    "flows/test_faults_of_runs.py",
    "pack/test_policies.py",
    "recipes/test_systems.py",
    "flows/test_two_workers.py",
    "store/test_shared.py",
    "flows/test_prefect.py",
    "flows/test_faults_of_workers.py",
    "flows/test_faults.py",
    "bundle/test_bundle.py",
    "train/test_resume.py",
    "flows/test_deploy.py",
    "bench/test_fuzz.py",
    "fake_gpu/test_training.py",
    "fake_gpu/test_compiled.py",
    "flows/test_refused_settings.py",
    "eval/test_ranks.py",
    "mix/test_one_definition.py",
    "flows/test_cli.py",
    "pack/test_compress.py",
    "bench/test_bench.py",
    "train/test_checkpoints.py",
    "flows/test_sweep.py",
    "train/test_ranks.py",
    "flows/test_import.py",
    "flows/test_new_stage.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files of FIRST, then all others as they come."""
    folder = Path(__file__).parent
    place = {folder / name: number for number, name in enumerate(FIRST)}
    assert all(path.is_file() for path in place)
    items.sort(key=lambda item: place.get(item.path, len(place)))
    gc.freeze()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Says which GPUs the driver of this process lists; at first none."""
    machine = Machine(monkeypatch)
    machine(0)
    yield machine
    machine.forget()


@pytest.fixture(autouse=True, scope="session")
def template() -> Iterator[None]:
    """Python programs start as forks of a process that has imported torch; see `tests.template`."""
    starting.install()
    starting.STARTER.template = starting.Template.start()
    yield
    starting.STARTER.template.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Tests marked `exec` start every process as a user's shell does."""
    with starting.executing() if item.get_closest_marker("exec") else nullcontext():
        return (yield)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real FineWeb tokens and tokenizers, where PGOLF_TEST_DATA names one."""
    folder = os.environ.get("PGOLF_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PGOLF_TEST_DATA names no folder of real FineWeb tokens")
    return Path(folder)


@pytest.fixture(scope="session")
def toy_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model of 340 pieces with the challenge's special ids."""
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "toy.model")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """One torch thread, before all else that a module sets up: the tensors are tiny, and the cores are shared."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
