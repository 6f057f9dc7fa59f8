// llnode, the plug-in for lldb that reads Node up to 20: a second opinion. LLNODE names one that was built already; else it is
// built once into .cache/llnode/, from its npm package and the headers of the lldb at hand.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { root } from '../../scripts/workspace.mjs';

const run = promisify(execFile);
/** The last release; its sources as its gyp file lists them. */
const release = '4.0.0';
const sources = ['constants', 'error', 'llnode', 'llv8', 'llv8-constants', 'llscan', 'printer', 'node', 'node-constants', 'settings'];

/** `path` of the plug-in, and `skip`: false, or why there is none. */
export async function llnode() {
  if (process.env.LLNODE) {
    const path = process.env.LLNODE;
    return { path, skip: existsSync(path) ? false : `LLNODE names ${path}, which is not there` };
  }
  const version = await run('lldb', ['--version']).then(({ stdout }) => /version (\d+)/.exec(stdout)?.[1], () => undefined);
  if (!version) return { skip: 'there is no lldb here' };
  const folder = join(root, '.cache', 'llnode', version);
  const path = join(folder, 'llnode.so');
  if (existsSync(path)) return { path, skip: false };
  const own = `${folder}.${process.pid}.tmp`;
  try {
    await build(own, version);
    await rm(folder, { recursive: true, force: true });
    await rename(own, folder).catch((error) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
    return { path, skip: false };
  } catch (error) {
    const said = String(error.stderr || error.message).split('\n').find((line) => /error|E: /i.test(line)) ?? error.message;
    return { skip: `llnode could not be built: ${said}` };
  } finally {
    await rm(own, { recursive: true, force: true });
  }
}

async function build(own, version) {
  await mkdir(own, { recursive: true });
  let include = `/usr/lib/llvm-${version}/include`;
  if (!existsSync(join(include, 'lldb'))) {
    // Only the headers are needed: lldb itself has the functions.
    await run('apt-get', ['download', '-o', 'APT::Sandbox::User=', `liblldb-${version}-dev`], { cwd: own, timeout: 120_000 });
    const name = (await readdir(own)).find((one) => one.endsWith('.deb'));
    await run('dpkg-deb', ['-x', name, 'headers'], { cwd: own });
    include = join(own, 'headers', include);
  }
  await run('npm', ['pack', '--silent', `llnode@${release}`], { cwd: own, timeout: 120_000 });
  await run('tar', ['-xf', `llnode-${release}.tgz`], { cwd: own });
  const args = ['-std=c++14', '-O2', '-w', '-fPIC', '-shared', '-DNDEBUG', '-I.', `-I${include}`];
  await run('g++', [...args, ...sources.map((name) => `src/${name}.cc`), '-o', join(own, 'llnode.so')],
    { cwd: join(own, 'package'), timeout: 600_000, maxBuffer: 1 << 26 });
  for (const name of await readdir(own)) if (name !== 'llnode.so') await rm(join(own, name), { recursive: true });
}

/** What lldb prints of commands of llnode's over a core. */
export async function ask(plugin, node, core, ...commands) {
  const args = ['-b', '-o', `plugin load ${plugin}`, ...commands.flatMap((command) => ['-o', command]), node, '-c', core];
  return (await run('lldb', args, { maxBuffer: 1 << 28, timeout: 300_000 })).stdout;
}
