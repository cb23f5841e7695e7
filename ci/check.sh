#!/usr/bin/env bash
# Every check a change must pass, cheapest first. Run from anywhere; needs a Rust toolchain and a C compiler.
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
  printf '\n== %s\n' "$*"
  local start=$SECONDS
  "$@"
  printf '== %s s\n' "$((SECONDS - start))"
}

# 77 says that a check's own tools cannot be installed, which continuous integration does not accept.
unless_offline() {
  local code=0
  "$@" || code=$?
  if [ "$code" -eq 77 ] && [ -z "${CI:-}" ]; then
    printf '\n== skipped\n'
    return 0
  fi
  return "$code"
}

step cmp ci/github-workflow.yml .github/workflows/ci.yml
step cmp ci/regression-workflow.yml .github/workflows/regression.yml
step cmp ci/release-workflow.yml .github/workflows/release.yml
step unless_offline ci/lint.sh
step cargo fmt --all --check
step cargo clippy --all-targets --locked -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --no-deps --locked
step cargo test --locked # the README's test command
step ci/action/test.sh "${CARGO_TARGET_DIR:-target}/debug/sharpbench"
step unless_offline ci/package.sh --profile dev
if ls target/dist/*.whl >/dev/null 2>&1; then
  step unless_offline ci/python.sh
fi
# The main job as typed, and every other suite, in small; and the gate: beside the committed baseline, whose times are the dev profile's.
step ci/regression.sh
if cargo deny --version >/dev/null 2>&1; then
  step cargo deny --offline check bans licenses sources
else
  printf '\n== skipped: cargo deny is not installed (cargo install cargo-deny --locked)\n'
fi
