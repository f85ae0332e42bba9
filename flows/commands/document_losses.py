"""Where commands make more of a run's outputs, such as losses by document, and the line that says so."""

import argparse
from contextlib import ExitStack
from pathlib import Path

from flows.commands.arguments import store_place
from flows.commands.console import Console
from pgolf.pipeline.graph import Node
from pgolf.pipeline.run_outputs import Workshop
from pgolf.store.artifact import Artifact


class _OneLine(Console):
    """Bars and waits as for any stage, and for all that is built one line at the end. what: is built."""

    def __init__(self, what: str) -> None:
        super().__init__(reasons={})
        self._what = what
        self._built_s: list[float] = []
        self._reused = 0

    def building(self, node: Node) -> None:
        """Nothing: its bar says so."""

    def done(self, node: Node, artifact: Artifact, *, built: bool) -> None:
        """Counted."""
        self.remove_bar(node)
        if built:
            self._built_s.append(artifact.record.wall_s)
        else:
            self._reused += 1

    def close(self) -> None:
        """Say what was made, if anything was."""
        super().close()
        if self._built_s:
            reused = f", {self._reused} from artifacts" if self._reused else ""
            self.say(f"✓ {self._what}  {len(self._built_s)} made{reused}  {sum(self._built_s):.1f} s")


def workshop(arguments: argparse.Namespace, stack: ExitStack, *, what: str = "losses by document") -> Workshop | str:
    """Where outputs are made, until the stack is closed, or why they are not. what: they are called."""
    if isinstance(arguments.store, Path) and not arguments.store.is_dir():
        return f"there is no store at {arguments.store}; name it with --store"
    place = store_place(arguments)
    store, memo = place.open_store(), place.memo()
    console = stack.enter_context(_OneLine(what))
    stack.enter_context(store.using(f"pgolf {arguments.command}", console.say))
    stack.callback(memo.save)
    stack.callback(store.save_memo)
    return Workshop(store=store, memo=memo, run=place.run_options(), listener=console, results=arguments.results)
