"""What is built from files that do not stay, and who is told meanwhile."""

import json
import os
import subprocess
import sys

import pytest

from pgolf.corpus import tokenize_stage
from pgolf.errors import StoreError
from pgolf.pipeline.build import build_node
from pgolf.pipeline.graph import pipeline
from pgolf.pipeline.listen import Silence
from pgolf.run_options import RunOptions
from pgolf.store.artifact import Store
from pgolf.store.content import Memo
from tests.tiny import tiny_recipe, write_documents


def test_documents_that_go_while_they_are_read_are_said_to_be_gone_and_nothing_is_kept(tmp_path, monkeypatch):
    sources = write_documents(tmp_path)
    make = tokenize_stage.make

    def and_remove(*given, **values):
        made = make(*given, **values)
        sources.documents.unlink()
        return made

    monkeypatch.setattr(tokenize_stage, "make", and_remove)
    data = pipeline(tiny_recipe(), sources)[0]
    with pytest.raises(StoreError, match=r"data was not kept: .* input documents gone: \S*docs\.jsonl is no longer"):
        build_node(data, {}, Store(tmp_path / "store"), Memo(tmp_path / "memo"), RunOptions(), Silence())
    assert list(Store(tmp_path / "store").artifacts()) == []


def test_functions_of_the_caller_may_do_what_a_stage_may_not(tmp_path, monkeypatch):
    """A history in a file of one's own, a program, a variable: none of it is the stage's."""
    monkeypatch.setenv("WANDB_API_KEY", "11")
    history = tmp_path / "history.json"
    history.write_text("[]")
    seen = []

    def log_line(line):
        history.write_text(json.dumps([*json.loads(history.read_text()), line]))
        subprocess.run([sys.executable, "-S", "-c", ""], check=True)
        seen.append(os.environ["WANDB_API_KEY"])

    data = pipeline(tiny_recipe(), write_documents(tmp_path))[0]
    build_node(data, {}, Store(tmp_path / "store"), Memo(tmp_path / "memo"), RunOptions(log_line=log_line), Silence())
    assert len(json.loads(history.read_text())) == len(seen) > 0
    assert {*seen} == {"11"}
