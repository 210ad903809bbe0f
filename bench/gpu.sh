#!/usr/bin/env bash
# Everything that needs a GPU, in two stages of at most nine minutes each, the most important first:
#
#     bench/gpu.sh tests      tests, sanitizers, two training runs with the same bits
#     bench/gpu.sh bench      the GPU benches of `python -m bench`
#     bench/gpu.sh            both
#
# Needs Python with CuPy, threadpoolctl, rich, pytest and hypothesis, for the second stage PyTorch.
# Needs no network and no installation: the package runs from this checkout. Results go to $OUT:
# summary.md, a JSON file for each bench, and logs.tar.gz with a log for each step.
set -uo pipefail
cd "$(dirname "$0")/.."
case ${1:-both} in
    tests | bench | both) stages=${1:-both} ;;
    *) echo "usage: bench/gpu.sh [tests|bench]" >&2 && exit 2 ;;
esac
OUT=${OUT:-bench/results/$(date +%Y-%m-%d)}
mkdir -p "$OUT" && OUT=$(cd "$OUT" && pwd)
export PYTHONPATH="$PWD" GPUCNN_REQUIRE_GPU=1 PYTHONUNBUFFERED=1 COLUMNS=190
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0 ends=0

# Save the results after each step, in case the script is stopped.
keep() {
    cp "$work/summary.md" "$OUT/"
    tar -C "$work" -czf "$OUT/logs.tar.gz" --exclude='*/checkpoint.npz' .
}

# step NAME SECONDS COMMAND...: run a command with a time limit and a log; a failure is recorded.
step() {
    local name=$1 limit=$2 left=$((ends - SECONDS)) began=$SECONDS state=ok
    shift 2
    [ "$limit" -le "$left" ] || limit=$left
    if [ "$limit" -lt 5 ]; then
        state="FAILED (no time left)" failed=1
    else
        timeout -k 10 "$limit" "$@" >"$work/$name.log" 2>&1 || state="FAILED ($?)" failed=1
    fi
    printf '| %s | %s | %d s |\n' "$name" "$state" $((SECONDS - began)) | tee -a "$work/summary.md"
    keep
    [ "$state" = ok ] || { tail -n 25 "$work/$name.log" 2>/dev/null && return 1; }
}

# bench NAME SECONDS ARGUMENTS...: run a bench, which starts no case in its last third; print it.
bench() {
    local name=$1 limit=$2
    shift 2
    rm -f "$OUT/$name.json"
    step "$name" "$limit" python3 -m bench "$name" --seconds $((limit * 2 / 3)) \
        --json "$OUT/$name.json" "$@" && cat "$work/$name.log"
}

stage_tests() {
    step tests 240 python3 -m pytest -p no:cacheprovider -o addopts= -q --maxfail 20 -k cuda \
        tests/training/test_steps.py tests/backends/cuda/test_launches.py \
        tests/backends/cuda/test_lenet5.py tests/backends/test_consistency.py \
        tests/backends/test_gradients.py tests/backends/cuda/test_tiles.py \
        tests/backends/cuda/test_tf32.py tests/backends/test_ops.py tests/backends/test_contract.py
    step check 60 python3 -m gpucnn check --backend cuda
    step check64 60 python3 -m gpucnn check --backend cuda --dtype float64
    step check-tf32 60 python3 -m gpucnn check --backend cuda --precision tf32
    step train 60 python3 -m gpucnn train --backend cuda --seed 0 --out "$work/first"
    step again 60 python3 -m gpucnn train --backend cuda --seed 0 --out "$work/second"
    step same-bits 10 cmp "$work/first/checkpoint.npz" "$work/second/checkpoint.npz"
    step evaluate 60 python3 -m gpucnn evaluate "$work/first" --backend numpy --json
    local short=(python3 -m gpucnn train --backend cuda --limit 1000 --batch-size 16 --epochs 1)
    if command -v compute-sanitizer >/dev/null; then
        step memcheck 90 compute-sanitizer --tool memcheck --error-exitcode 9 \
            "${short[@]}" --out "$work/memcheck"
        step racecheck 90 compute-sanitizer --tool racecheck --error-exitcode 9 \
            "${short[@]}" --out "$work/racecheck"
        local kind
        for kind in ieee tf32; do  # every operation, and the tile sizes that LeNet-5 does not use
            step "memcheck-$kind" 60 compute-sanitizer --tool memcheck --error-exitcode 9 \
                python3 -m gpucnn check --backend cuda --precision "$kind"
        done
    else
        echo "| memcheck, racecheck | compute-sanitizer not found | 0 s |" | tee -a "$work/summary.md"
    fi
    step timings 60 sh -c 'python3 -m gpucnn check --backend cuda --json >"$1"' - \
        "$work/timings.json"
}

stage_bench() {
    bench gpu_lenet 200
    bench gpu_accuracy 60
    bench gpu_ops 140
    bench gpu_start 50
    bench tune 90 --quick
}

printf '| step | result | time |\n| --- | --- | --- |\n' | tee "$work/summary.md"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv >"$work/gpu.txt" 2>&1
timeout 60 python3 -m gpucnn doctor >"$work/doctor.txt" 2>&1
for stage in tests bench; do
    [ "$stages" = both ] || [ "$stages" = "$stage" ] || continue
    ends=$((SECONDS + 540))
    "stage_$stage"
done
exit $failed
