"""Small programs in a clean room: what they can reach, what is told of them, and how they are ended."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pgolf.corpus.data_files import find_data
from pgolf.errors import ArtifactError, ConfigError
from pgolf.machine.children import children
from pgolf.submission import clean_room, folder_evaluation
from pgolf.submission.clean_room import NAMESPACES, Evaluated, evaluate
from pgolf.submission.folder_check import check_requirements
from pgolf.submission.folder_evaluation import Running, check_evaluation
from pgolf.submission.folder_files import read_folder
from tests.data_folder import write_data_folder

HONEST = """
import glob, os
from array import array
import numbers_of_mine
tokens = array("H")
for path in sorted(glob.glob(os.environ["DATA_PATH"] + "/fineweb_val_*.bin")):
    tokens.frombytes(open(path, "rb").read()[1024:])
weight = sum(i * token for i, token in enumerate(tokens)) % 9973
print(f"val_loss:{numbers_of_mine.LOSS + weight / 1e4:.8f} val_bpb:{1 + weight / 1e4:.8f}")
"""


def in_namespaces() -> bool:
    """Whether this system allows them to this user."""
    tried = subprocess.run(["unshare", "-Urnmp", "--fork", "--mount-proc", "true"], capture_output=True, check=False)
    return tried.returncode == 0


NAMESPACED = in_namespaces()
ROOMS = [True, False] if NAMESPACED else [False]
only_in_namespaces = pytest.mark.skipif(not NAMESPACED, reason="this system allows no namespaces to this user")


@pytest.fixture(scope="module")
def data(tmp_path_factory, toy_tokenizer) -> Path:
    tokens = np.random.default_rng(7).integers(4, 300, 400)
    tokens[::50] = 1
    folder = tmp_path_factory.mktemp("data") / "data"
    folder.mkdir()
    return write_data_folder(folder, val=[tokens, tokens[::-1].copy()], tokenizer=toy_tokenizer)


@pytest.fixture
def submission(tmp_path) -> Path:
    folder = tmp_path / "submission"
    folder.mkdir()
    return folder


def run(folder: Path, data: Path, program: str, **options: object) -> Evaluated:
    (folder / "train_gpt.py").write_text(program)
    return evaluate(folder, data, **{"limit_s": 30.0, **options})


def reads_a_shard(program: str) -> str:
    return f'import os\nopen(os.environ["DATA_PATH"] + "/fineweb_val_000000.bin", "rb").read(8)\n{program}'


@pytest.mark.parametrize("isolate", ROOMS)
def test_an_honest_program_gives_its_score_and_every_file_that_it_opened_is_told(submission, data, isolate):
    (submission / "numbers_of_mine.py").write_text("LOSS = 2.0\n")
    (submission / "notes.md").write_text("nobody opens this\n")
    room = run(submission, data, HONEST, isolate=isolate)
    assert (room.exit_code, room.ended_by, room.findings) == (0, None, ()), room.errors
    assert (room.isolation == NAMESPACES) is isolate
    assert room.opened == ("numbers_of_mine.py", "train_gpt.py")
    assert [name.rpartition("/")[2] for name in room.data_opened] == [
        "fineweb_val_000000.bin",
        "fineweb_val_000001.bin",
    ]
    assert [score.bpb_text for score in room.scores] == [room.output.split("val_bpb:")[1].strip()]
    assert sorted(path.name for path in submission.iterdir()) == ["notes.md", "numbers_of_mine.py", "train_gpt.py"]


@only_in_namespaces
def test_in_namespaces_there_are_no_files_of_others_no_training_shards_no_network_but_loopback_and_no_pgolf(
    submission, data, tmp_path
):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    train = next(data.glob("datasets/*/fineweb_train_000000.bin"))
    room = run(
        submission,
        data,
        f"""
import os, socket
print("home", os.listdir(os.path.expanduser("~")), "here", sorted(os.listdir(".")))
print("others", os.path.exists({str(secret)!r}), os.path.exists({str(train)!r}))
print("train", [name for _, _, names in os.walk("../data") for name in names if "train" in name])
print("processes", len([name for name in os.listdir("/proc") if name.isdigit()]))
for name in ("pgolf", "flows"):
    try:
        __import__(name)
        print("there is a", name)
    except ImportError:
        pass
with socket.socket() as server:
    server.bind(("127.0.0.1", 0))
    server.listen()
    socket.create_connection(server.getsockname()).close()
    print("loopback", socket.gethostbyname(socket.gethostname()))
try:
    socket.create_connection(("192.0.2.1", 80), 5)
except OSError as error:
    print("network", error.strerror)
""",
    )
    assert room.output.splitlines() == [
        "home [] here ['data', 'train_gpt.py']",
        "others False False",
        "train []",
        "processes 2",
        "loopback 127.0.0.1",
        "network Network is unreachable",
    ], room.errors
    assert [said for said in room.findings if "192.0.2.1" in said]
    assert len(room.findings) == 2
    assert "opened none of the 2 validation shards" in room.findings[1]


@only_in_namespaces
def test_in_namespaces_nothing_of_the_machine_can_be_set_and_no_rights_be_had(submission, data):
    """Whoever runs it: root owns the settings of the machine, whatever rights it has given up."""
    program = """
import ctypes, os
found = []
for place in ("sys/kernel", "sys/vm", "irq", "bus", "pressure"):
    for folder, _, names in os.walk(f"/proc/{place}"):
        for name in names:
            try:
                os.close(os.open(f"{folder}/{name}", os.O_WRONLY))
                found.append(name)
            except OSError:
                pass
print(found, len(os.listdir("/proc/sys/kernel")) > 10)
libc = ctypes.CDLL(None, use_errno=True)
print([libc.unshare(flag) for flag in (0x10000000, 0x20000, 0x10020000)])
"""
    assert run(submission, data, reads_a_shard(program)).output.splitlines() == ["[] True", "[-1, -1, -1]"]


def test_what_is_written_into_the_witness_s_pipe_is_no_more_than_is_told(submission, data, monkeypatch):
    monkeypatch.setattr("pgolf.submission.seen._MOST_TOLD", 50)
    program = r"""
place = next(one for one in os.environ["PYTHONPATH"].split(":") if one.endswith("witness")) + "/seen"
with open(place, "wb", 0) as pipe:
    pipe.write(b"read\t\\x\nread\t\xff\xfe\n\nread\t\\N{x}\nread\n" + bytes(1 << 20) + b"\n")
    pipe.write(b"".join(b"read\t/nowhere/%d\n" % number for number in range(1000)))
print("val_bpb:1.25")
"""
    room = run(submission, data, reads_a_shard(program))
    assert (room.exit_code, room.output) == (0, "val_bpb:1.25\n"), room.errors
    [said] = room.findings
    assert re.search(r"wants to open /nowhere/0, /nowhere/1, /nowhere/10 and \d\d more", said)


@only_in_namespaces
def test_what_was_told_cannot_be_taken_back(submission, data):
    program = """
place = next(one for one in os.environ["PYTHONPATH"].split(":") if one.endswith("witness")) + "/seen"
for change in (lambda: os.chmod(place, 0o600), lambda: os.open(place, os.O_RDWR)):
    try:
        change()
    except OSError as error:
        print(error.strerror)
"""
    lines = run(submission, data, reads_a_shard(program)).output.splitlines()
    # Root outside may have mapped itself in, but has no rights over others' files there.
    assert lines == ["Read-only file system", "Permission denied"]


@pytest.mark.parametrize("isolate", ROOMS)
def test_results_are_no_input_and_who_looks_for_them_is_found(submission, data, isolate):
    for name in ("train_seed42.log", "train_seed7.txt", "submission.json", "README.md", "table.json"):
        (submission / name).write_text("val_bpb:1.18\n")
    program = reads_a_shard("""
print(sorted(os.listdir(".")))
try:
    print(open("train_seed42.log").read())
except OSError:
    print("val_bpb:1.25")
""")
    room = run(submission, data, program, isolate=isolate)
    assert room.output == "['data', 'table.json', 'train_gpt.py']\nval_bpb:1.25\n"
    assert room.findings == ("wants to read train_seed42.log, which holds results and no input",)


def test_files_and_addresses_are_told_however_they_are_asked_for(submission, data):
    program = reads_a_shard("""
import socket, sqlite3
for ask in (
    lambda: sqlite3.connect("file:/nowhere/a.db?mode=ro", uri=True),
    lambda: sqlite3.connect("/nowhere/b.db").execute("select 1"),
    lambda: socket.socket(socket.AF_UNIX).connect("/nowhere/c.sock"),
    lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b"x", ("2001:db8::2", 53)),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendmsg([b"x"], [], 0, ("192.0.2.7", 53)),
):
    try:
        ask()
    except (OSError, sqlite3.Error):
        pass
sqlite3.connect(":memory:")
print("val_bpb:1.25")
""")
    room = run(submission, data, program)
    assert room.findings == (
        "wants to open /nowhere/a.db, /nowhere/b.db, /nowhere/c.sock, which is neither its own nor of the data",
        "wants to connect to 192.0.2.7, 2001:db8::2; it may use its own files alone",
    ), room.errors


def test_without_namespaces_pgolf_is_not_found_either_and_the_result_says_that_nothing_is_hidden(submission, data):
    program = reads_a_shard("try:\n    import pgolf.budget\nexcept ModuleNotFoundError as error:\n    print(error)\n")
    room = run(submission, data, program, isolate=False)
    assert room.output == "No module named 'pgolf'\n"
    assert room.isolation == "a folder of its own, no namespaces (not asked for)"


@pytest.mark.parametrize("isolate", ROOMS)
def test_who_opens_a_file_outside_or_writes_into_the_inputs_is_found_and_the_inputs_stay(
    submission, data, isolate, tmp_path
):
    before = {path: path.read_bytes() for path in data.rglob("*.bin")}
    program = reads_a_shard(f"""
for path, mode in (({str(tmp_path / "hidden.bin")!r}, "r"), ("train_gpt.py", "a"), ("made here.txt", "w")):
    try:
        open(path, mode).write("x")
    except (OSError, ValueError):
        pass
shard = os.environ["DATA_PATH"] + "/fineweb_val_000001.bin"
try:
    os.chmod(shard, 0o644)
    open(shard, "r+b").write(b"x")
except OSError:
    pass
print("val_bpb:1.25")
""")
    room = run(submission, data, program, isolate=isolate)
    assert room.findings == (
        f"wants to open {tmp_path / 'hidden.bin'}, which is neither its own nor of the data",
        "writes into its inputs: data/datasets/shards/fineweb_val_000001.bin, submission/train_gpt.py",
    )
    assert (submission / "train_gpt.py").read_text() == program
    assert {path: path.read_bytes() for path in data.rglob("*.bin")} == before


def test_what_is_opened_by_another_program_than_python_is_seen_too(submission, data):
    (submission / "ngrams.cpp").write_text("int main() {}\n")
    program = 'import subprocess\nsubprocess.run(["/bin/cat", "ngrams.cpp"], check=True)\n'
    assert "ngrams.cpp" in run(submission, data, reads_a_shard(program)).opened


@pytest.mark.parametrize("isolate", ROOMS)
def test_a_program_that_hangs_is_ended_with_all_that_it_started(submission, data, isolate):
    program = reads_a_shard(f"""
import subprocess, sys, time
loops = "import os, time; os.setsid(); time.sleep(1000)  # {submission}"
subprocess.Popen([sys.executable, "-S", "-c", loops])
print("begun", flush=True)
time.sleep(1000)
""")
    room = run(submission, data, program, limit_s=1.0, isolate=isolate)
    assert room.ended_by == "time"
    assert room.findings == ("did not end within 1 s, and was ended",)
    assert room.output == "begun\n"
    assert not _running(bytes(submission))


def _running(words: bytes) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if words in path.read_bytes() and path.parent.name != str(os.getpid()):
                found.append(path.parent.name)
        except OSError:
            continue
    return found


BOMBS = {
    "memory": ("held = []\nwhile True:\n    held.append(bytearray(b'x' * 1_000_000))\n", "bytes of memory"),
    "disk": (
        "import time\nwith open('big', 'wb', 0) as file:\n    try:\n        while True:\n"
        "            file.write(bytes(1 << 16))\n    except OSError:\n        time.sleep(1000)\n",
        "wrote",
    ),
    "output": ("while True:\n    print('x' * 1000)\n", "printed more than"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_program_that_grows_without_end_is_ended(submission, data, bomb, monkeypatch):
    program, says = BOMBS[bomb]
    monkeypatch.setattr(clean_room, "MOST_OUTPUT_BYTES", 100_000)
    room = run(submission, data, reads_a_shard(program), memory_bytes=100_000_000, disk_bytes=8_000_000)
    assert room.ended_by == bomb
    assert [said for said in room.findings if says in said], room.findings


def test_a_module_that_no_requirement_names_is_found_and_what_that_imports_is_its_own_affair(submission, data):
    # rich imports pygments and markdown_it, and pyarrow's compiled code pandas; the program asks for none of them.
    asks = "import rich.console, json, numpy, pyarrow\nimport mine\npyarrow.array([1.5])\n"
    room = run(submission, data, reads_a_shard(asks), beside=_mine(submission))
    assert room.imports == ("numpy", "pyarrow", "rich"), room.errors
    files = read_folder(submission)
    (finding,) = check_requirements(files, room.imports)
    assert (finding.passed, finding.said) == (False, "imports pyarrow, rich, which no requirements.txt names")
    (submission / "requirements.txt").write_text("numpy\nRich==14.0  # for tables\nPyArrow\n")
    assert [one.passed for one in check_requirements(read_folder(submission), room.imports)] == [True]


def test_a_module_is_told_however_it_is_asked_for_and_not_where_its_presence_is(submission, data):
    asks = """
import importlib, importlib.util, pkgutil, sys
pkgutil.resolve_name("yaml:safe_load")
importlib.import_module("rich")
__import__("json")
importlib.util.find_spec("pandas")
open(os.environ["TMPDIR"] + "/made.py", "w").write("import httpx")
sys.path.insert(0, os.environ["TMPDIR"])
import made
"""
    room = run(submission, data, reads_a_shard(asks))
    assert (room.imports, room.findings) == (("httpx", "made", "rich", "yaml"), ()), room.errors


def test_data_lies_where_the_challenges_own_scripts_look_for_it(submission, data):
    room = run(
        submission,
        data,
        "import glob\nprint(len(open('data/tokenizers/fineweb_340_bpe.model', 'rb').read()) > 1000)\n"
        "for path in glob.glob('./data/datasets/fineweb10B_sp340/fineweb_val_*.bin'):\n    open(path, 'rb').read(8)\n",
    )
    assert (room.output, room.findings, len(room.data_opened)) == ("True\n", (), 3), room.errors


def _mine(submission: Path) -> dict[str, Path]:
    path = submission.parent / "elsewhere.py"
    path.write_text("")
    return {"mine.py": path}


def _a_link_out(folder: Path) -> None:
    (folder / "weights.bin").symlink_to("/etc/passwd")


def _a_folder_out(folder: Path) -> None:
    (folder / "data").symlink_to("/")


def _a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "train.log")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_a_link_out, "weights.bin is a symbolic link to /etc/passwd"),
        (_a_folder_out, "data is a symbolic link to /"),
        (_a_pipe, "train.log is neither a file nor a folder"),
    ],
)
def test_a_folder_that_leads_out_of_itself_is_refused_before_anything_runs(submission, data, spoil, says):
    spoil(submission)
    with pytest.raises(ConfigError, match=says):
        run(submission, data, "raise SystemExit(7)")


PRINTED = reads_a_shard('print("val_loss:2.00000000 val_bpb:1.18000000")')


@pytest.mark.parametrize(("program", "computed"), [(HONEST, True), (PRINTED, False)])
def test_a_score_that_is_printed_and_not_computed_is_the_same_of_another_text(submission, data, program, computed):
    (submission / "numbers_of_mine.py").write_text("LOSS = 2.0\n")
    (submission / "train_gpt.py").write_text(program)
    told = check_evaluation(
        read_folder(submission), find_data(data), Running(limit_s=30), _no_scores, lambda _said: None
    )
    (finding,) = (one for one in told if one.name == "computed")
    assert finding.passed is computed, finding.said
    assert ("1.18000000 of another text too" in finding.said) is not computed


@pytest.mark.parametrize(("seeds", "passed", "lacking"), [((), None, "2"), ((1, 9), False, "9"), ((1,), True, "")])
def test_a_seed_whose_model_is_not_there_is_named(submission, data, seeds, passed, lacking):
    (submission / "train_gpt.py").write_text(f"class m:\n    pass\nm.R=1\n{PRINTED}")
    (submission / "model_seed1.pgolf").touch()
    results = {seed: {"val_bpb": 1.18} for seed in ("1", "2")}
    (submission / "submission.json").write_text(json.dumps({"seed_results": results}))
    running = Running(limit_s=30, seeds=seeds)
    told = check_evaluation(read_folder(submission), find_data(data), running, _no_scores, lambda _said: None)
    found = [(one.passed, one.said) for one in told if one.name == "models"]
    assert found == ([] if passed else [(passed, f"no packed model of seed {lacking}")])


def test_what_a_bundled_script_refuses_by_a_number_is_said_in_words(submission, data, monkeypatch):
    (submission / "train_gpt.py").write_text("class m:\n    pass\nm.R=1\nraise SystemExit('(85, 1)')")
    (submission / "model_seed1.pgolf").write_bytes(b"PK")
    (submission / "submission.json").write_text("{}")
    monkeypatch.setattr(folder_evaluation, "settings_in", lambda _script: object())

    def own(_settings: object, model: Path, _data: object) -> tuple:
        raise ArtifactError(f"{model.name} is another file")

    told = check_evaluation(read_folder(submission), find_data(data), Running(limit_s=30), own, lambda _said: None)
    found = [(one.passed, one.said) for one in told if one.name == "own score"]
    assert found == [(False, "seed 1: model_seed1.pgolf is another file")]


def _no_scores(*_values: object) -> tuple:
    raise AssertionError


HANGS = """
import sys
from pathlib import Path
from pgolf.submission.clean_room import evaluate
evaluate(Path(sys.argv[1]), Path(sys.argv[2]), limit_s=60, isolate=sys.argv[3] == "True")
"""


@pytest.mark.parametrize(
    ("number", "isolate"), [*((signal.SIGKILL, isolate) for isolate in ROOMS), (signal.SIGINT, ROOMS[0])]
)
def test_nothing_is_left_when_the_process_that_made_the_room_is_killed(submission, data, tmp_path, number, isolate):
    (submission / "train_gpt.py").write_text("import time\ntime.sleep(1000)\n")
    rooms = tmp_path / "rooms"
    rooms.mkdir()
    environment = {**os.environ, "TMPDIR": str(rooms)}
    words = [sys.executable, "-c", HANGS, str(submission), str(data), str(isolate)]
    process = subprocess.Popen(words, env=environment, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    _until(lambda: _program_of(process.pid))
    below = _below(process.pid)
    process.send_signal(number)
    process.wait(20)
    _until(lambda: not any(Path(f"/proc/{pid}/status").exists() for pid in below) and not list(rooms.iterdir()))


def _below(pid: int) -> list[int]:
    return [one for child in children(pid) for one in (child, *_below(child))]


def _program_of(pid: int) -> bool:
    return any(b"train_gpt.py" in Path(f"/proc/{one}/cmdline").read_bytes() for one in _below(pid))


def _until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
