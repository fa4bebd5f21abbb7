#!/usr/bin/env bash
# Everything that waits for a GPU, in one call of at most eight minutes:
#
#     OUT=FOLDER bash scripts/gpu_day.sh                  # on a GPU, from the repository's root
#     OUT=FOLDER bash scripts/gpu_day.sh rehearsal        # the same parts, tiny, on a CPU
#
# Each part has a budget in seconds and a log in OUT; what it has written until then stays. OUT/summary.txt grows by a
# line a part. The exit code is the number of parts that did not end well. Variables: PYTHON; BUDGET, the seconds of all
# parts together; DISCRETE_LATENTS_DATA, the folder that holds MNIST/raw.
set -u
mode=${1:-gpu}
if [[ $mode != gpu && $mode != rehearsal ]]; then
    echo "usage: bash scripts/gpu_day.sh [rehearsal]" >&2
    exit 64
fi
python=${PYTHON:-python}
out=${OUT:-logs/gpu_day}
budget=${BUDGET:-480}
data=$(realpath "${DISCRETE_LATENTS_DATA:-data}")
mkdir -p "$out"
out=$(realpath "$out")
export PYTHONPATH="$PWD/src:$PWD${PYTHONPATH:+:$PYTHONPATH}" DISCRETE_LATENTS_DATA="$data"
: >"$out/summary.txt"
failed=0

part() { # NAME SECONDS COMMAND…: runs a part within its own budget and what is left of the whole
    local name=$1 seconds=$2 left=$((budget - SECONDS)) begun=$SECONDS code=0 said
    shift 2
    ((seconds > left)) && seconds=$left
    if ((seconds < 5)); then
        said="not run, no time was left"
        code=1
    else
        timeout --signal=INT --kill-after=10 "$seconds" "$@" >"$out/$name.log" 2>&1 </dev/null || code=$?
        case $code in
            0) said="done" ;;
            124 | 137) said="out of time" ;;
            *) said="failed with code $code" ;;
        esac
    fi
    ((code)) && failed=$((failed + 1))
    echo "$name: $said, $((SECONDS - begun)) s" | tee -a "$out/summary.txt"
}

case $mode in
    gpu)
        part machine 20 nvidia-smi
        part tests 150 "$python" -m pytest -q -p no:cacheprovider -m "slow or not slow" \
            tests/models/test_device_work.py tests/cli/test_gpu.py
        part benchmark 170 "$python" -m scripts.benchmark --device cuda --only steps --cases vae_mnist 512-256 \
            --contenders plain plain_fused ours compiled products --blocks 10 --data "$data" --runs "$out/runs" \
            --output "$out/results"
        part bound 100 "$python" -m scripts.benchmark --device cuda --only bound --data "$data" --runs "$out/runs" \
            --output "$out/results"
        part stacked 120 "$python" -m scripts.benchmark --device cuda --only stacked --stacks 1 16 64 --stack-steps 300 \
            --data "$data" --runs "$out/runs" --output "$out/results"
        part cell 460 "$python" train.py experiment=vae_mnist trainer=gpu "hydra.run.dir='$out/cell'" \
            "+trainer.max_time='00:00:02:00'"
        ;;
    rehearsal)
        part machine 20 "$python" -c "import torch; print(torch.__version__)"
        part tests 60 "$python" -m pytest -q -p no:cacheprovider tests/models/test_device_work.py -k would_be_seen
        part benchmark 90 "$python" -m scripts.benchmark --only steps --cases linear --contenders plain products \
            --steps 0 --blocks 2 --data "$data" --runs "$out/runs" --output "$out/results"
        part stacked 90 "$python" -m scripts.benchmark --only stacked --stacks 1 2 --stack-steps 10 --data "$data" \
            --runs "$out/runs" --output "$out/results"
        part cell 60 "$python" train.py "hydra.run.dir='$out/cell'" trainer.max_epochs=1 eval_samples=2
        ;;
esac
exit "$failed"
