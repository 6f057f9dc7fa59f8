// capture() in a subject, and what must hold for every capture by any way.
import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { readElf } from './core-file.mjs';
import { asBefore, checkCore, seen, stateOf } from './subject.mjs';

const run = promisify(execFile);

/** capture(options) in a subject: { capture } or { error }, in the shape of support/subject.mjs. */
export function captureIn(subject, options) {
  return subject.run(({ stillcore, describe }, options) => stillcore.capture(options).then(
    (capture) => ({ capture, path: capture.path, calls: 1 }),
    (error) => ({ error: describe(error), calls: 1 }),
  ), options);
}

/** A capture of a bare core that must succeed, by that way; checked, removed, and the subject as before. Gives it. */
export async function mustCapture(subject, directory, expected = {}, options = {}) {
  const before = stateOf(subject, directory);
  const { capture, error } = await captureIn(subject, { directory, what: 'core', ...options });
  assert.equal(error, undefined, `the capture failed: ${JSON.stringify(error)}`);
  for (const [name, value] of Object.entries(expected)) assert.deepEqual(capture[name], value, `${name} of ${JSON.stringify({ ...capture, skipped: [] })}`);
  await checkCore(subject, capture.path, directory);
  const path = seen(subject, capture.path);
  const elf = readElf(path);
  assert.equal(elf.size, elf.expectedSize);
  assert.equal(statSync(path).size, capture.bytes);
  await rm(dirname(path), { recursive: true });
  await asBefore(subject, before, directory);
  return { ...capture, elf };
}

/** The same for an archive: gives the capture and its manifest. */
export async function mustCollect(subject, directory, expected = {}, options = {}) {
  const before = stateOf(subject, directory);
  const { capture, error } = await captureIn(subject, { directory, ...options });
  assert.equal(error, undefined, `the capture failed: ${JSON.stringify(error)}`);
  for (const [name, value] of Object.entries(expected)) assert.deepEqual(capture[name], value, name);
  const path = seen(subject, capture.path);
  const manifest = await manifestOf(path);
  for (const marker of subject.markers) await holds(path, marker);
  await rm(path);
  await asBefore(subject, before, directory);
  return { ...capture, manifest };
}

/** The manifest of an archive. */
export async function manifestOf(path) {
  const { stdout } = await run('tar', ['-xOf', path, '--wildcards', '*/manifest.json'], { maxBuffer: 1 << 26 });
  return JSON.parse(stdout);
}

/** That the core in an archive holds a text. */
export async function holds(path, text) {
  await run('sh', ['-c', 'tar -xOf "$0" --wildcards "*/core" | grep -q -F -e "$1"; exit $?', path, text])
    .catch(() => assert.fail(`no '${text}' in the core of ${path}`));
}
