// Changes kernel.core_pattern of the whole host for a moment: as short as can be, since it meets every capture and every
// crash on this machine. It is put back whatever happens to this process, and two runs of the tests take turns.
import { spawn } from 'node:child_process';
import { accessSync, constants, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PATTERN = '/proc/sys/kernel/core_pattern';
const USES_PID = '/proc/sys/kernel/core_uses_pid';

/** Why the pattern cannot be changed here, or false. */
export const noPatternChange = (() => {
  try {
    accessSync(PATTERN, constants.W_OK);
    return false;
  } catch (error) {
    return `kernel.core_pattern cannot be changed here (${error.code})`;
  }
})();

/** Runs `work` while the host has that pattern; gives what it gives. Nothing else should be in `work`. */
export async function withCorePattern({ pattern, usesPid = 0 }, work) {
  // The guard waits for the end of its input, which comes also when this process is killed, and then restores.
  const script = `
    trap '' INT TERM HUP
    pattern=$(cat ${PATTERN}) uses_pid=$(cat ${USES_PID})
    echo ready
    cat > /dev/null
    printf '%s\\n' "$pattern" > ${PATTERN}
    printf '%s\\n' "$uses_pid" > ${USES_PID}
  `;
  const guard = spawn('flock', [join(tmpdir(), 'stillcore-core-pattern.lock'), 'sh', '-c', script], {
    detached: true, stdio: ['pipe', 'pipe', 'inherit'],
  });
  const restored = new Promise((resolve, reject) => guard.on('error', reject).on('exit', resolve));
  await Promise.race([restored, new Promise((resolve) => guard.stdout.once('data', resolve))]);
  try {
    writeFileSync(PATTERN, `${pattern}\n`);
    writeFileSync(USES_PID, `${usesPid}\n`);
    return await work();
  } finally {
    guard.stdin.end();
    await restored;
  }
}
