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

step cmp ci/github-workflow.yml .github/workflows/ci.yml
step cmp ci/regression-workflow.yml .github/workflows/regression.yml
step cargo fmt --all --check
step cargo clippy --all-targets --locked -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --no-deps --locked
step cargo test --locked # the README's test command
# The main job as typed, and every other suite, in small; and the gate: beside the committed baseline, whose times are the dev profile's.
step ci/regression.sh
if cargo deny --version >/dev/null 2>&1; then
  step cargo deny --offline check bans licenses sources
else
  printf '\n== skipped: cargo deny is not installed (cargo install cargo-deny --locked)\n'
fi
