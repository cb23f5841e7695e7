#!/usr/bin/env bash
# The steps of the action beside this file, each callable without a forge (test.sh does):
#   gate.sh install     installs sharpbench from PyPI in a folder of its own; output: program
#   gate.sh judge       trains the suite and compares the run with the baseline; outputs: verdict, report, folder
#   gate.sh comment     posts the comparison on the pull request
# Every input is an environment variable, so nothing a caller writes is ever part of a script. Exit code of judge: compare's
# (0 ok, 1 regression, 2 error, 3 no baseline or an incomplete one), or 128 + N if signal N ended the training.
set -euo pipefail

# Bytes: a comment may have 65,536 characters, a summary 1 MiB. Cut text is marked, and the artifact has all of it.
comment_limit=60000
summary_limit=1000000
remedy="If the plan has changed or the baseline is new, commit run.json and cells/ of this job's artifact as the baseline."

output() { printf '%s=%s\n' "$1" "$2" >>"${GITHUB_OUTPUT:-/dev/null}"; }

# A message beside the change, on one line: notice, warning or error.
say() {
  local level=$1 text=$2
  text=${text//'%'/%25}
  text=${text//$'\r'/%0D}
  text=${text//$'\n'/%0A}
  printf '::%s title=sharpbench::%s\n' "$level" "$text"
}

refuse() {
  output verdict error
  say error "$1"
  exit 2
}

# Runs a command while the runner ignores workflow commands, so that nothing the command prints acts as one.
mute() {
  local word code=0
  word=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  printf '::stop-commands::%s\n' "$word"
  "$@" || code=$?
  printf '\n::%s::\n' "$word"
  return "$code"
}

# The first lines of a text that fit $1 bytes.
cut_to() {
  LC_ALL=C awk -v limit="$1" '
    { bytes += length($0) + 1 }
    bytes > limit { printf "\n</details>\n\nCut here: the artifact has the whole comparison.\n"; exit }
    { print }'
}

# The version of the action: the sources it came with name it.
own_version() {
  sed -n '/^version = "/{s/^version = "\(.*\)"$/\1/p;q;}' "$(dirname "$0")/../../Cargo.toml"
}

install() {
  local version=${GATE_VERSION:-} folder
  [ -n "$version" ] || version=$(own_version)
  # Only a version, never an address or an option of pip.
  [[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+([0-9A-Za-z.+-]*)$ ]] || refuse "version must be one of PyPI, such as 0.1.0: $version"
  folder=$(mktemp -d "${RUNNER_TEMP:-/tmp}/sharpbench-program.XXXXXX")
  python3 -m venv "$folder"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: "sharpbench==$version" ||
    refuse "pip cannot install sharpbench==$version here; build the program and name it with the input program"
  output program "$folder/bin/sharpbench"
}

# compare, with the caller's rules. `=` and `--` keep a value that begins with - from being an option.
compare() {
  local format=$1 baseline=$2 run=$3
  set -- --format="$format"
  [ -z "${GATE_RULES:-}" ] || set -- "$@" --gate="$GATE_RULES"
  [ -z "${GATE_ALLOW:-}" ] || set -- "$@" --allow="$GATE_ALLOW"
  "$program" compare "$@" -- "$baseline" "$run"
}

# Ends judge with a verdict; everything before it has been written to $folder.
conclude() {
  local code=$1 verdict=error report
  for report in "$folder"/run/report-*.html; do break; done
  [ -e "$report" ] || report=""
  case $code in
    0) verdict=ok ;;
    1) verdict=regression ;;
    3) verdict=incomplete ;;
  esac
  output verdict "$verdict"
  output report "$report"
  [ "$verdict" != incomplete ] || printf '\n%s\n' "$remedy" >>"$folder/comparison.md"
  cut_to "$summary_limit" <"$folder/comparison.md" >>"${GITHUB_STEP_SUMMARY:-/dev/null}"
  case $verdict in
    ok) ;;
    regression) say error "The run is worse than the baseline (exit code 1); the job's summary says where." ;;
    incomplete) say error "There is no baseline, or it or the run lacks cells (exit code 3). $remedy" ;;
    error) say error "The run was not compared (exit code $code); the job's summary says why." ;;
  esac
  exit "$code"
}

# What stopped the comparison, as text that markdown shows as it is.
not_compared() {
  printf '**sharpbench: %s**\n\n' "$1"
  sed 's/^/    /' "$2"
  echo
}

judge() {
  local code=0 suite=${GATE_SUITE:-} baseline=${GATE_BASELINE:-}
  [ -n "$suite" ] || refuse "the input suite is missing"
  [ -n "$baseline" ] || refuse "the input baseline is missing"
  program=$(command -v -- "${GATE_PROGRAM:-sharpbench}") || refuse "there is no program ${GATE_PROGRAM:-sharpbench}"
  folder=$(mktemp -d "${RUNNER_TEMP:-/tmp}/sharpbench-gate.XXXXXX")
  output folder "$folder"
  : >"$folder/comparison.md"

  # A wrong gate file is found now, not after the training. The other codes say nothing yet.
  compare json "$baseline" "$baseline" >/dev/null 2>"$folder/messages" || code=$?
  if [ "$code" -eq 2 ]; then
    not_compared "the gate or the baseline cannot be read" "$folder/messages" >"$folder/comparison.md"
    mute cat "$folder/messages"
    conclude 2
  fi

  code=0
  "$program" suite --profile="${GATE_PROFILE:-smoke}" --data="${GATE_DATA:-stand-in}" --out="$folder/run" --fresh --quiet \
    -- "$suite" >"$folder/table" 2>"$folder/messages" || code=$?
  mute cat "$folder/table" "$folder/messages"
  # 3: cells are missing, which the comparison says better.
  if [ "$code" -ne 0 ] && [ "$code" -ne 3 ]; then
    not_compared "the suite was not trained" "$folder/messages" >"$folder/comparison.md"
    [ "$code" -gt 128 ] || code=2
    conclude "$code"
  fi

  code=0
  compare markdown "$baseline" "$folder/run" >"$folder/comparison.md" 2>"$folder/messages" || code=$?
  mute cat "$folder/comparison.md" "$folder/messages"
  if [ ! -s "$folder/comparison.md" ]; then
    not_compared "not compared" "$folder/messages" >"$folder/comparison.md"
  else
    # Beside the table, why the gate fails.
    grep '^the gate fails: ' "$folder/messages" | sed 's/^/    /' >"$folder/why" || true
    [ ! -s "$folder/why" ] || { echo && cat "$folder/why"; } >>"$folder/comparison.md"
    compare junit "$baseline" "$folder/run" >"$folder/comparison.xml" 2>/dev/null || true
    # Workflow commands, whose texts the program escapes.
    compare github "$baseline" "$folder/run" 2>/dev/null || true
  fi
  conclude "$code"
}

# The first line of this gate's comments, which no page shows. Only plain characters of the name: it must not end the line.
marker() {
  local LC_ALL=C name=${GATE_NAME:-sharpbench}
  printf '<!-- sharpbench gate: %s -->\n' "${name//[^A-Za-z0-9._ -]/_}"
}

# Edits this gate's comment, or posts one. Others may write the same first line, so the author counts as well.
post() {
  local body=$1 me comments mark number author first own=""
  mark=$(marker)
  me=$(gh api graphql -f query='{ viewer { login } }' --jq .data.viewer.login) || return
  comments=$(gh api --paginate "repos/$GH_REPO/issues/$GATE_PULL_REQUEST/comments" \
    --jq '.[] | [.id, .user.login, (.body | split("\n")[0])] | @tsv') || return
  while IFS=$'\t' read -r number author first; do
    [ "$author" != "$me" ] || [ "$first" != "$mark" ] || own=$number
  done <<<"$comments"
  if [ -n "$own" ]; then
    gh api --silent --method PATCH "repos/$GH_REPO/issues/comments/$own" -F body=@"$body"
  else
    gh pr comment "$GATE_PULL_REQUEST" --body-file "$body"
  fi
}

comment() {
  local body
  [[ ${GATE_PULL_REQUEST:-} =~ ^[0-9]+$ ]] || { echo "no pull request: no comment"; return 0; }
  [ -s "${GATE_FOLDER:-}/comparison.md" ] || { echo "no comparison: no comment"; return 0; }
  body=$GATE_FOLDER/comment.md
  marker >"$body"
  cut_to "$comment_limit" <"$GATE_FOLDER/comparison.md" >>"$body"
  mute post "$body" ||
    say notice "The comparison is not posted as a comment, as for a pull request from a fork; the job's summary has it."
}

case ${1:-} in
  install | judge | comment) "$1" ;;
  *)
    echo "usage: gate.sh install|judge|comment" >&2
    exit 2
    ;;
esac
