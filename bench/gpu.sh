#!/usr/bin/env bash
# Measure one GPU in at most 8 minutes: pgolf's selftest, whole training steps of #715, #745 and #792, and scoring
# against the published loop. Run it from the checkout. Needs Python with torch, no Prefect and no network.
#
#   bench/gpu.sh [--out DIR] [--wheels DIR] [--toy]
#
# --out     where the JSON and the logs go (default: $OUT, else gpu-results); there, `python -m bench --file DIR` files
#           them into docs/benchmarks.md
# --wheels  packages that this Python may lack; those that it has are left alone. Fill the folder where there is a
#           network, for the Python of the GPU's machine (here 3.12):
#             pip download --only-binary=:all: --no-deps --python-version 3.12 -d wheels -c constraints.txt \
#               pydantic pydantic-core annotated-types typing-inspection typing-extensions safetensors pyarrow
# --toy     small networks on a CPU, to try the script; its numbers mean nothing
# PYTHON    the interpreter (default: python3)
set -u

out=${OUT:-gpu-results}
wheels=
toy=
while [ $# -gt 0 ]; do
    case $1 in
        --out) out=${2:?--out takes a folder}; shift 2 ;;
        --wheels) wheels=${2:?--wheels takes a folder}; shift 2 ;;
        --toy) toy=1; shift ;;
        *) echo "gpu.sh: no option $1; there are --out DIR, --wheels DIR and --toy" >&2; exit 2 ;;
    esac
done

python=${PYTHON:-python3}
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
out=$(cd "$out" && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

if [ -n "$wheels" ]; then
    # A wheel is a zip of what lies in site-packages; of what this Python has nothing is replaced.
    "$python" - "$wheels" "$work/packages" <<'UNPACK' || exit 2
import sys, zipfile
from importlib import metadata
from pathlib import Path

folder, target = map(Path, sys.argv[1:])
found = sorted(folder.glob("*.whl"))
if not found:
    sys.exit(f"gpu.sh: no wheels in {folder}; fill it as the head of bench/gpu.sh says")
for wheel in found:
    name = wheel.name.split("-")[0]
    try:
        print(f"has {name} {metadata.version(name.replace('_', '-'))}", file=sys.stderr)
    except metadata.PackageNotFoundError:
        zipfile.ZipFile(wheel).extractall(target)
        print(f"unpacked {wheel.name}", file=sys.stderr)
UNPACK
    export PYTHONPATH="$PYTHONPATH:$work/packages"
fi

# part NAME SECONDS COMMAND...: stdout to NAME.json, stderr to NAME.log; a part that hangs does not take the others' time.
failed=
part() {
    name=$1 limit=$2
    shift 2
    began=$SECONDS
    echo "$name (at most $limit s) …" >&2
    (cd "$root" && exec timeout --kill-after=5 "$limit" "$@") >"$work/$name.json" 2>"$out/$name.log"
    code=$?
    # What found something has results all the same: selftest ends with 1 where a check failed.
    if [ -s "$work/$name.json" ] && "$python" -m json.tool "$work/$name.json" >/dev/null 2>&1; then
        mv "$work/$name.json" "$out/$name.json"
    else
        rm -f "$out/$name.json"
        [ $code -ne 0 ] || code=1
    fi
    if [ $code -ne 0 ]; then
        failed="$failed $name"
        why="ended with $code"
        [ $code -ne 124 ] && [ $code -ne 137 ] || why="took longer than $limit s"
        echo "$name $why; the end of $out/$name.log:" >&2
        tail -n 5 "$out/$name.log" >&2
    else
        echo "$name: $((SECONDS - began)) s" >&2
    fi
}

# At most 180 + 3 · 70 + 60 s, and 5 s each to end.
if [ -n "$toy" ]; then
    part selftest 180 "$python" -m flows.commands.cli selftest --json --toy --device cpu --processes 1 --seconds 120 \
        --only calibration "compiled pr792-tiny" "step pr792-tiny" "evaluation pr792-tiny"
    part train_step_pr792 70 "$python" -m bench.train_step --recipe pr792-tiny --device cpu --repeats 1 --json
    part score_pr715 60 "$python" -m bench.score_speed --recipe pr715-tiny --device cpu --repeats 1 --json
else
    part selftest 180 "$python" -m flows.commands.cli selftest --json --device cuda --seconds 150
    for recipe in pr715 pr745 pr792; do
        part "train_step_$recipe" 70 "$python" -m bench.train_step --recipe "$recipe" --device cuda --steps 20 --json
    done
    part score_pr715 60 "$python" -m bench.score_speed --recipe pr715 --device cuda --json
fi

if [ -n "$failed" ]; then
    echo "not all parts passed:$failed; results in $out" >&2
    exit 1
fi
echo "results in $out; file them: python -m bench --file $out" >&2
