#!/usr/bin/env bash
# Makes a folder to build `--features cuda` with, on x86-64 Linux with neither a GPU nor a CUDA toolkit: nvcc and headers from
# PyPI, stand-ins for the libraries (stand_ins.py). Needs g++, python3 with pip, and cargo.
#   toolchain.sh DIR && . DIR/env.sh && cargo build --locked --features cuda
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mkdir -p "${1:?usage: $0 DIR}" && cd "$1" && pwd)
project=$here/../..

# 13.0 is what drivers from series 580 on accept; its kernels are compiled to machine code by the driver.
if [ ! -x "$dir/wheels/nvidia/cu13/bin/nvcc" ]; then
  python3 -m pip install -q --no-deps --no-compile --target "$dir/wheels" nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 \
    nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
fi
cuda=$dir/wheels/nvidia/cu13
rm -rf "${dir:?}/bin" "${dir:?}/lib64" "${dir:?}/build"
mkdir -p "$dir/bin" "$dir/lib64" "$dir/build"
ln -sfn "$cuda/include" "$dir/include"
ln -sfn "$cuda/nvvm" "$dir/nvvm"
ln -sfn "$cuda/lib" "$cuda/lib64" # where nvcc looks
ln -sf "$cuda/lib/libcudart_static.a" "$dir/lib64/libcudart.a"

# Of the versions in Cargo.lock.
source_of() {
  cargo metadata --format-version 1 --locked --features cuda --manifest-path "$project/Cargo.toml" |
    python3 -c 'import json, os, sys
for p in json.load(sys.stdin)["packages"]:
    if p["name"] == sys.argv[1]: print(os.path.dirname(p["manifest_path"]))' "$1"
}
python3 "$here/stand_ins.py" "$(source_of cudarc)" "$dir/build"
for c in "$dir"/build/*.c; do
  lib=$(basename "$c" .c)
  gcc -O2 -fPIC -c "$c" -o "$dir/build/$lib.o"
  ar rcs "$dir/lib64/lib$lib.a" "$dir/build/$lib.o"
done

# Kernels of quantised models, which take most of nvcc's time and which no training calls, are left out: each says so.
{
  printf '#include <stdio.h>\n#include <stdlib.h>\n'
  printf 'static void out(const char *n) { fprintf(stderr, "this build leaves out the kernel %%s\\n", n); abort(); }\n'
  grep -oE 'pub fn [a-z0-9_]+' "$(source_of candle-kernels)/src/ffi.rs" | awk '{print $3}' | sort -u |
    while read -r name; do printf 'void %s(void) { out("%s"); }\n' "$name" "$name"; done
} >"$dir/build/left_out.c.txt"
cat >"$dir/bin/nvcc" <<EOF
#!/usr/bin/env bash
# nvcc, but for the kernels that are left out: mmq_quantize.cu stands for all of them.
file=\$(basename "\${!#}")
case \$file in
  mmq_*.cu | mmvq_*.cu | moe_*.cu)
    previous=
    for argument in "\$@"; do
      [ "\$previous" != -o ] || object=\$argument
      previous=\$argument
    done
    source=/dev/null
    [ "\$file" != mmq_quantize.cu ] || source=$dir/build/left_out.c.txt
    exec gcc -O1 -fPIC -x c -c -o "\$object" "\$source"
    ;;
esac
exec $cuda/bin/nvcc "\$@"
EOF
chmod +x "$dir/bin/nvcc"
# Compute capability 9.0 is that of an H100 or H200; set CUDA_COMPUTE_CAP for another card.
cat >"$dir/env.sh" <<EOF
export CUDA_HOME=$dir CUDA_PATH=$dir CUDA_ROOT=$dir CUDA_TOOLKIT_ROOT_DIR=$dir PATH=$dir/bin:\$PATH
export CUDA_COMPUTE_CAP=\${CUDA_COMPUTE_CAP:-90} NVCC_CCBIN=\${NVCC_CCBIN:-/usr/bin/g++} CUDARC_CUDA_VERSION=13000
EOF
