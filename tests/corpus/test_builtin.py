"""The built-in corpus: what is in it, in which order, and what a bare installation gives."""

import ast
import warnings
from pathlib import Path

import pytest

from pgolf.corpus.builtin import builtin_documents, identity, module_text, stdlib_folder, topics
from pgolf.errors import DocumentError

LONG = "All work and no play makes a dull corpus. " * 6


@pytest.fixture
def stdlib(tmp_path: Path) -> Path:
    """A made-up standard library: two topics, three modules, and what must be left out."""
    files = {
        "pydoc_data/topics.py": f"# generated\ntopics = {{'while': 'W {LONG}', 'assert': 'A {LONG}', 'in': 'short'}}\n",
        "alpha.py": f'"""Alpha. {LONG}"""\nimport nothing_like_this\nraise SystemExit\n',
        "pkg/__init__.py": f'"""Pkg. {LONG}"""\n',
        "pkg/small.py": '"""Too short."""\n',
        "test/test_alpha.py": f'"""Left out. {LONG}"""\n',
        "pkg/tests/deep.py": f'"""Left out. {LONG}"""\n',
        "site-packages/other.py": f'"""Left out. {LONG}"""\n',
        "idlelib/editor.py": f'"""Left out. {LONG}"""\n',
        "broken.py": f'"""Left out. {LONG}"""\nprint "python 2"\n',
        "old.py": f'"""Old \\d escape. {LONG}"""\n',
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def test_topics_and_modules_are_documents_and_the_rest_is_left_out(stdlib: Path) -> None:
    assert sorted(text.split()[0] for text in builtin_documents(stdlib)) == ["A", "Alpha.", "Old", "Pkg.", "W"]


def test_the_order_does_not_depend_on_where_a_text_lies(stdlib: Path) -> None:
    before = builtin_documents(stdlib)
    (stdlib / "alpha.py").rename(stdlib / "zulu.py")
    assert builtin_documents(stdlib) == before


def test_a_module_is_all_its_docstrings_in_source_order() -> None:
    source = '''
"""Module."""
if True:
    def first():
        """First,

            indented,
        not indented.
        """
        def inner():
            "Inner."
class Second:
    """Second."""
    async def method(self):
        """Method."""
    value = """no docstring"""
def bare(): pass
'''
    paragraphs = ["Module.", "First,", "    indented,\nnot indented.", "Inner.", "Second.", "Method."]
    assert module_text(ast.parse(source)) == "\n\n".join(paragraphs)


def test_a_lone_surrogate_in_a_docstring_is_dropped() -> None:
    assert module_text(ast.parse('"""a\\ud800b"""')) == "ab"


def test_an_installation_without_topics_gives_the_modules(stdlib: Path) -> None:
    (stdlib / "pydoc_data/topics.py").unlink()
    assert topics(stdlib) == []
    assert sorted(text.split()[0] for text in builtin_documents(stdlib)) == ["Alpha.", "Old", "Pkg."]


def test_an_installation_without_sources_is_an_error(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "python311.zip"):
        with pytest.raises(DocumentError, match="no pydoc topics and no standard-library sources"):
            builtin_documents(folder)


def test_identity_changes_with_any_source_that_is_read_and_with_no_other(stdlib: Path) -> None:
    before = identity(stdlib)
    (stdlib / "test/test_alpha.py").write_text("other")
    assert identity(stdlib) == before
    seen = {before}
    for name in ("alpha.py", "pkg/small.py", "pydoc_data/topics.py"):
        (stdlib / name).write_text((stdlib / name).read_text() + "\n")
        seen.add(identity(stdlib))
    assert len(seen) == 4


def test_this_python_carries_a_corpus_worth_training_on() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        documents = builtin_documents()
    assert len(documents) > 200
    assert sum(map(len, documents)) > 1_000_000
    assert len(set(documents)) == len(documents)
    assert min(map(len, documents)) >= 200
    assert (stdlib_folder() / "ast.py").is_file()
