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
step cargo fmt --check
step cargo clippy --all-targets --locked -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --no-deps --locked
step cargo test --locked # the README's test command
# The main job as typed, and every other suite, in small: the table on stdout, the records in folders of their own.
for suite in suites/*.toml; do
  suite=$(basename "$suite" .toml)
  step cargo run --locked --quiet -- suite "$suite" --profile smoke --data stand-in --fresh --quiet --out "target/smoke/$suite"
done
if cargo deny --version >/dev/null 2>&1; then
  step cargo deny --offline check bans licenses sources
else
  printf '\n== skipped: cargo deny is not installed (cargo install cargo-deny --locked)\n'
fi
