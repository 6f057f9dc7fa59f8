// The command, and cores of programs that leave one of themselves.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { root, targetDirectory } from '../../scripts/workspace.mjs';

export { root };
/** STILLCORE_COMMAND, or what was built; undefined where nothing was. */
export const binary = [process.env.STILLCORE_COMMAND, ...['release', 'debug'].map((profile) => join(targetDirectory(), profile, 'stillcore'))]
  .find((path) => path && existsSync(path));
export const noBinary = binary ? false : 'the command is not built: cargo build --release -p stillcore-cli';

const folders = [];
after(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

/** A folder that goes when the tests of this file are done. */
export function folder() {
  const made = mkdtempSync(join(tmpdir(), 'stillcore-autopsy-'));
  folders.push(made);
  return made;
}

/** Runs the command, whatever comes of it. */
export const tried = (...args) => spawnSync(binary, args, { encoding: 'utf8', maxBuffer: 1 << 28, timeout: 120_000 });

/** What the command prints; it must end well. */
export function stillcore(...args) {
  const done = tried(...args);
  assert.equal(done.status, 0, `stillcore ${args.join(' ')}: ${done.stderr}`);
  return done.stdout;
}

export const json = (command, core, ...args) => JSON.parse(stillcore(command, core, ...args, '--json'));

/** Runs a program that leaves a core in the folder named by its first argument: that core, and what it printed. */
export function coreOf(node, program, ...args) {
  const place = folder();
  const output = execFileSync(node.path, [...args, program, place], { encoding: 'utf8', maxBuffer: 1 << 26 });
  const inside = readdirSync(place).find((name) => name.startsWith('core'));
  return { core: join(place, inside, 'core'), output };
}

/** Addresses as <1>, <2>, in the order in which they come: the same ones get the same number. */
export function normalised(text) {
  const seen = new Map();
  return text.replace(/0x[0-9a-f]{6,}/g, (address) => {
    if (!seen.has(address)) seen.set(address, `<${seen.size + 1}>`);
    return seen.get(address);
  });
}
