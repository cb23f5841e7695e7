#!/usr/bin/env bash
# Trains every suite in small (profile smoke, on stand-in data) and compares those that have a baseline with it:
#   ci/regression.sh [FOLDER]        (default target/regression)
# FOLDER gets a run with its HTML page for each suite, summary.md for people and SUITE.xml (JUnit) for machines.
# Exit code: 0, 1 something regressed, 2 an error (a changed plan, too), 3 a baseline has cells that the run lacks.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/regression}
mkdir -p "$out"
: >"$out/summary.md"
codes=""

# SHARPBENCH names a program that is built already, such as the one that the tests run.
sharpbench() {
  if [ -n "${SHARPBENCH:-}" ]; then "$SHARPBENCH" "$@"; else cargo run --locked --quiet -- "$@"; fi
}

# Weights and times are compared where the machine is of the baseline's type, all else everywhere. A suite may have rules of its own.
judge() {
  local gate=ci/gate-$1.toml
  [ -f "$gate" ] || gate=ci/gate.toml
  sharpbench compare "reports/baseline/$1" "$out/$1" --gate "$gate" --allow machine --format "$2"
}

for suite in suites/*.toml; do
  suite=$(basename "$suite" .toml)
  printf '\n== %s\n' "$suite"
  sharpbench suite "$suite" --profile smoke --data stand-in --fresh --quiet --out "$out/$suite"
  [ -d "reports/baseline/$suite" ] || continue
  code=0
  judge "$suite" markdown >"$out/$suite.md" 2>"$out/$suite.err" || code=$?
  cat "$out/$suite.err" >&2
  if [ "$code" -eq 2 ]; then
    printf '**%s: not compared**\n\n    %s\n' "$suite" "$(cat "$out/$suite.err")" >"$out/$suite.md"
  else
    judge "$suite" junit >"$out/$suite.xml" || true
    if [ -n "${GITHUB_ACTIONS:-}" ]; then
      judge "$suite" github || true
    fi
  fi
  { cat "$out/$suite.md" && echo; } >>"$out/summary.md"
  codes="$codes $code"
done

if [ -z "$codes" ]; then
  echo "no suite has a baseline in reports/baseline: ci/update-baseline.sh 'why' SUITE..." >&2
  exit 2
fi
printf '\n== beside reports/baseline\n\n'
cat "$out/summary.md"
# The most alarming first.
for worst in 1 2 3; do
  case "$codes " in
    *" $worst "*)
      echo "Where this is intended: ci/update-baseline.sh 'why'" >&2
      exit "$worst"
      ;;
  esac
done
