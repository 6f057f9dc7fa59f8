// npm run packages [-- folder]: the tarballs as they are published, in .cache/packages/ unless told otherwise.
//
// They are packed from a copy: the published package.json differs from the one in git. It names the platform packages
// as optionalDependencies, which git cannot (before they are published, `npm ci` fails on a name that the registry
// does not have), and it has no scripts, so that installing it never runs anything.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { buildRelease } from './build-release.mjs';
import { cache, command, commands, Failure, isProgram, main, manifest, npm, platforms, readJson, root } from './workspace.mjs';

/**
 * Packs the addon's and the command's main packages, and one of each for every platform that has a binary, into
 * `folder`; gives the tarballs' paths. `binaries` says where those are: { 'stillcore-linux-x64-gnu': path }.
 */
export function pack(folder, binaries) {
  const staging = mkdtempSync(join(tmpdir(), 'stillcore-pack-'));
  const packPlatforms = (all) => all
    .filter((platform) => binaries[platform.package])
    .map((platform) => packFolder(stagePlatform(join(staging, platform.name), platform, binaries[platform.package]), folder));
  try {
    mkdirSync(folder, { recursive: true });
    return {
      main: packFolder(stageMain(join(staging, 'main')), folder),
      platforms: packPlatforms(platforms),
      command: packFolder(stageCommand(join(staging, 'cli')), folder),
      commands: packPlatforms(commands),
    };
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

function stageMain(folder) {
  const { scripts, devDependencies, napi, ...published } = manifest;
  const names = readdirSync(root);
  // The addon is in `files` for `npm install git+...`; a published one comes in its platform's package.
  published.files = manifest.files.filter((pattern) => !pattern.endsWith('.node'));
  published.optionalDependencies = Object.fromEntries(platforms.map((platform) => [platform.package, manifest.version]));
  const copied = names.filter((name) => published.files.includes(name) || /^(README\.md|CHANGELOG\.md|LICENSE-.*)$/.test(name));
  for (const name of copied) cpSync(join(root, name), join(folder, name), { recursive: true });
  return writeManifest(folder, published);
}

function stageCommand(folder) {
  const published = readJson(join(command.folder, 'package.json'));
  if (published.version !== manifest.version) throw new Failure(`npm/cli/package.json: "version" must be ${manifest.version}`);
  published.optionalDependencies = Object.fromEntries(commands.map((platform) => [platform.package, manifest.version]));
  cpSync(command.folder, folder, { recursive: true });
  for (const name of readdirSync(root).filter((one) => one.startsWith('LICENSE-'))) cpSync(join(root, name), join(folder, name));
  return writeManifest(folder, published);
}

function stagePlatform(folder, platform, binary) {
  const published = readJson(join(platform.folder, 'package.json'));
  const expected = { name: platform.package, version: manifest.version };
  // A command is run, not loaded.
  if (platform.binary.endsWith('.node')) expected.main = platform.binary;
  for (const [field, value] of Object.entries(expected)) {
    if (published[field] !== value) throw new Failure(`npm/${platform.name}/package.json: "${field}" is ${published[field]}, and must be ${value}`);
  }
  for (const name of readdirSync(root).filter((one) => one.startsWith('LICENSE-'))) cpSync(join(root, name), join(folder, name));
  cpSync(join(platform.folder, 'README.md'), join(folder, 'README.md'));
  cpSync(binary, join(folder, platform.binary));
  return writeManifest(folder, published);
}

function writeManifest(folder, published) {
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(published, null, 2)}\n`);
  return folder;
}

function packFolder(folder, destination) {
  const { name, version, main: entry, bin = {}, files } = readJson(join(folder, 'package.json'));
  for (const file of [entry, ...Object.values(bin), ...files.filter((pattern) => !pattern.includes('*'))]) {
    if (file && !existsSync(join(folder, file))) throw new Failure(`${name}: ${file} is missing`);
  }
  npm(['pack', '--ignore-scripts', '--silent', '--pack-destination', destination], { cwd: folder, stdio: 'pipe', encoding: 'utf8' });
  return join(destination, `${name}-${version}.tgz`);
}

if (isProgram(import.meta.url)) {
  await main(() => {
    if (process.argv[2] === '--explain') {
      throw new Failure(
        'The package in this folder is not the one to publish: run `npm run packages`, then `npm publish` each tarball, the platforms\' first.',
      );
    }
    const folder = resolve(process.argv[2] ?? join(cache, 'packages'));
    const built = buildRelease();
    const packed = pack(folder, Object.fromEntries(built.map((one) => [one.package, one.path])));
    for (const tarball of [...packed.platforms, packed.main, ...packed.commands, packed.command]) console.log(relative(process.cwd(), tarball));
  });
}
