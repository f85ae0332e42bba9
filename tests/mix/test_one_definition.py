"""A mixture's probability stands in one place: what is edited there reaches every score, and a new one is a file."""

import ast
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import pgolf
from pgolf.counts.config import CountConfig
from pgolf.mix import grid as grid_module
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.cells import NETWORK
from pgolf.mix.grid import MIXTURES, Grid
from pgolf.mix.log_sums import add_losses
from pgolf.mix.mixture import Mixture, filled
from pgolf.mix.product import USES, Cell
from tests.mixture_losses import counted_unit

ROOT = Path(pgolf.__file__).parent
# File -> (line of its kernel, the same with another meaning, as many characters).
EDITS = {
    "interpolation.py": ("return network * p + ngram * r", "return network * p + ngram / r"),
    "dirichlet.py": ("(full + concentration * p)", "(full - concentration * p)"),
    "tilt.py": ("return p_hint * gain", "return p_hint + gain"),
    "tilt.py, the numerator": ("return tilt if is_target else 0.0", "return min(tilt, 1.0) if is_target else 0.5"),
}
TOGETHER = (("interpolation.py", "tilt.py"), ("dirichlet.py", "tilt.py, the numerator"))
SCORE = """
import json
import numpy as np
from pgolf.counts.config import CountConfig
from pgolf.mix.bayes_config import BayesConfig
from pgolf.mix.grid import Grid, Hints, Unit
from pgolf.mix.product import Cell

def cell(**settings):
    return Cell(**{"order": 2, "min_count": 1, **settings})

counted = {"estimator": "exact", "counts": "counts"}
cells = {
    "interpolation.py": [
        cell(**counted, mixer="backoff", alpha=0.4),
        cell(**counted, mixer="adaptive", entropy_base=0.1, entropy_range=0.2, entropy_slope=1.0,
             entropy_threshold_nats=4.0),
    ],
    "dirichlet.py": [cell(**counted, mixer="dirichlet", concentration=2.0)],
    "tilt.py": [cell(estimator="hint", mixer="tilt", tilt_nats=1.0, tilt_confidence=0.0, tilt_gamma=0.0)],
}
three = np.array([3, 3], np.uint32)
hints = Hints([three], [three], [np.array([True, False])], [np.float32([-1, -2])])
unit = Unit(np.float32([1, 1.5]), np.float32([1, 2]), {"counts": [three, three - 1]}, hints)
found = {}
for file, members in cells.items():
    followed = (BayesConfig(share_rate=0.1), members)
    grid = Grid(members, {"counts": CountConfig(orders=(2,), estimator="exact")}, hinted=(2,), bayes=[followed])
    found[file] = [*map(float, grid.run([unit]).loss_nats), float(grid.mixed()[0].loss_nats)]
print(json.dumps(found))
"""


def scores(root: Path) -> dict[str, list[float]]:
    """Losses of the cells of each file, then of a mixture that follows them, by the code in a folder."""
    command = [sys.executable, "-W", "error", "-c", SCORE]
    environment = {"PYTHONPATH": str(root), "HOME": str(root)}
    done = subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> tuple[Path, dict[str, list[float]]]:
    """A copy of our code with its compiled loops on the disk, and what it scores."""
    root = tmp_path_factory.mktemp("compiled")
    shutil.copytree(ROOT, root / "pgolf")  # what was compiled before goes by content
    first = scores(root)
    assert list((root / "pgolf/mix/__pycache__").glob("*/*.nbc"))
    return root, first


@pytest.mark.parametrize("names", TOGETHER)
def test_an_edit_of_the_definition_changes_sums_and_members_though_the_compiled_code_is_on_disk(
    compiled, tmp_path, names
):
    """A loop that kept an old kernel would go on with the old number, and nobody would know."""
    root, first = compiled
    shutil.copytree(root / "pgolf", tmp_path / "pgolf")  # with times: what was compiled stays valid
    files = {name.partition(",")[0] for name in names}
    for name in names:
        path = tmp_path / "pgolf/mix" / name.partition(",")[0]
        source = path.read_text()
        before, after = EDITS[name]
        assert source.count(before) == 1
        path.write_text(source.replace(before, after))
    edited = scores(tmp_path)
    for file, losses in first.items():
        assert all((old != new) == (file in files) for old, new in zip(losses, edited[file], strict=True)), file
    for *alone, followed in (*first.values(), *edited.values()):
        if len(alone) == 1:  # the sum and the member follow from the same definition, whatever it says
            assert followed == pytest.approx(alone[0], rel=1e-12)


def compiled_functions(path):
    """Name of each function under numba's decorator -> its tree; and names that the file imports, by module."""
    tree = ast.parse(path.read_text())
    functions = {
        node.name: node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and any("njit" in ast.unparse(mark) for mark in node.decorator_list)
    }
    imported = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return functions, imported


def test_no_compiled_function_reads_anything_of_ours_from_another_file():
    """Its code on disk is checked against its own file: what another file defines would be kept as it was."""
    found = 0
    for path in sorted(ROOT.rglob("*.py")):
        functions, imported = compiled_functions(path)
        found += len(functions)
        for function in functions.values():
            names = {node.id for part in function.body for node in ast.walk(part) if isinstance(node, ast.Name)}
            foreign = {
                name for name in names & imported.keys() if (imported[name][0] or "").split(".")[0] in ("", "pgolf")
            }
            assert not foreign, f"{path.name}: {function.name} reads {', '.join(sorted(foreign))} of another file"
    assert found > 15


def test_every_mixer_belongs_to_one_mixture():
    assert Counter(mixer for kind in MIXTURES for mixer in kind.mixers) == Counter([*USES])


class Uniform(Mixture):
    """Half the network, half 1/1000: all that a new mixture's file must hold."""

    mixers = frozenset({"uniform"})

    def __init__(self, cells):
        self._cells = np.array([*cells])

    @classmethod
    def groups(cls, cells, counts, hinted):
        return [cls(cells)] if cells else []

    def tiles(self, unit):
        def fill(out_AK, rows, part):
            out_AK[:] = 0.5 * unit.p_T[part] + 0.5e-3

        yield from filled(self._cells, unit.place_T, fill)

    def score(self, unit, scores):
        scores.add(self.tiles(unit), add_losses)
        scores.matched[self._cells] = len(unit)


def test_a_mixture_that_the_grid_has_never_heard_of_is_scored_summed_and_followed(monkeypatch):
    monkeypatch.setattr(grid_module, "MIXTURES", (*MIXTURES, Uniform))
    loss_T = np.random.default_rng(1).exponential(3, 3000).astype(np.float32)
    loss_T[:3] = 760, 1e4, 1e30
    unit = counted_unit(loss_T, [np.ones(3000)], [np.zeros(3000)])
    counts = {"counts": CountConfig(orders=(2,), estimator="exact")}
    cells = [NETWORK, Cell(estimator="exact", counts="counts", mixer="uniform", order=2)]
    grid = Grid(cells, counts, bayes=[(BayesConfig(share_rate=0.1), cells[1:])])
    totals = grid.run([unit])
    expected = -np.log(0.5 * np.exp(-loss_T.astype(np.float64)) + 0.5e-3).sum()
    assert totals.loss_nats[1] == pytest.approx(expected, rel=1e-12)
    assert totals.matched.tolist() == [0, 3000]
    assert grid.mixed()[0].loss_nats == pytest.approx(expected, rel=1e-12)
