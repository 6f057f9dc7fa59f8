// npm run packages [-- folder]: the tarballs as they are published, in .cache/packages/ unless told otherwise.
//
// They are packed from a copy: the published package.json differs from the one in git. It names the platform packages
// as optionalDependencies, which git cannot (before they are published, `npm ci` fails on a name that the registry
// does not have), and it has no scripts, so that installing it never runs anything.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { buildRelease } from './build-release.mjs';
import { cache, Failure, isProgram, main, manifest, npm, platforms, readJson, root } from './workspace.mjs';

/**
 * Packs the main package, and one for each platform that has a binary, into `folder`; gives the tarballs' paths.
 * `binaries` says where those are: { 'stillcore-linux-x64-gnu': path }.
 */
export function pack(folder, binaries) {
  const staging = mkdtempSync(join(tmpdir(), 'stillcore-pack-'));
  try {
    mkdirSync(folder, { recursive: true });
    return {
      main: packFolder(stageMain(join(staging, 'main')), folder),
      platforms: platforms
        .filter((platform) => binaries[platform.package])
        .map((platform) => packFolder(stagePlatform(join(staging, platform.name), platform, binaries[platform.package]), folder)),
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

function stagePlatform(folder, platform, binary) {
  const published = readJson(join(platform.folder, 'package.json'));
  const expected = { name: platform.package, version: manifest.version, main: platform.binary };
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
  const { name, version, main: entry } = readJson(join(folder, 'package.json'));
  if (!existsSync(join(folder, entry))) throw new Failure(`${name}: ${entry} is missing`);
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
    for (const tarball of [...packed.platforms, packed.main]) console.log(relative(process.cwd(), tarball));
  });
}
