// npm run build:release: the addons and the command lines as they are published, in npm/<platform>/ and npm/cli-<platform>/.
//
// A binary linked on a new Linux needs that Linux's glibc, newer than what Node itself asks for (2.28). So the
// published ones are linked by zig, which brings the symbol lists of every glibc and can be told which to link against.
// zig and cargo-zigbuild come from PyPI into .cache/; nothing is installed on the machine.
import { existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, join, relative } from 'node:path';
import { crossToolchain } from './cross.mjs';
import { compareVersions, requirements } from './elf.mjs';
import { cache, command, commands, Failure, findCargo, isProgram, main, manifest, NoToolchain, output, placeFile, platforms, root, run, targetDirectory, works } from './workspace.mjs';

export { NoToolchain };
export const GLIBC = '2.28';
const MAX_SIZE = 1_500_000;
const MAX_COMMAND_SIZE = 15_000_000;
const TOOLS = ['cargo-zigbuild==0.24.0', 'ziglang==0.17.1'];
// What every glibc system that runs Node has. Anything else would be a library that users must install.
const LIBRARIES = /^(libc|libm|libdl|libpthread|librt|libgcc_s|ld-linux-[\w-]+)\.so\.\d+$/;

/**
 * Builds and checks the addon and the command of each published platform; gives what was found out about each. The
 * platforms of other machines are left out, saying why, where Rust cannot build for them; with `own` without a word.
 */
export function buildRelease({ quiet = false, own = false } = {}) {
  if (!findCargo()) throw new Failure('Building stillcore needs Rust (cargo was not found in PATH): install it with rustup, then run this again.');
  const tools = toolchain();
  const build = (platform, crate, file, most) => {
    let env = tools;
    if (platform.cpu !== process.arch) {
      if (own) return [];
      try {
        env = { ...tools, ...crossToolchain(platform.target) };
      } catch (error) {
        if (!(error instanceof NoToolchain)) throw error;
        console.log(`skipped: ${platform.package}: ${error.message}`);
        return [];
      }
    }
    const start = quiet ? output : run;
    start('cargo', ['zigbuild', '--release', '--locked', '--package', crate, '--target', `${platform.target}.${GLIBC}`], { env });
    const built = join(targetDirectory(), platform.target, 'release', file);
    const found = check(built, most);
    const path = join(platform.folder, platform.binary);
    placeFile(built, path);
    return [{ ...platform, ...found, path }];
  };
  return [
    ...platforms.flatMap((platform) => build(platform, manifest.name, `lib${manifest.napi.binaryName}.so`, MAX_SIZE)),
    ...commands.flatMap((platform) => build(platform, command.crate, platform.binary, MAX_COMMAND_SIZE)),
  ];
}

/** Throws a Failure unless the file runs wherever Node does and is small; gives its size and what it needs. */
export function check(path, most = MAX_SIZE) {
  const { glibc, libraries } = requirements(path);
  const { size } = statSync(path);
  const foreign = libraries.filter((library) => !LIBRARIES.test(library));
  if (!glibc) throw new Failure(`${path}: names no glibc version at all; it cannot have been read rightly`);
  if (compareVersions(glibc, GLIBC) > 0) throw new Failure(`${path}: needs glibc ${glibc}, and may need at most ${GLIBC}`);
  if (foreign.length) throw new Failure(`${path}: needs ${foreign.join(', ')}`);
  if (size > most) throw new Failure(`${path}: has ${size} bytes, and may have at most ${most}`);
  return { size, glibc, libraries };
}

/** Installs the tools unless they are there, and gives the environment to run cargo zigbuild in. */
function toolchain() {
  const folder = join(cache, 'zig');
  const stamp = join(folder, 'installed');
  const venv = join(folder, 'venv');
  const plain = join(folder, 'packages');
  if (!existsSync(stamp)) {
    if (!works('python3')) throw new NoToolchain('zig comes as a Python package, and there is no python3 here.');
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    const install = ['install', '--quiet', '--disable-pip-version-check', '--retries', '1', '--timeout', '60', ...TOOLS];
    try {
      try {
        output('python3', ['-m', 'venv', venv]);
      } catch {
        // Debian has the venv module in a package of its own; pip alone will do.
        rmSync(venv, { recursive: true, force: true });
      }
      if (existsSync(venv)) output(join(venv, 'bin', 'python3'), ['-m', 'pip', ...install]);
      else output('python3', ['-m', 'pip', ...install, '--target', plain]);
    } catch (error) {
      throw new NoToolchain(`zig could not be installed from PyPI.\n${error.message}`);
    }
    writeFileSync(stamp, `${TOOLS.join('\n')}\n`);
  }
  const bin = join(existsSync(venv) ? venv : plain, 'bin');
  const env = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` };
  // cargo-zigbuild asks the first python3 in PATH for the module ziglang.
  if (!existsSync(venv)) env.PYTHONPATH = plain;
  return env;
}

if (isProgram(import.meta.url)) {
  await main(() => {
    for (const { path, size, glibc, libraries } of buildRelease()) {
      console.log(`built ${relative(root, path)}: ${size} bytes, needs glibc ${glibc} (${libraries.join(', ')})`);
    }
  });
}
