"""A stage small enough to watch: it writes what it is told to, and can be told to fail or to dawdle."""

import errno
import os
import time
from collections.abc import Mapping
from pathlib import Path

from pgolf.config import StageConfig
from pgolf.identity.stage import Stage, StageKey
from pgolf.run_options import Made, Progress, RunOptions
from pgolf.store.scratch import load, save

TOY = Stage(name="toy", entry="tests.toy_stage", outputs={"text": ("text.txt",), "shout": ()})


class ToyConfig(StageConfig):
    """What the toy writes."""

    text: str = "hello"
    repeat: int = 1


def toy_key(config: ToyConfig | None = None, **values: object) -> StageKey:
    """The key the toy's output would have."""
    return StageKey(
        stage="toy", version=1, config=config or ToyConfig(), inputs={}, values=values, code={"toy": "0"}, tools={}
    )


def devices(_config: ToyConfig, run: RunOptions) -> tuple[tuple[str, ...], int]:
    """One of one device, where it is to run on CUDA."""
    return ("toy-0",), int(run.device == "cuda")


def make(
    config: ToyConfig,
    inputs: Mapping[str, Path],
    out: Path,
    run: RunOptions,
    *,
    seed: int = 0,
    dawdle_s: float = 0.0,
    fail: str = "",
) -> Made:
    """Write text.txt, a log and, in between, whatever goes wrong; the scratch folder says how often it was begun."""
    begun = 1
    if run.scratch is not None:
        begun += int(load(run.scratch / "begun") or b"0")
        save(run.scratch / "begun", b"%d" % begun)
    (out / "sub").mkdir()
    (out / "sub" / "log.txt").write_text(f"seed {seed}\n")
    with (out / "text.txt").open("w") as file:
        for line in range(config.repeat):
            file.write(f"{config.text} {line}\n")
            file.flush()
            run.report(Progress(stage="toy", done=line + 1, total=config.repeat, unit="line"))
            if dawdle_s:
                # The parent test watches for this file and kills us in the middle.
                (out.parent / "started").touch()
                time.sleep(dawdle_s)
    if fail == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out / "text.txt"))
    if fail == "value":
        raise ValueError("the toy was told to fail")
    facts = {"summary": config.text, "begun": begun}
    return Made(digests={"shout": config.text.upper()}, phases_s={"write": 0.0}, facts=facts)
