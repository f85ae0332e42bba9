"""What a stage may read while it runs: real files, programs and threads, in a copy of the package with a probe."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pgolf.identity.watch import _is_compiled, _is_systems
from tests.identity.conftest import copy_of_pgolf

ROOT = Path(__file__).parents[2]
SETUP = """
import os, sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pgolf.errors import UndeclaredRead
from pgolf.identity.watch import Watch, watching
root = Path(sys.argv[1])
import pgolf.probe
try:
    with watching(Watch("toy", [root / "in", root / "out"], modules={"pgolf.probe"})):
        made = pgolf.probe.make(root)
    print(made)
except UndeclaredRead as error:
    print("REFUSED", error)
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A folder with a pgolf of its own, and files that a stage may and may not read."""
    root = copy_of_pgolf(tmp_path_factory.mktemp("watched"))
    (root / "pgolf/scale.json").write_text("11")
    (root / "pgolf/unreached.py").write_text("V = 11")
    for folder in ("in", "out", "work"):
        (root / folder).mkdir()
    (root / "in/data.txt").write_text("11")
    (root / "outside.txt").write_text("11")
    (root / ".cache/hub").mkdir(parents=True)
    (root / ".cache/hub/x.txt").write_text("11")
    (root / "beside.py").write_text("V = 11")
    (root / "in/link.txt").symlink_to(root / "in/data.txt")
    (root / "out_link.txt").symlink_to(root / "in/data.txt")
    return root


def run(root: Path, probe: str, *, code: str = SETUP, **environment: str) -> str:
    (root / "pgolf/probe.py").write_text("import os\nfrom pathlib import Path\n" + probe + "\n")
    result = subprocess.run(
        [sys.executable, "-c", code, str(root)],
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONSAFEPATH": "1", **environment},
        cwd=root / "work",
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


REFUSED = {
    "a file beside the code": "    return Path(__file__).with_name('scale.json').read_text()",
    "a file beside the inputs": "    return (root / 'outside.txt').read_text()",
    "a path with two dots": "    return open(f'{root}/in/../outside.txt').read()",
    "a relative path": "    return open('../outside.txt').read()",
    "a name in bytes": "    return open(os.fsencode(root) + b'/outside.txt').read()",
    "a descriptor": "    return os.read(os.open(root / 'outside.txt', os.O_RDONLY), 9)",
    "a file opened to read and write": "    return open(root / 'outside.txt', 'r+').read()",
    "a file that is appended to and read": "    return open(root / 'outside.txt', 'a+').read()",
    "what it only appended to": (
        "    open(root / 'outside.txt', 'a').close()\n    return open(root / 'outside.txt').read()"
    ),
    "a file it gave a name in its output": (
        "    os.link(root / 'outside.txt', root / 'out/hard')\n    return open(root / 'out/hard').read()"
    ),
    "a file it linked to": (
        "    os.symlink(root / 'outside.txt', root / 'out/soft')\n    return open(root / 'out/soft').read()"
    ),
    "a file in a cache": "    import numpy as np\n    return np.loadtxt(root / '.cache/hub/x.txt')",
    "a database by its address": (
        "    import sqlite3\n    return sqlite3.connect(f'file:{root}/outside.txt?mode=ro', uri=True)"
    ),
    "a map": "    import mmap\n    return mmap.mmap(open(root / 'outside.txt').fileno(), 0, prot=mmap.PROT_READ)[:]",
    "an array that numpy reads": "    import numpy as np\n    return np.loadtxt(root / 'outside.txt')",
    "a database": "    import sqlite3\n    return sqlite3.connect(root / 'outside.txt')",
    "a library by its path": "    import ctypes\n    return ctypes.CDLL(str(root / 'outside.txt'))",
    "a file that the system has": "    return open('/etc/passwd').read()",
    "a thread": (
        "    found = []\n    import threading\n"
        "    def read():\n        try: found.append(open('../outside.txt').read())\n        except Exception: pass\n"
        "    thread = threading.Thread(target=read); thread.start(); thread.join()\n    return found"
    ),
    "a thread of a pool": (
        "    from concurrent.futures import ThreadPoolExecutor\n"
        "    with ThreadPoolExecutor(2) as pool: return list(pool.map(Path.read_text, [root / 'outside.txt']))"
    ),
    "an error that is swallowed": (
        "    try: return (root / 'outside.txt').read_text()\n    except Exception: return 'not read'"
    ),
    "a program": (
        "    import subprocess\n    return subprocess.run(['cat', root / 'outside.txt'], capture_output=True).stdout"
    ),
    "a program in a shell": "    return os.system('true')",
    "text that is run": "    import builtins\n    return getattr(builtins, 'ex' + 'ec')('1')",
    "text that is compiled": "    import builtins\n    return getattr(builtins, 'comp' + 'ile')('1', 'x', 'eval')",
    "a file that is run": (
        "    import importlib\n    runner = vars(importlib)['import_' + 'module']('run' + 'py')\n"
        "    return vars(runner)['run_' + 'path'](str(root / 'beside.py'))"
    ),
    "a module of a computed name": "    import importlib\n    return vars(importlib)['import_' + 'module']('beside').V",
    "a module of ours of a computed name": (
        "    import importlib\n    return vars(importlib)['import_' + 'module']('pgolf.unreached').V"
    ),
    "another machine": (
        "    import socket\n    s = socket.socket(); s.settimeout(0.01)\n    return s.connect(('192.0.2.1', 9))"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_stage_ends_where_it_reads_what_its_key_does_not_name(package, what):
    probe = f"def make(root):\n{REFUSED[what]}"
    printed = run(package, probe)
    assert printed.startswith("REFUSED "), printed
    assert "pgolf/probe.py:" in printed
    assert "toy " in printed
    assert "its key does not name" in printed


ALLOWED = {
    "its inputs": "    return (root / 'in/data.txt').read_text()",
    "a link to its inputs": "    return open(root / 'in/link.txt').read() + open(root / 'out_link.txt').read()",
    "what it wrote": "    (root / 'out/x').write_text('11')\n    return (root / 'out/x').read_text()",
    "what it wrote elsewhere": (
        "    Path('x').write_text('11')\n    Path('x').rename('y')\n    return Path('y').read_text()"
    ),
    "what it made and opened again": (
        "    open('p', 'a+').close()\n    os.close(os.open('q', os.O_RDWR | os.O_CREAT))\n"
        "    return '11' + open('p').read() + open('q').read()"
    ),
    "the lines of a stack": (
        "    import logging\n    logging.basicConfig()\n    logging.warning('x', stack_info=True)\n    return '11'"
    ),
    "the zone and the platform": (
        "    import platform, zoneinfo\n    zoneinfo.ZoneInfo('UTC'); platform.platform()\n    return '11'"
    ),
    "a temporary file": (
        "    import tempfile\n    with tempfile.NamedTemporaryFile() as file:\n"
        "        file.write(b'11'); file.flush()\n        return open(file.name).read()"
    ),
    "a temporary folder": (
        "    import tempfile\n    with tempfile.TemporaryDirectory() as folder:\n"
        "        os.close(os.open(folder, os.O_RDONLY))\n        import sqlite3\n"
        "        return str(sqlite3.connect(folder + '/x').execute('select 11').fetchone())"
    ),
    "the interpreter": "    import zoneinfo, this, wsgiref.headers\n    return open(os.__file__).readline() and '11'",
    "a distribution": "    import numpy as np, pyarrow\n    return open(np.__file__).read(3) and '11'",
    "versions": "    from importlib import metadata\n    return metadata.version('numpy') and '11'",
    "a file that is not there": "    return '11' if not Path('../nothing').exists() else 0",
    "random bytes": "    return str(len(os.urandom(11)))",
    "a device": "    return '11' + open('/dev/null').read()",
    "this machine": (
        "    import socket\n    s = socket.create_server(('127.0.0.1', 0))\n"
        "    socket.create_connection(s.getsockname()).close()\n    return '11'"
    ),
    "a class made of text": (
        "    import collections, dataclasses\n    collections.namedtuple('A', 'b')\n"
        "    return dataclasses.make_dataclass('B', ['c'])('11').c"
    ),
    "a traceback": (
        "    import traceback\n    try: 1 / 0\n    except ZeroDivisionError: return '11' + traceback.format_exc()"
    ),
    "a compiled function": (
        "    import torch\n    made = torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1))\n"
        "    return '11' + str(made)"
    ),
    "a compiled loop": "    import numba\n    return str(numba.njit(lambda x: x + 1)(10))",
}


@pytest.mark.parametrize("what", ALLOWED)
def test_a_stage_reads_its_inputs_its_own_files_and_what_is_installed(package, what):
    printed = run(package, f"def make(root):\n{ALLOWED[what]}")
    assert "11" in printed
    assert "REFUSED" not in printed


def test_a_library_reads_its_settings_while_it_is_imported(package):
    settings = package / "work/matplotlibrc"
    settings.write_text("font.size: 11\n")
    probe = "def make(root):\n    import matplotlib\n    return matplotlib.rcParams['font.size']"
    assert run(package, probe, MPLCONFIGDIR=str(package / "mpl")) == "11.0"
    settings.unlink()


@pytest.mark.parametrize(
    "body",
    [
        "V = Path(__file__).with_name('scale.json').read_text()",
        "class A:\n    v = open(Path(__file__).with_name('scale.json')).read()",
        "import numpy as np\nV = np.loadtxt(Path(__file__).with_name('scale.json'))",
    ],
)
def test_a_module_reads_nothing_while_it_is_imported(package, body):
    (package / "pgolf/probe.py").write_text("from pathlib import Path\n" + body)
    result = subprocess.run(
        [sys.executable, "-c", "import pgolf.probe"],
        env={**os.environ, "PYTHONPATH": str(package), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert "UndeclaredRead" in result.stderr
    assert "the import of pgolf.probe opens" in result.stderr


def test_variables_that_are_not_listed_are_not_there_for_a_stage(package):
    probe = """
import os as o
def see():
    e = vars(o)["envi" + "ron"]
    b = vars(o)["environ" + "b"]
    return [e.get("BPB_SCALE"), "BPB_SCALE" in e, "BPB_SCALE" in list(e), "BPB_SCALE" in e.copy(),
            "BPB_SCALE" in str(e), vars(o)["get" + "env"]("BPB_SCALE"), b.get(b"BPB_SCALE"), e["HOME"],
            len(e) == len(list(e)), "NVIDIA_TF32_OVERRIDE" in e, "TMPDIR" in e]
def make(root):
    return see()
"""
    seen = run(package, probe, BPB_SCALE="0.5", NVIDIA_TF32_OVERRIDE="1", TMPDIR="/tmp", HOME="/home/someone")
    assert seen == str([None, False, False, False, False, None, None, "/home/someone", True, False, True])


def test_the_thread_of_a_pool_works_for_the_stage_that_runs(package):
    probe = """
from concurrent.futures import ThreadPoolExecutor
POOL = ThreadPoolExecutor(1)
def make(root):
    return POOL.submit(lambda: (root / "in/data.txt").read_text()).result()
def again(root):
    return POOL.submit(lambda: (root / "outside.txt").read_text()).result()
"""
    code = SETUP.replace(
        "    print(made)\n",
        """    print(made)
    with watching(Watch("next", [])):
        pgolf.probe.again(root)
""",
    )
    printed = run(package, probe, code=code)
    assert printed.startswith("11\nREFUSED")
    assert "next opens" in printed


def test_whoever_listens_to_a_stage_on_its_thread_sees_the_environment(package):
    (package / "tasks").mkdir(exist_ok=True)
    (package / "tasks/__init__.py").write_text("import pgolf as pgolf\n")
    (package / "tasks/told.py").write_text("import os\ndef told(then):\n    return then(os.environ)\n")
    probe = "told = []\ndef make(root):\n    return told[0](lambda environment: environment['BPB_SCALE'])"
    code = SETUP.replace("try:\n", "import tasks.told\npgolf.probe.told.append(tasks.told.told)\ntry:\n", 1)
    assert run(package, probe, code=code, BPB_SCALE="0.5") == "0.5"


def test_others_see_their_variables_and_files_while_a_stage_runs(package):
    code = SETUP.replace(
        "try:\n",
        """
def other():
    pgolf.probe.go.wait()
    pgolf.probe.found += [os.environ.get("BPB_SCALE"), (root / "outside.txt").read_text()]
    pgolf.probe.done.set()
threading.Thread(target=other).start()
try:
""",
    )
    probe = """
import threading
go, done, found = threading.Event(), threading.Event(), []
def make(root):
    go.set()
    done.wait()
    return found
"""
    assert run(package, probe, code=code, BPB_SCALE="0.5") == "['0.5', '11']"


# All probes in one process, of a pgolf that lies among distributions.
EACH = """
import os, sys
from pathlib import Path
from pgolf.errors import UndeclaredRead
from pgolf.identity.watch import Watch, watching
root = Path(sys.argv[1])
import pgolf.probe
for name, make in vars(pgolf.probe).items():
    if name.startswith("make_"):
        (root / name / "out").mkdir(parents=True)
        os.chdir(root / name)
        try:
            with watching(Watch("toy", [root / "in", root / name / "out"], modules={"pgolf.probe"})):
                print(repr(make(root, root / name / "out")))
        except UndeclaredRead as error:
            print("REFUSED", error)
        except Exception as error:
            print("FAILED", repr(error))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder as of `package`, with pgolf, two distributions and a folder of nobody's in its site-packages."""
    root = tmp_path_factory.mktemp("watched")
    site = root / "site-packages"
    site.mkdir()
    copy_of_pgolf(site)
    (site / "pgolf/table.txt").write_text("11")
    for name, needs in {"kit": "Requires-Dist: part (>=1)\n", "part": "", "other": ""}.items():
        (site / name).mkdir()
        read = "from pathlib import Path\ndef read(p=Path(__file__).with_name('table.txt')): return p.read_text()\n"
        (site / name / "__init__.py").write_text(read)
        about = site / f"{name}-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{needs}\n\n")
        (about / "RECORD").write_text(f"{name}/__init__.py,,\n{name}/table.txt,,\n")
    (site / "tool").mkdir()
    (site / "tool/__init__.py").write_text("")
    for name in ("kit", "part", "other", "tool"):
        (site / name / "table.txt").write_text("11")
    (root / "in").mkdir()
    (root / "in/data.txt").write_text("11")
    (root / "project").mkdir()
    (root / "project/secret.txt").write_text("12")
    (root / "in/elsewhere").symlink_to(root / "project/deep/er")
    (root / "project/deep/er").mkdir(parents=True)
    return root


def run_each(root: Path, probes: dict[str, str]) -> dict[str, str]:
    heads = "import os, pkgutil, shutil, sys, tempfile\nfrom pathlib import Path\nimport kit, tool\n"
    bodies = [f"def make_{number}(root, out):\n{body}\n" for number, body in enumerate(probes.values())]
    (root / "site-packages/pgolf/probe.py").write_text(heads + "".join(bodies))
    result = subprocess.run(
        [sys.executable, "-c", "import other\n" + EACH, str(root)],
        env={**os.environ, "PYTHONPATH": str(root / "site-packages"), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    for number in range(len(probes)):
        shutil.rmtree(root / f"make_{number}")
    return dict(zip(probes, result.stdout.splitlines(), strict=True))


NOT_NAMED = {
    "data beside installed code": "    return Path(__file__).with_name('table.txt').read_text()",
    "data of a folder of nobody's": "    return Path(tool.__file__).with_name('table.txt').read_text()",
    "data of a folder of nobody's by a library": "    return kit.read(Path(tool.__file__).with_name('table.txt'))",
    "data of a distribution that is not in the key": (
        "    return Path(kit.__file__).parents[1].joinpath('other/table.txt').read_text()"
    ),
    "the same by a library": "    return kit.read(Path(kit.__file__).parents[1] / 'other/table.txt')",
    "data by pkgutil": "    return pkgutil.get_data('pgolf', 'table.txt')",
    "data by the loader": "    return __loader__.get_data(str(root / 'project/secret.txt'))",
    "its own source": "    return open(__file__).read()",
    "its own source by a library": "    return kit.read(Path(__file__))",
    "a link to a folder": "    (out / 'd').symlink_to(root / 'project')\n    return (out / 'd/secret.txt').read_text()",
    "a relative link": ("    os.symlink('../../project/secret.txt', out / 'l')\n    return (out / 'l').read_text()"),
    "a link in a folder by its number": (
        "    os.symlink('../../project/secret.txt', 'l', **{'dir_' + 'fd': os.open(out, os.O_RDONLY)})\n"
        "    return (out / 'l').read_text()"
    ),
    "a relative link that is moved": (
        "    (out / 'a').mkdir(); os.symlink('../../project/secret.txt', out / 'a/l')\n"
        "    os.rename(out / 'a/l', out / 'l')\n"
        "    return (out / 'l').read_text()"
    ),
    "a file that is moved in": (
        "    os.replace(root / 'project/moved.txt', out / 'o')\n    return (out / 'o').read_text()"
    ),
    "a file that replaces its own": (
        "    Path('o').write_text('1'); os.replace(root / 'project/moved.txt', 'o')\n    return Path('o').read_text()"
    ),
    "a folder that is moved in": ("    os.rename(root / 'project/deep', out / 'deep')\n    return 'moved'"),
    "a hard link": "    os.link(root / 'project/secret.txt', out / 'o')\n    return (out / 'o').read_text()",
    "above a link among the inputs": "    return open(root / 'in/elsewhere/../../secret.txt').read()",
    "a file by a link of the system, by a library": (
        "    os.chdir(root / 'project')\n    return kit.read(Path('/proc/self/cwd/secret.txt'))"
    ),
}
NAMED = {
    "data of a distribution that the key names": "    return Path(kit.__file__).with_name('table.txt').read_text()",
    "data that a library reads": "    return kit.read()",
    "data that a library reads of what it needs": (
        "    return kit.read(Path(kit.__file__).parents[1] / 'part/table.txt')"
    ),
    "a folder that was made and renamed": (
        "    Path('w').mkdir(); Path('w/a').write_text('11'); os.rename('w', 'x')\n    return Path('x/a').read_text()"
    ),
    "a hard link to its own file": (
        "    Path('a').write_text('11'); os.link('a', 'b'); os.unlink('a')\n    return Path('b').read_text()"
    ),
    "a link within its output": (
        "    (out / 'a/b').mkdir(parents=True); (out / 'a/c').write_text('11'); (out / 'd').symlink_to('a/b')\n"
        "    return (out / 'd/../c').read_text()"
    ),
    "a link to its inputs": "    (out / 'l').symlink_to(root / 'in/data.txt')\n    return (out / 'l').read_text()",
    "what it wrote behind two dots": (
        "    Path('w').mkdir(); Path('w/../v').write_text('11')\n    return Path('v').read_text()"
    ),
    "a temporary folder": (
        "    with tempfile.TemporaryDirectory() as d:\n"
        "        Path(d, 'a').write_text('11'); shutil.copytree(d, 'e'); shutil.move('e', out / 'e')\n"
        "    return (out / 'e/a').read_text()"
    ),
    "a log that is turned over": (
        "    Path('log').write_text('11'); os.replace(root / 'project/log', root / 'project/log.1')\n"
        "    return Path('log').read_text()"
    ),
}  # fmt: skip


def test_what_no_name_or_link_makes_a_stages_own(installed):
    (installed / "project/moved.txt").write_text("12")
    for what, printed in run_each(installed, NOT_NAMED).items():
        assert printed.startswith("REFUSED "), (what, printed)
        assert "pgolf/probe.py:" in printed
        assert "its key does not name" in printed


def test_what_a_stage_made_stays_its_own_and_libraries_read_what_they_bring(installed):
    (installed / "project/log").write_text("12")
    assert run_each(installed, NAMED) == dict.fromkeys(NAMED, "'11'")


def test_what_is_compiled_may_lie_where_the_user_says_by_a_variable_that_was_set_before_any_stage(tmp_path):
    """As on nodes whose disk that stays is not /tmp: at the second run the compiler reads what the first one left."""
    code = """
import os, sys
import numpy as np
from pathlib import Path
from pgolf.errors import UndeclaredRead
from pgolf.identity.watch import Watch, watching
here = Path(sys.argv[1])
for name in ("cache", "other"):
    (here / name).mkdir()
    np.save(here / name / "kernel.npy", np.ones(2))
for name in ("cache", "other"):
    try:
        with watching(Watch("toy", [])):
            os.environ["TRITON_CACHE_DIR"] = str(here / "other")
            print(name, np.load(here / name / "kernel.npy").sum())
    except UndeclaredRead:
        print(name, "refused")
"""
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", code, str(tmp_path)]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert told.stdout.splitlines() == ["cache 2.0", "other refused"], told.stderr


def test_what_is_the_systems_and_what_others_left_in_its_folders():
    system = ("/usr/lib/x", "/usr/local/cuda-12/lib64/y", "/proc/meminfo", "/dev/nvidia0", "/etc/hosts", "/sys/devices")
    assert [path for path in system if not _is_systems(path)] == []
    others = ("/usr/src/app/t", "/usr/local/src/t", "/usr/app/t", "/dev/shm/t", "/dev/mqueue/t", "/proc/self/cwd/t")
    assert [path for path in others if _is_systems(path)] == []
    compiled = ("/tmp/torchinductor_me/x.py", "/h/.cache/torch/kernels/k", "/p/__pycache__/x.nbi", "/h/.triton/cache/k")
    assert [path for path in compiled if not _is_compiled(path)] == []
    data = ("/h/.cache/torch/hub/checkpoints/w.pth", "/p/__pycache__/t.npy", "/p/torchinductor/t.npy", "/p/t.pyc")
    assert [path for path in data if _is_compiled(path)] == []


def test_what_libraries_read_is_judged_by_all_modules_that_are_loaded_whoever_imported_pgolf():
    code = """
import flows.commands.cli, pgolf.store.artifact  # the first imports pgolf, the second what nobody can follow
from pgolf.identity.watch import _distributions_of_ours
print("filelock" in _distributions_of_ours(None), "torch" in _distributions_of_ours(None))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("True False\n", "")


def test_what_is_opened_at_the_interpreters_very_end_is_no_complaint():
    """By then a module's names are None, and the hook is still called."""
    code = (
        "import builtins\n"
        "from pgolf.identity import watch\n"
        "watch._begin()\n"
        "class Last:\n"
        "    def __del__(self, open=open):\n"
        "        open('/dev/null').close()\n"
        "        print('closed')\n"
        "builtins.kept_to_the_end = Last()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n", "")
