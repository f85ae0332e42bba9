"""A stage as data (its code, tools, inputs and named outputs), and the key under which its output is cached."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pgolf.config import StageConfig
from pgolf.identity.fingerprint import digest


@dataclass(frozen=True, slots=True)
class Reads:
    """Named outputs of another stage: of whichever of `stages` the run has, or of none where it has none of them."""

    stages: "tuple[Stage, ...]"
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The declaration of a stage; none of its code is imported until it has to run.

    entry: dotted module with `make(config, inputs, out, run, **values)`. version_parts: of some distributions that its
    code imports, how many numbers of the version decide the bytes; of the others all do. outputs: name -> glob patterns
    of the files whose bytes are that output; an empty tuple means the stage itself reports the digest (`Made.digests`).
    version: raised by hand when bytes change for a reason that code, config, inputs and tools do not show.
    reads: role -> outputs of earlier stages, which `make` finds as `inputs[role]`. per_seed: runs for every seed, and
    not once for all of them. evaluates: a sweep may run it. uses_gpu: computes on a GPU where there is one. network:
    may ask other machines, for what its config names by content.
    """

    name: str
    entry: str
    version: int = 1
    version_parts: Mapping[str, int] = field(default_factory=dict)
    outputs: Mapping[str, tuple[str, ...]]
    reads: Mapping[str, Reads] = field(default_factory=dict)
    per_seed: bool = False
    evaluates: bool = False
    uses_gpu: bool = False
    network: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StageKey:
    """Everything that decides an output's bytes, in clear; `digest` names the output.

    inputs: "role.output" -> digest of what is read. values: plain further values (seed, code bytes). code: module ->
    digest of its syntax tree. tools: distribution -> version. hardware: empty unless the run stops by the clock.
    """

    stage: str
    version: int
    config: StageConfig
    inputs: Mapping[str, str]
    values: Mapping[str, Any]
    code: Mapping[str, str]
    tools: Mapping[str, str]
    hardware: Mapping[str, Any] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """The key as plain data, as `record.json` stores it."""
        return {
            "stage": self.stage,
            "version": self.version,
            "config": self.config,
            "inputs": self.inputs,
            "values": self.values,
            "code": self.code,
            "tools": self.tools,
            "hardware": self.hardware,
        }

    @property
    def digest(self) -> str:
        """sha256 of the canonical form, 64 hex digits."""
        return digest(self.fields())

    @property
    def folder(self) -> str:
        """Readable name of the output's folder in the store: the stage and 12 hex digits (48 bits) of the key."""
        return f"{self.stage}-{self.digest[:12]}"
