#!/usr/bin/env bash
# Compares the public API of both packages with that of the last release's tag: a change that breaks programs needs a new major
# version (before 1.0, a new minor one).
set -euo pipefail
cd "$(dirname "$0")/.."

tag=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null || true)
if [ -z "$tag" ]; then
  echo "there is no release yet to compare the API with"
  exit
fi
exec cargo semver-checks --workspace --baseline-rev "$tag"
