#!/usr/bin/env bash
# Makes the runs that ci/regression.sh compares with anew, and says why:
#   ci/update-baseline.sh 'why' [SUITE...]        (default: the suites that have a baseline)
# Commit what it changes in reports/baseline together with the change that needs it.
set -euo pipefail
cd "$(dirname "$0")/.."
why=${1:-}
if [ -z "$why" ]; then
  echo "say why: ci/update-baseline.sh 'the Fisher score of biases was wrong' [SUITE...]" >&2
  exit 2
fi
shift
if [ -n "$(git status --porcelain -- . ':!reports/baseline')" ]; then
  echo "commit your changes first: every record names the revision that made it" >&2
  exit 2
fi
if [ $# -eq 0 ]; then
  for folder in reports/baseline/*/; do
    [ -d "$folder" ] && set -- "$@" "$(basename "$folder")"
  done
fi
if [ $# -eq 0 ]; then
  echo "no suite has a baseline yet: name those that shall have one" >&2
  exit 2
fi

sharpbench() { cargo run --locked --quiet -- "$@"; }

changes=""
for suite in "$@"; do
  run="target/baseline/$suite"
  sharpbench suite "$suite" --profile smoke --data stand-in --fresh --quiet --out "$run" >/dev/null
  old="reports/baseline/$suite"
  if [ -d "$old" ]; then
    code=0
    verdict=$(sharpbench compare "$old" "$run" --gate ci/gate.toml --allow machine,suite,data --format markdown) || code=$?
    [ "$code" -ne 2 ] || verdict="$suite: cannot be compared with what was there"
    changes+="- ${verdict%%$'\n'*}"$'\n'
  else
    changes+="- $suite: new"$'\n'
  fi
  rm -rf "$old"
  mkdir -p "$old"
  cp -r "$run/run.json" "$run/cells" "$old/"
done

log=reports/baseline/CHANGES.md
[ -f "$log" ] || printf '# Why the baseline changed\n\nThe newest first; written by ci/update-baseline.sh.\n' >"$log"
entry=$(printf '## %s, at %s\n\n%s\n\n%s' "$(date -u +%F)" "$(git rev-parse --short HEAD)" "$why" "$changes")
{ sed -n 1,3p "$log"; printf '\n%s\n' "$entry"; sed 1,3d "$log"; } >"$log.new"
mv "$log.new" "$log"
git --no-pager diff --stat -- reports/baseline
