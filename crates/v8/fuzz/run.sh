#!/bin/sh
# Runs the fuzz target for some seconds: run.sh heap [seconds]. It needs a nightly compiler (rustup toolchain install
# nightly) and no cargo-fuzz; what cargo-fuzz passes to the compiler is passed here. New inputs stay out of corpus/.
set -eu
cd "$(dirname "$0")"
target=${1:?which target: heap}
seconds=${2:-60}
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
RUSTFLAGS="--cfg fuzzing -Cdebug-assertions -Coverflow-checks -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares" \
  cargo +nightly build --quiet --release --target "$host" --bin "$target"
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
"target/$host/release/$target" "$new" "corpus/$target" \
  -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 -max_len=4096 -artifact_prefix="$PWD/artifacts-"
