import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Makes an empty folder that is removed when the test ends (`t`: the context of a test, or the module node:test's
 * `{ after }` for one that a whole file shares).
 * The mode lets other users in unless told otherwise, for scripts that run with another uid.
 */
export function temporaryFolder(t, { prefix = 'stillcore-', mode = 0o755, parent = tmpdir() } = {}) {
  const folder = mkdtempSync(join(parent, prefix));
  chmodSync(folder, mode);
  t.after(() => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }));
  return folder;
}

/** The same in memory, where there is room for a few cores: for tests that take many and want to be quick. */
export function quickFolder(t, options = {}) {
  const memory = '/dev/shm';
  try {
    const { bsize, bavail } = statfsSync(memory);
    if (bsize * bavail > 2 ** 31) return temporaryFolder(t, { parent: memory, ...options });
  } catch {
    // There is none.
  }
  return temporaryFolder(t, options);
}

/** Calls `probe` until it gives something truthy, and gives that; a probe that throws has not succeeded yet. */
export async function waitFor(probe, { timeout = 10_000, interval = 20, what = 'the condition' } = {}) {
  const end = Date.now() + timeout;
  for (;;) {
    let error;
    try {
      const value = await probe();
      if (value) return value;
    } catch (caught) {
      error = caught;
    }
    if (Date.now() > end) throw new Error(`waited ${timeout} ms for ${what} in vain`, { cause: error });
    await sleep(interval);
  }
}

/**
 * Whether a file has a text, in whatever other bytes. Not by grep's -a: with it a hole is one line of half a gigabyte, and
 * takes seconds to read; without it each NUL ends a line, and holes are passed over.
 */
export const hasText = (path, text) => spawnSync('grep', ['-q', '-F', '-e', text, path]).status === 0;
