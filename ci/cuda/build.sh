#!/usr/bin/env bash
# Compiles and links `--features cuda`, with the CUDA toolkit of the machine or, where there is none, one made by toolchain.sh,
# and looks at what the program says where there is no GPU. Needs neither GPU nor driver.
#   ci/cuda/build.sh [FOLDER FOR THE TOOLCHAIN]
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! command -v nvcc >/dev/null; then
  toolchain=${1:-target/cuda-toolchain}
  ci/cuda/toolchain.sh "$toolchain"
  # shellcheck disable=SC1091
  . "$toolchain/env.sh"
fi
cargo build --locked --features cuda
program=target/debug/sharpbench

if [ -e /dev/nvidiactl ]; then
  "$program" doctor
  exit
fi
"$program" doctor | tee /dev/stderr | grep -q '^cuda:0 *cannot be used'
if said=$("$program" suite cifar10 --profile smoke --device cuda:0 2>&1); then
  echo "a GPU that is not there was used" >&2
  exit 1
fi
case $said in
  *"cuda:0 cannot be used"*"--device cpu"*) echo "built, linked, and plain about the missing GPU" ;;
  *) printf 'the missing GPU was not named: %s\n' "$said" >&2 && exit 1 ;;
esac
