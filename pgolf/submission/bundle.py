"""Bundles a recipe and all the code that it needs into one self-contained script.

Its bytes are what the code takes of the budget. The modules travel without comments, docstrings and the descriptions
of config fields, as one compressed stream (`pgolf.submission.script`) that unpacks and imports itself; what runs is
`pgolf.submission.standalone`.
"""

import ast
import json
from pathlib import Path
from typing import Any

from pgolf.identity.closure import Module, is_bare_string, syntax_tree, walk_closure
from pgolf.identity.parse_cache import ParseCache, beside
from pgolf.mix.config import MixConfig
from pgolf.recipes.recipe import Recipe
from pgolf.submission.script import script_of

# What the script can do: its own commands, and every stage they run. Stages that make data stay at home.
ENTRIES = ("pgolf.submission.standalone",)

# Sections of a recipe that decide what the script does; the others say where data comes from and what is shown.
SECTIONS = ("model", "train", "calibrate", "compress", "score", "count")

# Settings take a whole number of these, filled up with spaces: code_bytes is part of what compress is made from, and
# another stride or n-gram order must not pack the model again.
SETTINGS_BYTES = 2048

_BARE_CODE: dict[bytes, str] = {}
_KEPT = ParseCache(beside(__name__, "bare"), (__name__, "pgolf.identity.closure"))
_BODIES = ("body", "orelse", "finalbody")

# An importer of modules that are text. `get_source` lets tracebacks and compilers show lines.
_PROGRAM = """\
import importlib.abc,importlib.util,json,sys
M=json.loads({modules})
class I(importlib.abc.MetaPathFinder,importlib.abc.InspectLoader):
 def find_spec(s,n,p,t=None):
  if n in M:return importlib.util.spec_from_loader(n,s,origin=f"{{P}}:{{n}}",is_package=M[n][0])
 def is_package(s,n):return M[n][0]
 def get_source(s,n):return M[n][1]
sys.meta_path.insert(0,I())
def start(a,p):
 global P
 P=p
 del sys.modules["pgolf"]
 from pgolf.submission.standalone import main
 return main(a,json.loads(R),p)
"""


def bundle(recipe: Recipe, *, root: Path | None = None) -> bytes:
    """The script, UTF-8. root: the folder that holds the packages (default: the code that runs).

    The same recipe and code give the same bytes; comments, layout and names of folders do not enter. Of the grid of
    mixtures it evaluates the headline alone. Raises ConfigError like `import_closure`.
    """
    settings = repr(json.dumps(_settings(recipe), separators=(",", ":")))
    padded = settings.ljust(-(-len(settings) // SETTINGS_BYTES) * SETTINGS_BYTES)
    return script_of(_program(root), f"m.R={padded}".encode())


def _settings(recipe: Recipe) -> dict[str, Any]:
    sections: dict[str, Any] = {
        name: getattr(recipe, name).model_dump(mode="json", exclude_defaults=True) for name in SECTIONS
    }
    hint = recipe.hint.model_dump(mode="json", exclude_defaults=True) if recipe.hint else None
    mix = _headline(recipe).model_dump(mode="json", exclude_defaults=True)
    return sections | {"estimators": recipe.estimators, "hint": hint, "mix": mix}


def _headline(recipe: Recipe) -> MixConfig:
    """The recipe's grid with the headline's mixture alone, and all that have no grid."""
    headline, mix = recipe.headline, recipe.mix
    if not recipe.estimators:
        return mix
    chosen: dict[str, Any] = {"mixers": (headline.mixer,), "orders": (headline.order,), "also": (), "bayes": ()}
    if headline.alpha is not None and headline.mixer != "adaptive":
        chosen["alphas"] = (headline.alpha,)
    for name in ("min_counts", "entropy_bases", "entropy_ranges", "entropy_slopes", "entropy_thresholds"):
        chosen[name] = getattr(mix, name)[:1]
    return MixConfig.model_validate(dict(mix) | chosen)


def _program(root: Path | None) -> str:
    found = sorted(
        (module.name, (module.path.name == "__init__.py", _bare_code(module)))
        for module in walk_closure(*ENTRIES, root=root)
    )
    text = json.dumps({"pgolf": (True, "")} | dict(found), ensure_ascii=False, separators=(",", ":"))
    return _PROGRAM.format(modules=repr(text))


def _bare_code(module: Module) -> str:
    """A module as a machine needs it."""
    if module.text not in _BARE_CODE:
        bare = _KEPT.get(module.name, module.text)
        if bare is None:
            # Parsing again is only needed where the stages' keys were asked for first.
            bare = ast.unparse(_ForMachines().visit(module.tree or syntax_tree(module.text)))
            _KEPT.put(module.name, module.text, bare)
        _BARE_CODE[module.text] = bare
    return _BARE_CODE[module.text]


class _ForMachines(ast.NodeTransformer):
    """Drops what people read and type checkers check, and what needs files: docstrings, descriptions of fields,
    annotations of functions, caches of compiled loops. Annotations of classes stay: they declare the fields of configs
    and records.
    """

    def __init__(self) -> None:
        self.in_function = False

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for field in _BODIES:
            body = getattr(node, field, None)
            if isinstance(body, list):
                kept = [statement for statement in body if not is_bare_string(statement)]
                if len(kept) < len(body):
                    setattr(node, field, kept or ([] if isinstance(node, ast.Module) else [ast.Pass()]))
        return super().generic_visit(node)

    def visit_FunctionDef(self, function: ast.FunctionDef) -> ast.FunctionDef:
        outer, self.in_function = self.in_function, True
        self.generic_visit(function)
        self.in_function = outer
        function.returns = None
        return function

    def visit_ClassDef(self, cls: ast.ClassDef) -> ast.ClassDef:
        outer, self.in_function = self.in_function, False
        self.generic_visit(cls)
        self.in_function = outer
        return cls

    def visit_arg(self, argument: ast.arg) -> ast.arg:
        argument.annotation = None
        return argument

    def visit_AnnAssign(self, assignment: ast.AnnAssign) -> ast.stmt:
        self.generic_visit(assignment)
        if not self.in_function:
            return assignment
        if assignment.value is None:
            return ast.Pass()
        return ast.Assign(targets=[assignment.target], value=assignment.value, lineno=assignment.lineno)

    def visit_Call(self, call: ast.Call) -> ast.Call:
        self.generic_visit(call)
        dropped = {"Field": "description", "njit": "cache"}.get(_called(call), "")
        call.keywords = [keyword for keyword in call.keywords if keyword.arg != dropped]
        return call


def _called(call: ast.Call) -> str:
    """The last name of what is called: Field, or njit of numba.njit."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""
