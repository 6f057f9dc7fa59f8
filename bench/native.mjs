// Builds and loads bench/native, the bare fork.

import { execFileSync } from 'node:child_process'
import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'

const FOLDER = new URL('./native/', import.meta.url)

export function buildNative() {
  const manifest = fileURLToPath(new URL('Cargo.toml', FOLDER))
  const target = fileURLToPath(new URL('target', FOLDER))
  execFileSync('cargo', ['build', '--release', '--locked', '--quiet', '--manifest-path', manifest, '--target-dir', target], { stdio: 'inherit' })
}

export function loadNative() {
  const module = { exports: {} }
  process.dlopen(module, fileURLToPath(new URL('target/release/libstillcore_bench.so', FOLDER)), constants.dlopen.RTLD_NOW)
  return module.exports
}
