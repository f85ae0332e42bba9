"""The command line `pgolf`. Data goes to stdout, everything else to stderr.

Exit codes: 0 done, 1 the result breaks a rule or a stage failed, 2 misuse or unusable input.
Commands that run no stage import neither torch nor Prefect.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from flows.commands.arguments import (
    add_checkpoint_steps,
    add_grid,
    add_json,
    add_max_points,
    add_places,
    add_recipe,
    add_set,
    add_store,
)
from pgolf.errors import PgolfError

RUN_EXAMPLES = """examples:
  pgolf run demo                                   everything, from documents to the statistics
  pgolf run demo --set mix.alphas=0:0.8:0.05       another grid: only mix runs again
  pgolf run demo --set count.orders=2..5 --seeds 1337 42
  pgolf run demo --no-prefect                      the same stages in one plain process
"""
PLAN_EXAMPLES = """examples:
  pgolf plan demo                                  what would run, and why
  pgolf plan demo --set compress.zstd_levels=19 --json
  pgolf plan demo --price-per-hour 23.92
"""
SWEEP_EXAMPLES = """examples:
  pgolf sweep demo --grid "alpha=0:0.6:0.05 order=2..9"   refuses to train: score, count and mix only
  pgolf sweep demo --grid "k=1,4,16" --grid "alpha=0.1,0.2 mixer=backoff" --grid "share=0,1e-4"
  pgolf sweep demo --grid-file grid.toml --max-points 50000
  pgolf sweep demo --set mix.alphas=0:0.6:0.05
"""
RESULTS_EXAMPLES = """examples:
  pgolf results                                    mean ± std per scorer: ranked, and legacy apart
  pgolf results --rows --recipe demo --seed 42     the stored rows
  pgolf results --table attempts --csv             every packing attempt
  pgolf results --where estimator=exact --where order=3 --json
"""
FIGURES_EXAMPLES = """examples:
  pgolf figures demo                               draw every run of demo again, from the tables alone
  pgolf figures demo-eb58b580e0bb                  one run
"""
STORE_EXAMPLES = """examples:
  pgolf verify                                     hash every file again
  pgolf gc                                         what no result refers to (dry run)
  pgolf gc --delete
"""
WATCH_EXAMPLES = """examples:
  pgolf watch                                      all that runs on ./artifacts, whoever started it; Ctrl-C ends it
  pgolf watch --store /shared/artifacts --every 5
  pgolf watch --once --json                        one snapshot for a script
"""
ADOPT_EXAMPLES = """examples:
  pgolf adopt demo train --why "renamed a local variable; same bytes, checked with seed 42"
"""
DATA_EXAMPLES = """examples:
  pgolf fetch --train-shards 80                    the published FineWeb shards and tokenizer
  pgolf tokenize --documents docs.jsonl --vocab-size 1024 --val-documents 500
  pgolf tokenize --documents docs/ --tokenizer fineweb_1024_bpe.model --skip-bad 3
"""
BUNDLE_EXAMPLES = """examples:
  pgolf bundle pr792 --out train_gpt.py                the code whose bytes count, in one file
  python train_gpt.py eval --data DIR                  beside model.pgolf: the scores of the pipeline, to the last digit
  torchrun --nproc-per-node 8 train_gpt.py train --data DIR --seed 42
  pgolf export pr792 --seed 42 --out submission        script and model of a finished seed, counted on disk
"""
WORKER_EXAMPLES = """examples:
  pgolf worker                                     take runs from the server in PREFECT_API_URL, one at a time
  pgolf worker --pool gpu-node --limit 2
"""
DOCTOR_EXAMPLES = """examples:
  pgolf doctor                                     what this node has, and what it lacks
  pgolf doctor pr792 --json                        disk space and data for this recipe, too
"""
IMPORT_EXAMPLES = """examples:
  pgolf import final_model.pt --recipe pr715           check it and take it in
  pgolf run pr715 --seeds 1337 --checkpoint final_model.pt
  pgolf run pr792 --seeds 1337 42 --checkpoint 1337=a.pt --checkpoint 42=b.pt \\
    --checkpoint-steps 1337=5243 --checkpoint-steps 42=5244
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line; parsing imports no stage."""
    top = argparse.ArgumentParser(
        prog="pgolf",
        description="Turns a language-model recipe into a result that can be trusted: cached stages, a byte budget, "
        "an honest score, several seeds.",
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, summary: str, examples: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    run = command("run", "run a recipe; what did not change is reused", RUN_EXAMPLES)
    add_recipe(run)
    add_places(run)
    add_max_points(run)
    run.add_argument("--no-prefect", action="store_true", help="run the stages in this process, without Prefect")
    add_json(run)

    plan = command("plan", "show what would run and why, without running it", PLAN_EXAMPLES)
    add_recipe(plan)
    add_places(plan)
    plan.add_argument("--price-per-hour", type=float, metavar="MONEY", help="price of the machine, to show the cost")
    add_json(plan)

    watch = command("watch", "show what is running on a store", WATCH_EXAMPLES)
    add_store(watch)
    watch.add_argument("--every", type=float, metavar="SECONDS", help="default 1 on a terminal, 10 elsewhere")
    watch.add_argument("--once", action="store_true", help="one snapshot, then end")
    add_json(watch)

    sweep = command("sweep", "evaluate another grid on finished artifacts; refuses to train", SWEEP_EXAMPLES)
    add_recipe(sweep)
    add_places(sweep)
    add_grid(sweep)
    add_max_points(sweep)
    sweep.add_argument("--no-prefect", action="store_true", help="run the stages in this process, without Prefect")
    add_json(sweep)

    results = command("results", "print the result tables", RESULTS_EXAMPLES)
    results.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="folder of the tables")
    results.add_argument("--table", choices=("scores", "attempts", "stages"), default="scores", help="which table")
    results.add_argument("--recipe", metavar="NAME", help="only this recipe")
    results.add_argument("--seed", type=int, metavar="N", help="only this seed")
    results.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="only matching rows; may be repeated"
    )
    results.add_argument("--rows", action="store_true", help="the stored rows instead of means over seeds")
    results.add_argument("--top", type=int, default=10, metavar="N", help="at most N scorers per list (default 10)")
    results.add_argument("--csv", action="store_true", help="the stored rows, comma-separated, full precision")
    add_json(results)

    figures = command("figures", "draw the pictures of finished runs again", FIGURES_EXAMPLES)
    figures.add_argument("runs", nargs="+", metavar="RUN", help="run keys, or how some begin")
    figures.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="folder of the tables")
    add_json(figures)

    verify = command("verify", "check every file of the store against its record", STORE_EXAMPLES)
    add_store(verify)
    add_json(verify)

    gc = command("gc", "list or delete what no result refers to", STORE_EXAMPLES)
    add_store(gc)
    gc.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="folder of the tables")
    gc.add_argument("--without-results", action="store_true", help="no results refer to this store; all of it may go")
    gc.add_argument("--delete", action="store_true", help="really delete; without it nothing is touched")
    add_json(gc)

    adopt = command("adopt", "keep outputs whose code changed without changing their bytes", ADOPT_EXAMPLES)
    add_recipe(adopt)
    adopt.add_argument("stages", nargs="+", metavar="STAGE", help="stages to re-key, in order, e.g. train calibrate")
    add_places(adopt)
    adopt.add_argument("--why", required=True, help="recorded with your name and the time")
    adopt.add_argument("--from", dest="source", metavar="FOLDER", help="the output to adopt; default the latest")
    add_json(adopt)

    recipes = command("recipes", "list the recipes", "")
    add_json(recipes)

    show = command(
        "show", "print a recipe's full configuration", "examples:\n  pgolf show demo --set train.steps=200\n"
    )
    add_recipe(show)
    add_json(show)

    fetch = command("fetch", "download the published token shards and tokenizer", DATA_EXAMPLES)
    fetch.add_argument("--train-shards", type=int, metavar="N", help="training shards to fetch (default 80)")
    add_set(fetch)
    add_store(fetch)
    add_json(fetch)

    tokenize = command("tokenize", "turn documents into token shards", DATA_EXAMPLES)
    tokenize.add_argument("--documents", type=Path, metavar="PATH", help="file or folder; default the built-in corpus")
    tokenize.add_argument("--tokenizer", type=Path, metavar="MODEL", help="SentencePiece model; default: train one")
    tokenize.add_argument("--vocab-size", type=int, metavar="N", help="pieces of a tokenizer trained here")
    tokenize.add_argument("--val-documents", type=int, metavar="N", help="first N documents are the validation split")
    tokenize.add_argument("--skip-bad", type=int, metavar="N", help="tolerate up to N unusable documents")
    add_set(tokenize)
    add_store(tokenize)
    add_json(tokenize)

    bundled = command("bundle", "write a recipe's self-contained train_gpt.py", BUNDLE_EXAMPLES)
    add_recipe(bundled)
    bundled.add_argument("--out", type=Path, default=Path("train_gpt.py"), metavar="FILE", help="default train_gpt.py")
    add_json(bundled)

    exported = command("export", "write the files of a finished seed and count them on disk", BUNDLE_EXAMPLES)
    add_recipe(exported)
    exported.add_argument("--seed", type=int, metavar="N", help="which of the recipe's seeds (default: the first)")
    exported.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder that is not there yet")
    add_places(exported)
    add_json(exported)

    imported = command("import", "take in weights that a published script has trained", IMPORT_EXAMPLES)
    imported.add_argument("file", type=Path, metavar="FILE", help="final_model.pt, or a .safetensors file")
    imported.add_argument("--recipe", required=True, metavar="RECIPE", help="the recipe whose network it is")
    imported.add_argument("--seed", type=int, metavar="N", help="the seed it was trained with (default: the first)")
    add_checkpoint_steps(imported)
    add_set(imported)
    add_store(imported)
    add_json(imported)

    worker = command("worker", "take runs from a Prefect server, until told to end", WORKER_EXAMPLES)
    worker.add_argument("--pool", default="gpu-node", metavar="NAME", help="process work pool (default: %(default)s)")
    worker.add_argument(
        "--limit", type=int, default=1, metavar="N", help="runs at once on this node (default: %(default)s)"
    )

    doctor = command("doctor", "check this node: server, versions, GPUs, store, space, data, clock", DOCTOR_EXAMPLES)
    doctor.add_argument("recipe", nargs="?", metavar="RECIPE", help="a name from `pgolf recipes`")
    add_set(doctor)
    add_store(doctor)
    doctor.add_argument("--documents", type=Path, metavar="PATH", help="documents to tokenize: a file or a folder")
    add_json(doctor)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    top = parser()
    arguments = top.parse_args(argv)
    if arguments.version:
        from importlib import metadata

        print(f"pgolf {metadata.version('pgolf')}")
        return 0
    if arguments.command is None:
        top.print_help()
        return 0
    try:
        return _dispatch(arguments)
    except PgolfError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; finished stages are kept and will be reused", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"{type(error).__name__}: {error.filename or ''} {error.strerror or error}".strip(), file=sys.stderr)
        return 2


def _dispatch(arguments: argparse.Namespace) -> int:
    name = arguments.command
    if name in ("run", "sweep"):
        from flows.commands.run_command import run, sweep

        return run(arguments) if name == "run" else sweep(arguments)
    if name == "plan":
        from flows.commands.plan_command import plan

        return plan(arguments)
    if name == "watch":
        from flows.commands.watch_command import watch

        return watch(arguments)
    if name == "results":
        from flows.commands.results_command import results

        return results(arguments)
    if name == "figures":
        from flows.commands.figures_command import figures

        return figures(arguments)
    if name in ("verify", "gc", "adopt"):
        from flows.commands.store_commands import adopt, gc, verify

        return {"verify": verify, "gc": gc, "adopt": adopt}[name](arguments)
    if name == "export":
        from flows.commands.export_command import write_export

        return write_export(arguments)
    if name == "bundle":
        from flows.commands.bundle_command import write_bundle

        return write_bundle(arguments)
    if name == "worker":
        from flows.commands.worker_command import worker

        return worker(arguments)
    if name == "doctor":
        from flows.commands.doctor_command import doctor

        return doctor(arguments)
    if name in ("recipes", "show"):
        from flows.commands.recipe_commands import recipes, show

        return recipes(arguments) if name == "recipes" else show(arguments)
    from flows.commands.data_commands import fetch, import_weights, tokenize

    return {"fetch": fetch, "tokenize": tokenize, "import": import_weights}[name](arguments)


if __name__ == "__main__":
    sys.exit(main())
