#!/usr/bin/env bash
# What ci/package.sh made in target/dist: the archive, and the wheel in a clean Python environment, first alone, then with what the
# tests of python/ need.
# Exit code: 77 if packages cannot be installed, as without a network.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$PWD/target/python
rm -rf "$venv"
python3 -m venv "$venv"
PATH=$venv/bin:$PATH
wheel=$(echo target/dist/*.whl)
pip install --quiet --disable-pip-version-check --no-index "$wheel"

mkdir "$venv/archive"
(cd target/dist && sha256sum --quiet --check --strict SHA256SUMS && tar -C "$venv/archive" -xzf ./*.tar.gz)
archive=$(echo "$venv"/archive/*)
"$archive/sharpbench" --version
for file in man/sharpbench-suite.1 completions/_sharpbench completions/sharpbench.fish suite.schema.json LICENSE-MIT; do
  test -s "$archive/$file"
done

# Alone, and nowhere near the clone.
(
  cd "$venv"
  sharpbench doctor | grep '^installed .*as a Python wheel'
  sharpbench suite label-noise --profile smoke --offline --quiet | grep '^ssam-d .5 '
  python -c 'import sharpbench; print(sharpbench.load("reports/label-noise-smoke-mnist-5k").answer[0])'
  test -s share/man/man1/sharpbench-suite.1
  test -s share/bash-completion/completions/sharpbench
)

tools="mypy==2.4.1 pandas-stubs==3.1.0.261029 ruff==0.17.6"
# uv, since pip takes two minutes.
# shellcheck disable=SC2086 # a list
if ! { pip install --quiet --disable-pip-version-check --only-binary :all: uv==0.13.9 &&
  uv pip install --quiet --only-binary :all: "${wheel}[test,wandb,mlflow,trackio]" $tools; }; then
  echo "python: what the tests need cannot be installed; they were not run" >&2
  exit 77
fi
uvx --quiet --from "$wheel" sharpbench --version
ruff check python
ruff format --check python
mypy python/sharpbench python/tests
pytest --quiet python/tests
