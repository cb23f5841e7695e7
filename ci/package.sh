#!/usr/bin/env bash
# Packages of this clone, in target/dist: a wheel, an archive, an SBOM and SHA256SUMS (docs/install.md).
#   ci/package.sh [--profile release]
# --profile dev packages what `cargo build` builds, in a minute, for tests. Needs Rust, a C compiler and python3 with venv.
# Exit code: 77 if its tools cannot be installed, as without a network.
set -euo pipefail
cd "$(dirname "$0")/.."

profile=release
case "$*" in
  "") ;;
  "--profile release" | "--profile dev") profile=$2 ;;
  *)
    echo "usage: ci/package.sh [--profile release|dev]" >&2
    exit 2
    ;;
esac
version=$(sed -n '/^version = "/{s/^version = "\(.*\)"$/\1/p;q;}' Cargo.toml)
target=$(rustc -vV | sed -n 's/^host: //p')
name=sharpbench-$version-$target
out=$PWD/target/dist

rm -rf "$out"
mkdir -p "$out"
python3 -m venv "$out/venv"
PATH=$out/venv/bin:$PATH
tools="maturin==1.16.0"
options=(--profile "$profile" --out "$out")
case $profile-$target in
  release-*-linux-gnu)
    # zig links against the symbols of an old glibc, whatever this machine has.
    tools="$tools ziglang==0.17.1"
    options+=(--zig --compatibility manylinux_2_17)
    ;;
  dev-*-linux-gnu) options+=(--compatibility linux) ;;
esac
# shellcheck disable=SC2086 # a list
if ! python -m pip install --quiet --disable-pip-version-check --only-binary :all: $tools; then
  echo "package: maturin cannot be installed; nothing was packaged" >&2
  exit 77
fi

# The wheel takes man pages and completions from sharpbench.data, which the program writes. It is built twice, the second time in
# seconds, since only packing is left to do.
data=$PWD/sharpbench.data
trap 'rm -rf "$data"' EXIT
rm -rf "$data"
maturin build --quiet --strip "${options[@]}"
wheel=$(echo "$out"/*.whl)
mkdir "$out/unpacked"
(cd "$out/unpacked" && python -m zipfile -e "$wheel" .)
program=$out/unpacked/sharpbench-$version.data/scripts/sharpbench
chmod +x "$program"

share=$data/data/share
mkdir -p "$share/man/man1" "$share/bash-completion/completions" "$share/zsh/site-functions" "$share/fish/vendor_completions.d"
"$program" man "$share/man/man1"
"$program" completions bash >"$share/bash-completion/completions/sharpbench"
"$program" completions zsh >"$share/zsh/site-functions/_sharpbench"
"$program" completions fish >"$share/fish/vendor_completions.d/sharpbench.fish"
rm "$wheel"
maturin build --quiet --strip "${options[@]}"

mkdir -p "$out/$name/completions"
cp "$program" README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE suites/suite.schema.json "$out/$name"
cp -R "$share/man/man1" "$out/$name/man"
cp "$share"/bash-completion/completions/* "$share"/zsh/site-functions/* "$share"/fish/vendor_completions.d/* "$out/$name/completions"
cp "$out/unpacked/sharpbench-$version.dist-info/sboms/sharpbench.cyclonedx.json" "$out/$name.cdx.json"
tar -C "$out" -czf "$out/$name.tar.gz" "$name"
rm -rf "$out/unpacked" "$out/${name:?}" "$out/venv"

cd "$out"
if command -v sha256sum >/dev/null; then
  sha256sum -- *.whl *.tar.gz *.cdx.json >SHA256SUMS
else
  shasum -a 256 -- *.whl *.tar.gz *.cdx.json >SHA256SUMS # macOS
fi
ls -l
if [ "$profile" = release ] && [ "$(wc -c <"$wheel")" -gt 25000000 ]; then
  echo "package: the wheel is larger than 25 MB" >&2
  exit 1
fi
