"""Where commands make what no run of a recipe has made: losses by document, trials; and the lines that say so."""

import argparse
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from flows.commands.arguments import store_place
from flows.commands.console import Console
from pgolf.pipeline.graph import Node
from pgolf.pipeline.run_outputs import Workshop
from pgolf.recipes.recipe import BY_DOCUMENT
from pgolf.store.artifact import Artifact

_CALLED = {BY_DOCUMENT.name: "losses by document"}


class _OneLine(Console):
    """Bars and waits as for any stage, and for all that is built of one kind one line at the end."""

    def __init__(self) -> None:
        super().__init__(reasons={})
        self._built_s: dict[str, list[float]] = {}
        self._reused: Counter[str] = Counter()

    def building(self, node: Node) -> None:
        """Nothing: its bar says so."""

    def done(self, node: Node, artifact: Artifact, *, built: bool) -> None:
        """Counted."""
        self.remove_bar(node)
        if built:
            self._built_s.setdefault(node.stage.name, []).append(artifact.record.wall_s)
        else:
            self._reused[node.stage.name] += 1

    def close(self) -> None:
        """Say what was made, if anything was."""
        super().close()
        for stage, built_s in self._built_s.items():
            reused = f", {self._reused[stage]} from artifacts" if self._reused[stage] else ""
            self.say(f"✓ {_CALLED.get(stage, stage)}  {len(built_s)} made{reused}  {sum(built_s):.1f} s")


def workshop(arguments: argparse.Namespace, stack: ExitStack) -> Workshop | str:
    """Where they are made, until the stack is closed; or why they are not."""
    if isinstance(arguments.store, Path) and not arguments.store.is_dir():
        return f"there is no store at {arguments.store}; name it with --store"
    place = store_place(arguments)
    store, memo = place.open_store(), place.memo()
    console = stack.enter_context(_OneLine())
    stack.enter_context(store.using(f"pgolf {arguments.command}", console.say))
    stack.callback(memo.save)
    stack.callback(store.save_memo)
    return Workshop(store=store, memo=memo, run=place.run_options(), listener=console, results=arguments.results)
