"""`python -m tests.template.process DESCRIPTOR PADDING`: the template, which imports, waits, and forks on request."""

import array
import ctypes
import fcntl
import gc
import importlib
import json
import os
import platform
import socket
import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from pgolf.machine.parent_death import die_with_parent
from tests.template import child, starting

# clone(2) by number: glibc has no wrapper that leaves the stack alone.
_CLONE = {"x86_64": 56, "aarch64": 220}.get(platform.machine())
_CLONE_PARENT, _SIGCHLD = 0x8000, 17


# What Prefect's client, worker and server import of others; Prefect itself reads its settings when it is imported.
OF_PREFECT = (
    *("amplitude", "anyio.from_thread", "anyio.streams.text", "asgi_lifespan", "asyncpg", "cachetools", "coolname"),
    *("cryptography.fernet", "cyclopts", "dateutil.rrule", "docket.dependencies", "fastapi.middleware.cors"),
    *("fastapi.middleware.gzip", "fastapi.openapi.utils", "fastapi.routing", "fastapi.staticfiles", "griffe", "httpx"),
    *("fsspec.implementations.local", "humanize", "jinja2.sandbox", "jsonschema.validators", "opentelemetry.propagate"),
    *("orjson", "pathspec", "pendulum.tz", "prometheus_client", "pydantic.v1.decorator", "pytz", "rich.table"),
    *("pydantic_extra_types.pendulum_dt", "pydantic_settings.sources", "referencing.jsonschema", "slugify", "sniffio"),
    *("sqlalchemy.dialects.postgresql", "sqlalchemy.dialects.sqlite.aiosqlite", "sqlalchemy.ext.asyncio", "toml"),
    *("sqlalchemy.ext.compiler", "sqlalchemy.ext.hybrid", "uvicorn.lifespan.on", "websockets.asyncio.client", "yaml"),
)

# What a flow run imports of Prefect, besides its own main module.
OF_A_FLOW_RUN = (
    *("prefect.main", "prefect.client.orchestration", "prefect.deployments.steps.core", "prefect.flow_engine"),
    *("prefect.runner._flow_run_executor", "prefect.runner._workspace_resolver", "prefect.task_engine"),
)
# Programs that start no others of ours.
LEAVES = ("prefect", "uvicorn", "flows.own_server")
# Programs that make ready and then exec what they were asked to run.
EXEC_ANOTHER = ("prefect.runner._workspace_supervisor",)


def caller_name(depth: int = 2) -> str:
    """Name of the function `depth` calls up, in the place of torch's own `get_method_name`.

    torchrun names every event of its rendezvous so. Its own version looks for the source of every frame in all modules
    there are: with as many as here 1.7 of the 2.0 s of CPU that a launch takes, with torch's alone next to nothing.
    """
    return sys._getframe(depth).f_code.co_name


def import_what_programs_import() -> None:
    """Everything heavy that programs of the tests import, and nothing that reads its settings when imported."""

    import torch._dynamo  # by optimizers of torch's own when they are made: two seconds of CPU
    import torch.distributed.run  # noqa: F401
    from numba.core.registry import cpu_target
    from torch.distributed.elastic.rendezvous import dynamic_rendezvous

    import pgolf.corpus.tokenize_stage
    import pgolf.eval.__main__
    import pgolf.mix.mix_stage
    import pgolf.pack.compress_stage
    import pgolf.pipeline.outcome
    import pgolf.quant.calibrate_stage
    import pgolf.report.figures
    import pgolf.train.__main__  # noqa: F401
    from pgolf.pipeline.graph import pipeline
    from pgolf.recipes.catalog import recipe_named

    dynamic_rendezvous.get_method_name = caller_name
    # What numba puts off until the first call of a compiled function: a second of CPU.
    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()
    pipeline(recipe_named("demo"))  # reads and parses all modules, and remembers them by their bytes

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("pandas", *OF_PREFECT):
            importlib.import_module(name)


def fork_beside() -> int:
    """Fork a child of this process's own parent, so that the parent waits for it; 0 in the child.

    Only in a process with one Python thread, so that no lock of the interpreter's is held by anybody else. The
    allocators' own background threads hold none either: they are asleep while nothing is freed.
    """
    assert _CLONE is not None, f"the number of clone(2) on {platform.machine()} is not known here"
    api, libc = ctypes.pythonapi, ctypes.PyDLL(None, use_errno=True)
    api.PyOS_BeforeFork()
    pid = libc.syscall(_CLONE, _CLONE_PARENT | _SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        api.PyOS_AfterFork_Child()
        return 0
    api.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(ctypes.get_errno(), "clone failed")
    return int(pid)


def import_prefect(program: child.Program) -> dict[str, str]:
    """Import Prefect as this flow run would, for it and those that follow; returns the settings that hold for it."""
    settings = _settings(program)
    os.chdir(program.folder)  # where there may be a prefect.toml
    for name in (*filter(_is_a_setting, os.environ), *settings):
        os.environ.pop(name, None)
    os.environ.update(settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in OF_A_FLOW_RUN:
            importlib.import_module(name)
    assert threading.active_count() == 1, threading.enumerate()
    gc.freeze()
    return settings


def _settings(program: child.Program) -> dict[str, str]:
    """What Prefect reads when it is imported."""
    return {name: value for name, value in program.environment.items() if name == "HOME" or _is_a_setting(name)}


def _is_a_setting(name: str) -> bool:
    return name.startswith("PREFECT_") and not name.startswith("PREFECT__")  # those are of one flow run


def main(requests: socket.socket, *, of_a_worker: bool = False, of_a_launch: bool = False) -> None:
    """Fork for every request, until the process that asks is gone. of_a_worker: for runs of flows."""
    size = array.array("i").itemsize
    settings: dict[str, str] | None = None
    while True:
        message, passed, _flags, _address = requests.recvmsg(16, socket.CMSG_SPACE(64 * size))
        if not message:
            return
        descriptors = array.array("i")
        for _level, _kind, data in passed:
            descriptors.frombytes(data[: len(data) // size * size])
        asked, *given = descriptors
        with open(asked, "rb") as file:
            file.seek(0)
            request: dict[str, Any] = json.load(file)
        kept = request.pop("kept")
        program = child.Program(**request)
        if of_a_worker and settings is None:
            settings = import_prefect(program)
        assert settings in (None, _settings(program)), "Prefect was imported under other settings"
        pid = fork_beside()
        if pid == 0:
            _become(program, given[:3], dict(zip(kept, given[3:], strict=True)), of_a_launch=of_a_launch)
        for descriptor in given:
            os.close(descriptor)
        requests.send(str(pid).encode())


def _become(program: child.Program, standard: list[int], kept: dict[int, int], *, of_a_launch: bool) -> NoReturn:
    """The program, with kept descriptors under the numbers that they have in the process that asked."""
    # First out of the way of all numbers that are asked for.
    above = max([64, *kept, *kept.values(), *standard]) + 1
    moved = {number: fcntl.fcntl(descriptor, fcntl.F_DUPFD, above) for number, descriptor in kept.items()}
    standard = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, above) for descriptor in standard]
    for number, descriptor in moved.items():
        os.dup2(descriptor, number)
    # Its socket gets a number that is free now.
    starting.STARTER.template = None if program.module in LEAVES or of_a_launch else _template_of_its_own(program)
    own = starting.STARTER.template.descriptors if starting.STARTER.template else ()
    if program.module in EXEC_ANOTHER:
        program = _what_it_execs(program, standard, tuple(kept))
    child.run(program, standard, (*kept, *own), starting.INTERPRETER_PATH)


def _starts_prefect(program: child.Program) -> str:
    """Its command, if it is one of ours that starts flow runs or a server."""
    command, *words = *program.arguments, ""
    if program.module != "flows.commands.cli" or command not in ("worker", "run") or "--no-prefect" in words:
        return ""
    return command


def _what_it_execs(program: child.Program, standard: list[int], kept: tuple[int, ...]) -> child.Program:
    """Run a program that ends with an exec below this process, and return what that exec asks for.

    This process has done nothing yet, and can be the other program under the pid that its parent knows.
    """
    if program.new_session:
        os.setsid()
        program = replace(program, new_session=False)
    asked, asks = os.pipe()
    above = os.getpid()
    below = os.fork()
    if below == 0:
        die_with_parent(above)

        def exec_(_file: str, words: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
            with os.fdopen(asks, "w") as request:
                json.dump({"words": words, "environment": environment, "folder": os.getcwd()}, request)
            os._exit(0)

        os.execvpe = exec_
        child.run(program, standard, (*kept, asks), starting.INTERPRETER_PATH)
    os.close(asks)
    with os.fdopen(asked) as file:
        request = file.read()
    _pid, status = os.waitpid(below, 0)
    if not request:
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    found = json.loads(request)
    execed = starting.program_of(
        found["words"], found["environment"], found["folder"], packages=starting.PREFECTS, new_session=False
    )
    assert execed is not None, found["words"]
    return execed


def _template_of_its_own(program: child.Program) -> starting.Template:
    """A fork of this process, which has one thread so far, that waits to fork children for the program."""
    starts = _starts_prefect(program)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        nothing = os.open(os.devnull, os.O_RDWR)
        child.take_descriptors([nothing] * 3, [theirs.fileno()])
        main(theirs, of_a_worker=starts == "worker", of_a_launch=program.module == "pgolf.machine.launch")
        os._exit(0)
    theirs.close()
    return starting.Template(ours, (*starting.PROGRAMS, *(starting.PREFECTS if starts else ())))


if __name__ == "__main__":
    # What is forked here imports this module by its name.
    sys.modules["tests.template.process"] = sys.modules["__main__"]
    gc.disable()  # until all is imported: otherwise a fifth of the time
    import_what_programs_import()
    starting.install()
    gc.collect()
    gc.freeze()
    gc.enable()
    main(socket.socket(fileno=int(sys.argv[1])))
