// npm test: every check, in the order in which they are quickest to fail; also all that CI runs. Sets up what a fresh
// clone lacks, so that it is the one command to know. The tests of the API on live processes are last: their summary
// is the last thing printed.
//
//   npm test                     everything
//   npm test -- packages         builds what they need, then only the spec files with "packages" in their names
//   npm run lint                 only formatting and lints
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { buildRelease, NoToolchain } from './build-release.mjs';
import { buildAddon, buildCommand, commands, Failure, findCargo, hostPlatform, installDevDependencies, main, manifest, output, root, run, runAside, works } from './workspace.mjs';

const wanted = process.argv.slice(2).filter((argument) => !argument.startsWith('-'));
const lintOnly = process.argv.includes('--lint');
// In CI a lock file that does not fit the manifests is a failure; on a developer's machine cargo mends it.
const locked = process.env.CI ? ['--locked'] : [];

async function step(title, work) {
  console.log(`\n==> ${title}`);
  const start = performance.now();
  await work();
  console.log(`==> ${title}: ${((performance.now() - start) / 1000).toFixed(1)} s`);
}

function rustTool(name) {
  if (works('cargo', [name, '--version'])) return true;
  const component = name === 'fmt' ? 'rustfmt' : name;
  if (works('rustup')) run('rustup', ['component', 'add', component]);
  else console.log(`skipped: cargo ${name} is not installed here, and without rustup it cannot be added`);
  return works('cargo', [name, '--version']);
}

function lint() {
  if (rustTool('fmt')) run('cargo', ['fmt', '--all', '--check']);
  if (!rustTool('clippy')) return;
  const clippy = (...which) => run('cargo', ['clippy', ...locked, ...which, '--', '--deny', 'warnings']);
  clippy('--workspace', '--exclude', manifest.name, '--all-targets');
  // Not --all-targets: in a test build napi leaves out what registers the addon's functions, and all of them, and
  // what only they call, would be reported as never used. It has no Rust tests (test = false).
  clippy('--package', manifest.name, '--lib');
}

// What is published is what the tests of the command run: to build the same for this machine's own glibc takes minutes.
function releaseBuild() {
  try {
    for (const { binary, size, glibc, cpu, path } of buildRelease()) {
      console.log(`${binary}: ${size} bytes, needs glibc ${glibc}`);
      if (commands.some((one) => one.binary === binary) && cpu === process.arch) process.env.STILLCORE_COMMAND ??= path;
    }
  } catch (error) {
    if (!(error instanceof NoToolchain)) throw error;
    console.log(`skipped: ${error.message}`);
  }
}

// The readers on inputs that nobody thought of, from those that are kept: half a minute each. Each has a thread, so two
// run at a time; those of one crate one after the other, since they are built in one folder.
async function fuzz() {
  if (!works('rustc', ['+nightly', '--version'])) {
    console.log('skipped: fuzzing needs a nightly compiler (rustup toolchain install nightly)');
    return;
  }
  const one = async (crate, target) => {
    const { status, text } = await runAside('sh', [join('scripts', 'fuzz.sh'), crate, target, '30']);
    console.log(`${crate}: ${target}\n${text}`);
    if (status !== 0) throw new Failure(`fuzzing ${crate} (${target}): exit code ${status}`);
  };
  const both = [[['corefile', 'core'], ['corefile', 'process']], [['archive', 'open'], ['v8', 'heap']]];
  const ended = await Promise.allSettled(both.map(async (targets) => {
    for (const target of targets) await one(...target);
  }));
  for (const { reason } of ended) if (reason) throw reason;
}

await main(async () => {
  if (!hostPlatform()) throw new Failure(`stillcore runs on Linux with glibc; this is ${process.platform}-${process.arch}.`);
  if (!findCargo()) throw new Failure('Testing stillcore needs Rust (cargo was not found in PATH): install it with rustup, then run this again.');
  const specs = readdirSync(join(root, '__test__'))
    .filter((name) => name.endsWith('.spec.mjs') && (wanted.length === 0 || wanted.some((word) => name.includes(word))));
  if (specs.length === 0) throw new Failure(`no spec file in __test__ has a name with ${wanted.join(' or ')}`);

  console.log(`Node ${process.versions.node}, ${output('rustc', ['--version']).trim()}`);
  if (wanted.length === 0) await step('format and lints', lint);
  if (lintOnly) return;
  if (wanted.length === 0) await step('tests of the crates', () => run('cargo', ['test', ...locked, '--workspace']));
  if (wanted.length === 0) await step('fuzzing', fuzz);
  await step('the addon', buildAddon);
  if (specs.includes('packages.spec.mjs') || specs.includes('aarch64.spec.mjs')) await step('the addon and the command as published', releaseBuild);
  if (specs.some((name) => /^(cli|autopsy|archive)\b/.test(name)) && !process.env.STILLCORE_COMMAND) await step('the command', buildCommand);
  await step('development packages', () => console.log(installDevDependencies() ? 'installed' : 'already here'));
  await step('Node binaries to test on', () => run(process.execPath, [join('__test__', 'support', 'nodes.mjs')]));

  console.log('\n==> tests on live processes');
  // One file after the other: they measure times and fill disks and memory on purpose.
  const options = ['--test', '--test-reporter=spec', '--test-concurrency=1', '--test-timeout=1800000'];
  run(process.execPath, [...options, ...specs.map((name) => join('__test__', name))]);
});
