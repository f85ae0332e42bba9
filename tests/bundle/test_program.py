"""The steps that make a program small, each on a few lines."""

import ast
import itertools

import pytest

from bench.bundle_reserved import reserved
from pgolf.bundle.bare import bare
from pgolf.bundle.calls import fixed_arguments, fixed_attributes
from pgolf.bundle.constants import fold
from pgolf.bundle.dead import drop_dead_locals, drop_unread_attributes
from pgolf.bundle.flat import flatten
from pgolf.bundle.kinds import kinds_of, local_kinds, note_kinds
from pgolf.bundle.known import There, known
from pgolf.bundle.layout import source_of
from pgolf.bundle.names import shorten
from pgolf.bundle.reachable import reachable
from pgolf.bundle.reserved_names import RESERVED
from pgolf.config import StageConfig
from pgolf.errors import ConfigError
from pgolf.model.config import ModelConfig
from pgolf.train.config import TrainConfig


class Pair(StageConfig):
    one: TrainConfig
    other: TrainConfig


CONFIG = "class Config:\n    def __init__(self, **given):\n        self.__dict__.update(given)\n"


def folded(source: str, **known: object) -> str:
    """The statements after what a Config is known to have, put in and cleared."""
    tree = ast.parse(CONFIG + source)
    note_kinds(tree)
    kinds = kinds_of(tree.body, {"Config": "Config"})
    for statement in tree.body[1:]:
        fold(statement, {"Config": known}, kinds, {}, {}, {})
        drop_dead_locals(statement)
    return ast.unparse(tree.body[1:])


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("if config.a:\n  return 1\n return 2", "return 2"),
        ("x = 1 if config.a is None else 2\n return x", "return 1"),
        ("return not config.a and config.b == 'gptq' or f()", "return True"),
        ("other = config\n return other.b", "return 'gptq'"),
        ("config = f()\n return config.a", "config = f()\n    return config.a"),
        ("for x in config.c:\n  f(x)\n return [x for x in config.c]", "return []"),
        ("yield 1\n yield from config.c", "yield 1"),
        ("return lambda config: config.a", "return lambda config: config.a"),
        ("if config.a is None:\n  return\n yield 1", "return\n    yield"),
        ("return f(config.d) if config.d is not None and config.d else None", "return f(config.d)"),
        ("return config.d > 0", "return config.d > 0"),
    ],
)
def test_what_is_known_is_put_in_and_what_it_rules_out_goes(body, left):
    text = folded(f"def run(config: Config):\n {body}\n", a=None, b="gptq", c=(), d=There(frozenset()))
    assert text.partition("\n")[2].strip() == left


def test_of_numbers_it_is_known_whether_they_are_0_and_none_other():
    found = known(ModelConfig(bigram_buckets=0), frozenset())["ModelConfig"]
    assert (found["bigram_buckets"], found["width"]) == (0, There(frozenset()))
    both = known(Pair(one=TrainConfig(clip_norm=1.0), other=TrainConfig(clip_norm=2.0, warmdown_steps=0)), frozenset())
    assert both["TrainConfig"]["clip_norm"] == There(frozenset())
    assert "warmdown_steps" not in both["TrainConfig"]


def test_an_expression_without_a_certain_class_is_left_alone():
    for parameter in ("config", "config: 'Config | Other'", "config: Other"):
        assert "config.a" in folded(f"def run({parameter}):\n return config.a\n", a=None)


def test_folding_gives_the_values_that_the_program_gives():
    source = (
        "def run(config: Config, x):\n"
        " found = []\n"
        " if config.a and x or not config.b:\n  found.append(config.b)\n"
        " elif config.a is None:\n  found.append(1)\n"
        " else:\n  return (config.a if x else config.b), found\n"
        " return found, config.a == config.b, config.b in (None, 'x')\n"
    )
    for a, b, x in itertools.product((None, "", "x", True, False), (None, "", "x", True, False), (0, 1)):
        results = []
        for text in (CONFIG + source, CONFIG + folded(source, a=a, b=b)):
            namespace: dict[str, object] = {}
            exec(text, namespace)
            results.append(namespace["run"](namespace["Config"](a=a, b=b), x))
        assert results[0] == results[1], (a, b, x)


def test_an_argument_that_never_differs_goes_from_calls_and_signature():
    tree = ast.parse("def f(a, b=2, *, c):\n return a, b\nf(1, c=None)\nf(2, 2, c=None)\ng = [f]\n")
    assert fixed_arguments(tree.body) == {}  # handed on: not every call is known
    tree.body.pop()
    assert {name: value.value for name, value in fixed_arguments(tree.body)["f"].items()} == {"b": 2, "c": None}
    assert ast.unparse(tree) == "def f(a):\n    return (a, b)\nf(1)\nf(2)"


def test_arguments_go_from_methods_and_makers_where_every_call_is_known():
    source = (
        "class A:\n def __init__(self, a, b, c=3):\n  self.a = a + b\n"
        " def add(self, x, unread, *, y=1):\n  return self.a + x + y\n"
        "def use(n):\n return A(n, 2).add(n, n.real, y=5) + A(n, 2).add(1, 0, y=6)\n"
    )
    tree = ast.parse(source)
    found = fixed_arguments(tree.body)
    assert {name: [*own] for name, own in found.items()} == {".add": ["unread"], "A()": ["b", "c"]}
    assert "def add(self, x, *, y):" in ast.unparse(tree)  # every call gives it, so it needs no default
    kinds = kinds_of(tree.body, {})
    for statement in tree.body:
        fold(statement, {}, kinds, found, {}, {})
    namespaces = [{}, {}]
    for namespace, text in zip(namespaces, (source, ast.unparse(tree)), strict=True):
        exec(text, namespace)
    assert namespaces[0]["use"](7) == namespaces[1]["use"](7)


@pytest.mark.parametrize(
    "more",
    [
        "class B:\n def add(self, x):\n  return x\n",  # another class's method of that name
        "f = A(1).add\n",  # handed on
        "getattr(A(1), 'add')(4)\n",
        "A(1).add(*[4])\n",
    ],
)
def test_a_method_keeps_its_arguments_where_a_call_may_be_unknown(more):
    source = "class A:\n def __init__(self, a):\n  self.a = a\n def add(self, x):\n  return x\nA(1).add(2)\n"
    tree = ast.parse(source + more)
    assert ".add" not in fixed_arguments(tree.body)
    assert ".add" in fixed_arguments(ast.parse(source).body)
    assert ".add" not in fixed_arguments(ast.parse(source).body, {"add"})


def test_an_attribute_that_is_one_constant_everywhere_is_put_where_it_is_read():
    source = "class A:\n def __init__(self):\n  self.a = None\ndef f(one):\n return 1 if one.a is None else 2\n"
    assert {name: value.value for name, value in fixed_attributes(ast.parse(source).body, ()).items()} == {"a": None}
    for more in ("def g(one):\n one.a = 3\n", "class B:\n a: int = 4\n", "setattr(x, 'a', 5)\n"):
        assert fixed_attributes(ast.parse(source + more).body, ()) == {}
    assert fixed_attributes(ast.parse(source).body, {"a"}) == {}


def test_a_constant_that_no_one_reads_is_not_given_to_an_attribute():
    source = (
        "class A:\n def __init__(self, b):\n  self.a = None\n  self.b = b\n  self.c, self.a = 1, None\n  self.d = 2\n"
    )
    statements = ast.parse(source + "def f(one):\n return one.d\n").body
    drop_unread_attributes(statements, {"a", "d"})
    left = ast.unparse(statements[0])
    assert "self.a = None" not in left
    assert "self.b = b" in left
    assert "self.c, self.a = (1, None)" in left
    assert "self.d = 2" in left


def test_the_kind_of_an_object_shows_in_mappings_and_in_methods_that_give_their_own_kind():
    source = (
        "class A:\n def of(self) -> Self:\n  return self\nclass B(A):\n pass\n"
        "def f(some: Mapping[str, B], others: Mapping[str, list[B]]):\n x = some['x']\n y = x.of()\n z = others['z']\n"
    )
    tree = ast.parse(source)
    note_kinds(tree)
    kinds = kinds_of(tree.body, {"A": "A", "B": "B"})
    local = local_kinds(tree.body[2], {}, kinds)
    assert (local["some"], local["x"], local["y"]) == ("{B}", "B", "A")  # a B is an A, which is all that is certain
    assert local["z"] == "[B]"


def test_prose_names_nothing_and_abstract_methods_cost_nothing():
    text = joined(
        {
            "pgolf.a": (
                "from abc import ABC, abstractmethod\n"
                "class One(ABC):\n @abstractmethod\n def used(self):\n  pass\n def told(self):\n  return 1\n"
                "class Two(One):\n def used(self):\n  return 'it is told so'\n"
                "def main():\n return Two().used()\n"
            )
        }
    )
    assert "def told" not in text
    assert ast.unparse(bare(ast.parse("class One(ABC):\n @abstractmethod\n def used(self):\n  pass"))).endswith("pass")


MODULES = {
    "pgolf.a": "from pgolf import b\nfrom pgolf.c import run as go\ndef main():\n run = b.run\n return run(), go()\n",
    "pgolf.b": "import json\ndef run():\n from pgolf.c import lazy\n return json.dumps(lazy())\n",
    "pgolf.c": (
        "SIZE = 3\ndef run():\n return One().used()\ndef lazy():\n return SIZE\ndef dead():\n return run()\n"
        "class One:\n def used(self):\n  return SIZE\n def unused(self):\n  return 4\n"
    ),
}


def joined(modules: dict[str, str]) -> str:
    program = flatten([(name, ast.parse(text), False) for name, text in modules.items()], "pgolf.a", {})
    left = reachable(program, {program.own["pgolf.a", "main"]})
    return "\n".join(ast.unparse(one.node) for one in left)


def test_modules_become_one_and_only_what_is_reached_stays():
    text = joined(MODULES)
    namespace: dict[str, object] = {"json": __import__("json")}
    exec(text, namespace)
    assert namespace["main"]() == ("3", 3)
    assert "dead" not in text
    assert "unused" not in text
    assert "import" not in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def main():\n return missing\n", "nothing defines missing"),
        ("from pgolf import b\ndef main():\n return b\n", "a module is handed on whole"),
        ("from library import Base\nclass Own(Base):\n pass\ndef main():\n return Own()\n", "CALLED_BY_BASES"),
    ],
)
def test_what_cannot_be_followed_is_refused(text, says):
    with pytest.raises(ConfigError, match=says):
        joined(MODULES | {"pgolf.a": text})


def test_shorter_names_mean_the_same():
    source = (
        "import json\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Point:\n first: int\n count: int = 2\n"
        " def moved(self, *, distance):\n  return Point(first=self.first + distance, count=self.count)\n"
        "def outer(value, *, factor=1):\n"
        " total = 0\n"
        " def inner(value):\n  nonlocal total\n  total += value * factor\n  return [value for value in range(total)]\n"
        " return inner(value), total, {'factor': factor}, 'abc'.count('b')\n"
        "def start(number):\n"
        " return outer(number, factor=3), Point(number).moved(distance=2).first, json.dumps([number])\n"
    )
    tree = ast.parse(source)
    shorten(tree, frozenset({"start"}), frozenset({"count"}))
    text = source_of(tree)
    namespaces: list[dict[str, object]] = [{"__name__": "x"}, {"__name__": "x"}]
    for namespace, one in zip(namespaces, (source, text), strict=True):
        exec(one, namespace)
    assert namespaces[0]["start"](2) == namespaces[1]["start"](2)
    assert not any(name in text for name in ("outer", "inner", "distance", "total", "moved", "Point"))
    assert ".count(" in text


def test_every_name_of_ours_that_a_library_has_too_is_reserved():
    missing = set(reserved()) - RESERVED
    assert not missing, f"{sorted(missing)}: run `python -m bench.bundle_reserved`"
