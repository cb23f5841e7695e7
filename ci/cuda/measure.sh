#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: measures what docs/gpu.md says, with a program built with --features cuda.
#   ci/cuda/measure.sh PROGRAM OUT        (and PYTHON=... with PyTorch, for its steps)
set -euo pipefail
program=$(realpath "$1")
out=$(mkdir -p "$2" && cd "$2" && pwd)
cd "$(dirname "$0")/../.."

"$program" doctor | tee "$out/doctor.txt"

# Every parity case on both devices: the worst relative error against PyTorch's weights.
for device in cpu cuda:0; do
  "$program" parity --device "$device" tests/parity/cases/*.safetensors >"$out/parity-${device%:0}.txt" || true
  tail -1 "$out/parity-${device%:0}.txt"
done

# The same trainings twice on the GPU, and once on the CPU: fingerprints of the first two are to be the same.
for run in first again cpu; do
  device=cuda:0
  [ "$run" != cpu ] || device=cpu
  "$program" suite cifar10 --profile smoke --data stand-in --device "$device" --out "$out/run-$run" --quiet >"$out/table-$run.txt"
done
grep -ho '"fingerprint": *"[0-9a-f]*"' "$out"/run-first/cells/*.json >"$out/first.txt"
grep -ho '"fingerprint": *"[0-9a-f]*"' "$out"/run-again/cells/*.json >"$out/again.txt"
cmp "$out/first.txt" "$out/again.txt" && echo "the same bits in $(wc -l <"$out/first.txt") trainings, twice"

# Steps of batch 128.
step() {
  "$program" bench --batch-size 128 --steps "${steps:-30}" "$@" | tee -a "$out/bench.txt"
}
for model in "resnet20" "resnet18" "wideresnet --depth 28 --width 10"; do
  # shellcheck disable=SC2086
  step --device cuda:0 --model $model --optimizer sam --against sgd
  # shellcheck disable=SC2086
  step --device cuda:0 --model $model --optimizer ssam,pattern=tensor,norm=masked,sparsity=0.9,mask=random --against sam
done
steps=5 step --device cpu --model resnet20
steps=5 step --device cpu --model resnet18
if [ -n "${PYTHON:-}" ]; then
  for model in "resnet20" "resnet18" "wideresnet --depth 28 --width 10"; do
    for optimizer in sgd sam; do
      # shellcheck disable=SC2086
      "$PYTHON" benches/pytorch/step.py --device cuda --steps 30 --optimizer $optimizer --model $model | tee -a "$out/pytorch.txt"
    done
  done
fi
