#!/usr/bin/env bash
# Everything that needs a GPU, in one command and under 8 minutes: tests, sanitizers, training,
# timings. Needs Python with CuPy, pytest, rich and hypothesis, but no network and no installation:
# the package runs from this checkout. Results, one log a step and summary.md, go to $OUT.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-bench/results/$(date +%Y-%m-%d)}
mkdir -p "$OUT"
export PYTHONPATH="$PWD" GPUCNN_REQUIRE_GPU=1 PYTHONUNBUFFERED=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# step NAME SECONDS COMMAND...: run a command with a time limit, log it, and go on if it fails.
step() {
    local name=$1 limit=$2 began=$SECONDS
    shift 2
    if timeout "$limit" "$@" >"$work/$name.log" 2>&1; then state=ok; else state="FAILED ($?)" failed=1; fi
    printf '| %s | %s | %d s |\n' "$name" "$state" $((SECONDS - began)) | tee -a "$work/summary.md"
    [ "$state" = ok ] || tail -n 25 "$work/$name.log"
}

printf '| step | result | time |\n| --- | --- | --- |\n' | tee "$work/summary.md"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv >"$work/gpu.txt" 2>&1
python3 -m gpucnn doctor >"$work/doctor.txt" 2>&1

step tests 240 python3 -m pytest -p no:cacheprovider -o addopts= -q --maxfail 20 \
    -k "cuda or compile or spill" tests/test_ops.py tests/test_gradients.py tests/test_consistency.py \
    tests/test_compile.py tests/test_contract.py tests/test_tiles.py tests/test_tf32.py
step check 60 python3 -m gpucnn check --backend cuda
step check64 60 python3 -m gpucnn check --backend cuda --dtype float64
step check-tf32 60 python3 -m gpucnn check --backend cuda --precision tf32

short=(python3 -m gpucnn train --backend cuda --limit 640 --epochs 1)
if command -v compute-sanitizer >/dev/null; then
    step memcheck 90 compute-sanitizer --tool memcheck --error-exitcode 9 \
        "${short[@]}" --out "$work/memcheck"
    step racecheck 90 compute-sanitizer --tool racecheck --error-exitcode 9 \
        "${short[@]}" --out "$work/racecheck"
else
    echo "| memcheck, racecheck | no compute-sanitizer here | 0 s |" | tee -a "$work/summary.md"
fi

step train 120 python3 -m gpucnn train --backend cuda --seed 0 --out "$work/first"
step again 120 python3 -m gpucnn train --backend cuda --seed 0 --out "$work/second"
step same-bits 10 cmp "$work/first/checkpoint.npz" "$work/second/checkpoint.npz"
step evaluate 60 python3 -m gpucnn evaluate "$work/first" --backend numpy --json
step tune 120 python3 -m bench tune --quick --json "$work/tune.json"
step timings 60 sh -c 'python3 -m gpucnn check --backend cuda --json >"$1"' - "$work/timings.json"

cp "$work/first/log.jsonl" "$work/train.jsonl" 2>/dev/null
# At most eight files: what a result is read from.
tar -C "$work" -czf "$OUT/logs.tar.gz" --exclude='*/checkpoint.npz' .
for file in summary.md gpu.txt doctor.txt train.jsonl timings.json tune.json check.log; do
    [ -f "$work/$file" ] && cp "$work/$file" "$OUT/"
done
exit $failed
