#!/usr/bin/env bash
# Tests gate.sh without a forge and without a network: ci/action/test.sh PROGRAM
# Files stand for the runner's summary and outputs, and a script with a folder of comments for `gh`.
set -euo pipefail
[ $# = 1 ] || { sed -n 2,3p "$0" >&2; exit 2; }
program=$(realpath "$1")
gate=$(realpath "$(dirname "$0")")/gate.sh
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"

mkdir bin temp
cat >bin/gh <<'GH'
#!/usr/bin/env bash
# comments/NUMBER.AUTHOR contains the comment's text. The lists are as the --jq of gate.sh makes them.
set -eu
write() { [ ! -e gh.refuses ] || { echo "HTTP 403: Resource not accessible by integration" >&2; exit 1; }; cat "$1" >"$2"; }
mkdir -p comments
printf '%s\n' "$*" >>gh.calls
case "$*" in
  "api graphql "*) echo "robot[bot]" ;;
  "api --paginate repos/owner/name/issues/17/comments --jq "*)
    for file in comments/*.*; do
      [ ! -e "$file" ] || { name=${file##*/} && printf '%s\t%s\t%s\n' "${name%%.*}" "${name#*.}" "$(head -n 1 "$file")"; }
    done
    ;;
  "api --silent --method PATCH repos/owner/name/issues/comments/"*" -F body=@"*)
    number=${5##*/}
    write "${7#body=@}" "$(echo comments/"$number".*)"
    ;;
  "pr comment 17 --body-file "*)
    numbers=(comments/*.*)
    write "$5" "comments/$((100 + ${#numbers[@]})).robot[bot]"
    ;;
  *)
    echo "unexpected: $*" >&2
    exit 1
    ;;
esac
GH
# Records what pip would be asked for.
cat >bin/python3 <<'PYTHON'
#!/usr/bin/env bash
mkdir -p "$3/bin"
printf '#!/usr/bin/env bash\nprintf "%%s\\n" "$@" >pip.arguments\n' >"$3/bin/python"
chmod +x "$3/bin/python"
PYTHON
chmod +x bin/*
export PATH=$place/bin:$PATH RUNNER_TEMP=$place/temp HF_HOME=$place/hub HF_ENDPOINT=http://127.0.0.1:1 RAYON_NUM_THREADS=1
unset "${!GATE_@}" "${!GITHUB_@}"

cat >tiny.toml <<'SUITE'
name = "tiny"
description = "for this test"

[base]
data = { name = "cifar10", train = 40, test = 20 }
model = { name = "resnet8", width = 4 }
schedule = { epochs = 2, batch_size = 10, lr = 0.05 }
seeds = [1, 2]

[profiles.smoke]

[[base.grid]]
optimizer = "sgd"

[[base.grid]]
optimizer = "sam"
rho = 0.1
SUITE
# Times are not judged: the machine may be busy.
printf '[time]\njudge = false\n' >gate.toml

fail() {
  echo "failed: $1" >&2
  for file in log summary outputs; do
    [ ! -e "$file" ] || sed "s/^/  $file: /" "$file" >&2
  done
  exit 1
}

# judged NAME CODE [VARIABLE=VALUE...]: runs judge as the action does, with these inputs beside the usual ones.
judged() {
  local name=$1 expected=$2 code=0
  shift 2
  : >summary
  : >outputs
  env GATE_SUITE=tiny.toml GATE_BASELINE=baseline GATE_RULES=gate.toml GATE_ALLOW=machine GATE_PROGRAM="$program" \
    GITHUB_STEP_SUMMARY=summary GITHUB_OUTPUT=outputs "$@" "$gate" judge >log 2>&1 || code=$?
  [ "$code" = "$expected" ] || fail "$name: exit code $code instead of $expected"
}

has() { grep -qF -- "$2" "$1" || fail "$3: $1 lacks: $2"; }
lacks() { ! grep -qF -- "$2" "$1" || fail "$3: $1 has: $2"; }
passed() { echo "passed: $1"; }
folder() { sed -n 's/^folder=//p' outputs; }

"$program" suite tiny.toml --profile smoke --data stand-in --out baseline --quiet >/dev/null

name="the same run: ok"
judged "$name" 0
has outputs "verdict=ok" "$name"
has summary "unchanged" "$name"
[ -s "$(sed -n 's/^report=//p' outputs)" ] || fail "$name: no page"
[ -s "$(folder)/comparison.xml" ] || fail "$name: no JUnit file"
same=$(folder)
passed "$name"

# A baseline that was better: without its digest, a record may have any numbers.
name="a worse run: regression, and the artifact's files are there"
cp -r baseline better
"$(type -ap python3 | sed -n 2p)" - better/cells/*.json <<'PYTHON'
import json, sys
for path in sys.argv[1:]:
    with open(path) as file:
        record = json.load(file)
    del record["digest"]
    record["measures"]["test_accuracy_last"] = 1.0
    record["measures"]["fingerprint"] = "0" * 64
    with open(path, "w") as file:
        json.dump(record, file)
PYTHON
judged "$name" 1 GATE_BASELINE=better
has outputs "verdict=regression" "$name"
has summary "regressed" "$name"
has log "::error title=tiny smoke%3A regressed::" "$name"
has "$(folder)/comparison.xml" "<failure" "$name"
[ -s "$(folder)/run/run.json" ] || fail "$name: no run"
worse=$(folder)
passed "$name"

name="a gate that could not find what it is meant to find: regression, and the summary says why"
printf '[time]\njudge = false\n[accuracy]\nmargin = 0\ndetectable = 0.001\n' >strict.toml
judged "$name" 1 GATE_BASELINE=better GATE_RULES=strict.toml
has summary "the gate fails: " "$name"
passed "$name"

name="no baseline: incomplete, and the run that can become one is there"
judged "$name" 3 GATE_BASELINE=nowhere
has outputs "verdict=incomplete" "$name"
has summary "there is no baseline at nowhere" "$name"
has summary "as the baseline" "$name"
[ -s "$(folder)/run/run.json" ] || fail "$name: no run"
passed "$name"

name="a baseline without one of its cells: incomplete"
cp -r baseline partial
for record in partial/cells/*sgd*.json; do break; done
rm "$record"
judged "$name" 3 GATE_BASELINE=partial
has summary "missing" "$name"
passed "$name"

name="a wrong gate file: error, before anything is trained"
printf '[accuracy]\nmargins = 1\n' >wrong.toml
judged "$name" 2 GATE_RULES=wrong.toml
has outputs "verdict=error" "$name"
has summary "unknown field" "$name"
[ ! -e "$(folder)/run" ] || fail "$name: trained"
passed "$name"

name="another plan than the baseline's: error"
sed 's/^seeds = .*/seeds = [1]/' tiny.toml >other.toml
judged "$name" 2 GATE_SUITE=other.toml
has summary "--allow suite" "$name"
passed "$name"

name="no input is run as a command or taken for an option"
for input in GATE_SUITE GATE_BASELINE GATE_RULES GATE_ALLOW GATE_DATA GATE_PROFILE GATE_PROGRAM; do
  # The text as it is: nothing must expand it.
  # shellcheck disable=SC2016
  for text in 'x; touch pwned' '$(touch pwned)' '`touch pwned`' $'x\ntouch pwned' '--out=pwned' '-h' $'x\n::set-output name=verdict::ok'; do
    code=0
    : >summary
    : >outputs
    env GATE_SUITE=tiny.toml GATE_BASELINE=baseline GATE_RULES=gate.toml GATE_PROGRAM="$program" GITHUB_STEP_SUMMARY=summary \
      GITHUB_OUTPUT=outputs "$input=$text" "$gate" judge >log 2>&1 || code=$?
    [ ! -e pwned ] || fail "$name: $input=$text"
    [ "$code" = 2 ] || { [ "$input" = GATE_BASELINE ] && [ "$code" = 3 ]; } || fail "$name: $input=$text: exit code $code"
    has outputs "verdict=" "$name"
    lacks outputs "verdict=ok" "$name"
  done
done
passed "$name"

name="what the program prints is no command to the runner"
judged "$name" 2 GATE_SUITE=$'x\n::error::forged'
has log "::error::forged" "$name"
awk '/^::stop-commands::/ { end = "::" substr($0, 18) "::" } $0 == end { end = "" } /^::error::forged/ && end == "" { exit 1 }' log ||
  fail "$name"
passed "$name"

# commented FOLDER PULL_REQUEST [VARIABLE=VALUE...]: runs comment as the action does.
commented() {
  local folder=$1 pull_request=$2
  shift 2
  env GH_REPO=owner/name GATE_FOLDER="$folder" GATE_PULL_REQUEST="$pull_request" "$@" "$gate" comment >log 2>&1 ||
    fail "$name: exit code $?"
}
# comments N: fails unless the pull request has so many.
comments() {
  local found=(comments/*)
  [ "${#found[@]}" = "$1" ] || fail "$name: ${#found[@]} comments instead of $1"
}
# body FILE MARKER FOLDER: fails unless the comment has this first line and the folder's comparison.
body() { { printf '<!-- sharpbench gate: %s -->\n' "$2" && cat "$3/comparison.md"; } | cmp - "$1" || fail "$name"; }

name="a first comment is posted"
mkdir comments
echo "of another workflow" >"comments/1.robot[bot]"
printf '%s\n' '<!-- sharpbench gate: sharpbench -->' "of somebody else" >comments/2.somebody
cp -r comments others
commented "$worse" 17
lacks log "::notice" "$name"
comments 3
body "comments/102.robot[bot]" sharpbench "$worse"
passed "$name"

name="the next comment edits that one"
echo "of another workflow, later" >"comments/103.robot[bot]"
commented "$same" 17
comments 4
body "comments/102.robot[bot]" sharpbench "$same"
passed "$name"

name="comments of other workflows and people stay"
for file in others/*; do
  cmp "$file" "comments/${file##*/}" || fail "$name"
done
echo "of another workflow, later" | cmp - "comments/103.robot[bot]" || fail "$name"
passed "$name"

name="a gate of another name has a comment of its own"
for folder in "$same" "$worse"; do
  commented "$folder" 17 GATE_NAME=$'x --> <b>\n'"é; touch pwned"
  comments 5
done
body "comments/104.robot[bot]" "x --_ _b_____ touch pwned" "$worse"
body "comments/102.robot[bot]" sharpbench "$same"
[ ! -e pwned ] || fail "$name"
passed "$name"

# Where jq is installed: what the fake gh does not check.
if command -v jq >/dev/null; then
  name="comments are listed with number, author and first line"
  filter=$(sed -n "s/^    --jq '\(.*\)') || return$/\1/p" "$gate")
  printf '%s' '[{"id": 1, "user": {"login": "a[bot]"}, "body": "x\ty\nz"}, {"id": 2, "user": null, "body": ""}]' |
    jq -r "$filter" | cmp - <(printf '1\ta[bot]\tx\\ty\n2\t\t\n') || fail "$name"
  passed "$name"
fi

name="a comment that is refused, as for a fork, is a notice"
touch gh.refuses
for gate_name in sharpbench new; do
  commented "$worse" 17 GATE_NAME="$gate_name"
  has log "::notice title=sharpbench::The comparison is not posted" "$name"
done
comments 5
body "comments/102.robot[bot]" sharpbench "$same"
rm gh.refuses
passed "$name"

name="a comparison that is too long for a comment is cut at a line"
awk 'BEGIN { for (i = 0; i < 9000; i++) print "| 12345678 ± |" }' >"$same/comparison.md"
commented "$same" 17
[ "$(wc -c <"$same/comment.md")" -lt 65536 ] || fail "$name"
has "$same/comment.md" "Cut here" "$name"
! grep -vqE '^(<!-- .* -->|\| 12345678 ± \||</details>|Cut here: .*|)$' "$same/comment.md" || fail "$name: a line is broken"
passed "$name"

name="without a pull request, nothing is posted"
rm gh.calls
commented "$worse" ""
commented "$worse" '1; touch pwned'
[ ! -e gh.calls ] && [ ! -e pwned ] || fail "$name"
passed "$name"

name="the version of these sources is installed, or the one that is asked for"
installed() { GATE_VERSION=$1 GITHUB_OUTPUT=outputs "$gate" install >log 2>&1; }
: >outputs
installed "" || fail "$name"
has pip.arguments "sharpbench==$("$program" --version | sed 's/.* //')" "$name"
has outputs "program=$place/temp/sharpbench-program." "$name"
installed 1.2.3 || fail "$name"
has pip.arguments "sharpbench==1.2.3" "$name"
passed "$name"

name="a version that is none is refused"
rm pip.arguments
for text in 'latest' '1.2.3 --index-url=http://127.0.0.1' 'x @ file:///tmp/x' '--pre' $'1.2.3\nsix'; do
  ! installed "$text" || fail "$name: $text"
done
[ ! -e pip.arguments ] || fail "$name"
passed "$name"
