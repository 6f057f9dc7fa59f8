// Builds native/mapper.rs, a Node addon that maps what JavaScript cannot, with rustc alone.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cache, Failure, findCargo } from '../../scripts/workspace.mjs';

const source = fileURLToPath(new URL('../native/mapper.rs', import.meta.url));

/** The path of the addon, built when its source is newer. Throws a Failure where there is no compiler. */
export function buildMapper() {
  const built = join(cache, 'mapper', 'mapper.node');
  if (existsSync(built) && statSync(built).mtimeMs > statSync(source).mtimeMs) return built;
  findCargo(); // puts rustup's folder into PATH
  mkdirSync(join(cache, 'mapper'), { recursive: true });
  const temporary = `${built}.${process.pid}.tmp`;
  const args = ['--edition=2021', '--crate-type=cdylib', '-Copt-level=1', '-Cpanic=abort', '-Cstrip=symbols', '-o', temporary, source];
  const { error, status, stderr } = spawnSync('rustc', args, { encoding: 'utf8' });
  if (error || status !== 0) throw new Failure(`rustc cannot build ${source}: ${error?.message ?? stderr}`);
  renameSync(temporary, built);
  return built;
}
