#!/usr/bin/env bash
# Everything that needs a GPU, in three stages, the most important results first:
#
#     bench/gpu.sh [--tiny] [STAGE...]     without a name, all stages
#
#     tests      tests, `gpucnn check`, two training runs with the same bits,   5.5 minutes at most
#                and by NCCL, if it is there: one rank, and two on two GPUs
#     bench      the GPU benches of `python -m bench`                           6.5 minutes at most
#     sanitize   memcheck and racecheck of compute-sanitizer                    2 minutes at most
#
# --tiny runs the same commands at tiny sizes. `tests/standin/run bench/gpu.sh --tiny` does so
# without a GPU, to find mistakes in this script, the benches and the commands.
#
# Needs Python with CuPy, threadpoolctl, rich, pytest and hypothesis; PyTorch, if it is there, is
# compared, and pytest-xdist, if it is there, runs the tests in parallel. Needs no network and no
# installation: the package runs from this checkout. Results go to $OUT: summary.md, a JSON file for
# each bench, and logs.tar.gz with a log for each step. The exit status is 0 if every step
# succeeded, 1 if one failed; later steps run in any case.
set -uo pipefail
cd "$(dirname "$0")/.."

usage() { echo "usage: bench/gpu.sh [--tiny] [tests] [bench] [sanitize]" >&2 && exit 2; }
tiny='' stages=()
for word in "$@"; do
    case $word in
        --tiny) tiny=yes ;;
        tests | bench | sanitize) stages+=("$word") ;;
        *) usage ;;
    esac
done
[ ${#stages[@]} -gt 0 ] || stages=(tests bench sanitize)

# Seconds of each stage and step; a stage ends its last step early.
declare -A seconds=(
    [stage-tests]=330 [doctor]=30 [tests]=200 [check]=30 [check64]=30 [check-tf32]=30
    [train]=40 [again]=40 [same-bits]=10 [evaluate]=30
    [nccl]=40 [nccl-same-bits]=10 [nccl-2]=40 [nccl-2-again]=40 [nccl-2-same-bits]=10
    [stage-bench]=390 [gpu_lenet]=150 [gpu_accuracy]=50 [gpu_ops]=90 [gpu_start]=50 [tune]=50
    [stage-sanitize]=110 [memcheck]=50 [racecheck]=50 [memcheck-ieee]=40 [memcheck-tf32]=40
)
# With pytest-xdist, tests run in parallel; pytest-benchmark, if it is there, warns of that.
parallel=()
python3 -c 'import xdist' 2>/dev/null && parallel=(-n auto -p no:benchmark)
# The sizes: options of the commands, and a factor for the limits.
tests=() check=() train=() short=(--limit 1000 --batch-size 16) bench=() patience=1
if [ "$tiny" ]; then
    tests=(-k "learns or a_step_of_lenet5") check=(conv2d begin_step) train=(--limit 512 --epochs 1)
    short=(--limit 64 --batch-size 16) bench=(--tiny) patience=10
fi

work=$(mktemp -d)
if [ "$tiny" ]; then
    OUT=${OUT:-$work/out} # gone at the end, unless $OUT is set
else
    OUT=${OUT:-bench/results/$(date +%Y-%m-%d)}
fi
mkdir -p "$OUT" && OUT=$(cd "$OUT" && pwd) || exit 2
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 COLUMNS=190
export GPUCNN_REQUIRE_GPU=1 # without a GPU, the tests fail instead of being skipped
failed=0 ends=0 child=''

stop() { # on a signal: end the step that runs, so that nothing uses the GPU any longer
    [ -z "$child" ] || kill "$child" 2>/dev/null
    exit "$1"
}
trap 'stop 130' INT
trap 'stop 143' TERM
trap 'rm -rf "$work"' EXIT

# record NAME STATE SECONDS: add a line to the summary, and save all results so far.
record() {
    printf '| %s | %s | %d s |\n' "$1" "$2" "$3" | tee -a "$work/summary.md"
    cp "$work/summary.md" "$OUT/"
    tar -C "$work" -czf "$OUT/logs.tar.gz" --exclude='*/checkpoint.npz' --exclude=./out .
}

# step NAME COMMAND...: run a command with a time limit and a log; a failure is recorded.
step() {
    local name=$1 limit=$((patience * seconds[$1])) left=$((ends - SECONDS)) began=$SECONDS state=ok
    shift
    [ "$limit" -le "$left" ] || limit=$left
    if [ "$limit" -lt 5 ]; then
        state="FAILED (no time left)" failed=1
    else
        timeout -k 10 "$limit" "$@" >"$work/$name.log" 2>"$work/$name.err" </dev/null &
        child=$!
        wait "$child" || state="FAILED ($?)" failed=1
        child=''
    fi
    record "$name" "$state" $((SECONDS - began))
    [ "$state" = ok ] && return
    tail -qn 25 "$work/$name.log" "$work/$name.err" 2>/dev/null
    return 1
}

# run_bench NAME ARGUMENTS...: run a bench, which starts nothing in its last third; print it.
run_bench() {
    local name=$1
    shift
    rm -f "$OUT/$name.json"
    step "$name" python3 -m bench "$name" --seconds $((patience * seconds[$name] * 2 / 3)) \
        --json "$OUT/$name.json" "${bench[@]}" "$@" && cat "$work/$name.log"
}

# sanitize NAME TOOL COMMAND...: run a command under a tool of compute-sanitizer.
sanitize() {
    local name=$1 sanitizer=(compute-sanitizer --tool "$2" --error-exitcode 9)
    shift 2
    if ! command -v compute-sanitizer >/dev/null; then
        [ "$tiny" ] || { record "$name" "compute-sanitizer not found" 0 && return; }
        sanitizer=()
    fi
    step "$name" "${sanitizer[@]}" "$@"
}

stage_tests() {
    step doctor python3 -m gpucnn doctor && cat "$work/doctor.log"
    # Other versions' notes on what they will drop are no errors there.
    step tests python3 -m pytest -p no:cacheprovider -o addopts=--import-mode=importlib -q \
        -W default::DeprecationWarning -W default::FutureWarning --maxfail 20 -m cuda \
        "${parallel[@]}" "${tests[@]}" tests/training/test_steps.py tests/backends tests/training \
        tests/nn tests/optim tests/standin tests/emulator tests/cli
    step check python3 -m gpucnn check --backend cuda --precision ieee "${check[@]}"
    step check64 python3 -m gpucnn check --backend cuda --dtype float64 "${check[@]}"
    step check-tf32 python3 -m gpucnn check --backend cuda --precision tf32 "${check[@]}"
    local name
    for name in train again; do
        step "$name" python3 -m gpucnn train --backend cuda --seed 0 "${train[@]}" \
            --out "$work/run-$name" && cat "$work/$name.log"
    done
    step same-bits cmp "$work/run-train/checkpoint.npz" "$work/run-again/checkpoint.npz"
    step evaluate python3 -m gpucnn evaluate "$work/run-train" --backend numpy --json
    nccl_runs
}

# One rank through NCCL has the bits of none; two have the same bits each time.
nccl_runs() {
    local run=(python3 -m gpucnn train --backend cuda --seed 0 "${train[@]}" --group nccl) name gpus
    if ! python3 -W ignore -c 'from cupy.cuda import nccl; assert nccl.available' 2>/dev/null; then
        record nccl "NCCL not found" 0 && return
    fi
    step nccl "${run[@]}" --out "$work/run-nccl" && cat "$work/nccl.log"
    step nccl-same-bits cmp "$work/run-train/checkpoint.npz" "$work/run-nccl/checkpoint.npz"
    gpus=$(python3 -c 'import cupy; print(cupy.cuda.runtime.getDeviceCount())')
    [ "${gpus:-0}" -ge 2 ] && command -v mpiexec >/dev/null || return 0
    for name in nccl-2 nccl-2-again; do
        step "$name" mpiexec -n 2 "${run[@]}" --out "$work/run-$name" && cat "$work/$name.log"
    done
    step nccl-2-same-bits cmp "$work/run-nccl-2/checkpoint.npz" \
        "$work/run-nccl-2-again/checkpoint.npz"
}

stage_bench() {
    run_bench gpu_lenet
    run_bench gpu_accuracy
    run_bench gpu_ops
    run_bench gpu_start
    run_bench tune --quick
}

stage_sanitize() {
    local run=(python3 -m gpucnn train --backend cuda --epochs 1 "${short[@]}") kind
    sanitize memcheck memcheck "${run[@]}" --out "$work/memcheck"
    sanitize racecheck racecheck "${run[@]}" --out "$work/racecheck"
    for kind in ieee tf32; do # every operation, and the tile sizes that LeNet-5 does not use
        sanitize "memcheck-$kind" memcheck \
            python3 -m gpucnn check --backend cuda --precision $kind "${check[@]}"
    done
}

printf '| step | result | time |\n| --- | --- | --- |\n' | tee "$work/summary.md"
timeout 20 nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv \
    >"$work/gpu.txt" 2>&1
for stage in "${stages[@]}"; do
    ends=$((SECONDS + patience * seconds[stage-$stage]))
    "stage_$stage"
done
exit $failed
