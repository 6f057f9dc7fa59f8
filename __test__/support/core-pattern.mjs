// Changes kernel.core_pattern of the whole host for a moment. Test files run one after the other (scripts/test.mjs),
// so no other capture meets it; and it is put back whatever happens to this process.
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';

const PATTERN = '/proc/sys/kernel/core_pattern';
const USES_PID = '/proc/sys/kernel/core_uses_pid';

/** Why the pattern cannot be changed here, or false. */
export const noPatternChange = (() => {
  try {
    writeFileSync(PATTERN, readFileSync(PATTERN, 'utf8'));
    return false;
  } catch (error) {
    return `kernel.core_pattern cannot be changed here (${error.code})`;
  }
})();

/** Runs `work` while the host has that pattern; gives what it gives. */
export async function withCorePattern({ pattern, usesPid = 0 }, work) {
  const [oldPattern, oldUsesPid] = [PATTERN, USES_PID].map((path) => readFileSync(path, 'utf8').replace(/\n$/, ''));
  // It waits for the end of its input, which comes also when this process is killed, and then restores.
  const script = `cat >&2; printf '%s\\n' "$1" > ${PATTERN}; printf '%s\\n' "$2" > ${USES_PID}`;
  const guard = spawn('sh', ['-c', `trap '' INT TERM HUP; ${script}`, 'sh', oldPattern, oldUsesPid], {
    detached: true, stdio: ['pipe', 'ignore', 'inherit'],
  });
  const restored = new Promise((resolve, reject) => guard.on('error', reject).on('exit', resolve));
  try {
    writeFileSync(PATTERN, `${pattern}\n`);
    writeFileSync(USES_PID, `${usesPid}\n`);
    return await work();
  } finally {
    guard.stdin.end();
    await restored;
  }
}
