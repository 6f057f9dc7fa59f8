#!/bin/sh
# Runs a fuzz target of a reader for some seconds: scripts/fuzz.sh CRATE TARGET [SECONDS], the targets are those of
# crates/CRATE/fuzz. It needs a nightly compiler (rustup toolchain install nightly) and no cargo-fuzz; what cargo-fuzz
# passes to the compiler is passed here. New inputs stay out of corpus/.
set -eu
crate=${1:?which crate: corefile, archive or v8}
target=${2:?which target: one of crates/$crate/fuzz/corpus}
seconds=${3:-60}
cd "$(dirname "$0")/../crates/$crate/fuzz"
case $target in
  # A list of changes to a kept image, 16 bytes each: more of them leave nothing of it.
  heap) longest=4096 ;;
  *) longest=65536 ;;
esac
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
RUSTFLAGS="--cfg fuzzing -Cdebug-assertions -Coverflow-checks -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares" \
  cargo +nightly build --quiet --release --target "$host" --bin "$target"
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
"target/$host/release/$target" "$new" "corpus/$target" \
  -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 -max_len="$longest" -artifact_prefix="$PWD/artifacts-"
