// ERR_UNSUPPORTED_PLATFORM: the module loads everywhere, so that one code base runs everywhere; it is the calls that fail.
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from './support/files.mjs';
import { nodes } from './support/nodes.mjs';
import { runNode } from './support/run.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Loads a copy of index.js, after `before`, and tries every function in both forms: [[code, message], ...]. */
async function tries(node, library, before = '') {
  const source = `
    ${before}
    const stillcore = require(${JSON.stringify(library)});
    const answers = [];
    const told = (error) => answers.push([error.code, error.message, error instanceof Error, error.name]);
    (async () => {
      for (const what of ['createCore', 'collectCore']) {
        await stillcore[what]().catch(told);
        let returned = false;
        await new Promise((resolve) => {
          stillcore[what](function (error) {
            if (!returned) throw new Error('called back before it returned');
            told(error);
            resolve(arguments.length);
          });
          returned = true;
        });
        // Arguments are checked as ever.
        try {
          stillcore[what]({ directory: 7 }, () => {});
        } catch ({ code }) {
          answers.push(code);
        }
      }
      console.log(JSON.stringify(answers));
    })();
  `;
  const { code, stdout, stderr } = await runNode(node, { source });
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

function check(answers, message) {
  assert.equal(answers.length, 6);
  for (const answer of answers) {
    if (answer === 'ERR_INVALID_ARG_TYPE') continue;
    assert.equal(answer[0], 'ERR_UNSUPPORTED_PLATFORM');
    assert.match(answer[1], message);
    assert.deepEqual(answer.slice(2), [true, 'Error']);
  }
}

const fake = (platform, arch) => `
  Object.defineProperty(process, 'platform', { value: ${JSON.stringify(platform)} });
  Object.defineProperty(process, 'arch', { value: ${JSON.stringify(arch)} });
`;

test('other systems, and processors that there is no binary for', async () => {
  for (const [platform, arch] of [['darwin', 'arm64'], ['win32', 'x64'], ['freebsd', 'x64']]) {
    check(await tries(22, root, fake(platform, arch)), new RegExp(`${platform}-${arch}: .*Linux only`));
  }
  check(await tries(20, root, fake('linux', 's390x')), /linux-s390x here: no binary loads/);
});

for (const node of await nodes()) {
  test(`no binary, or one that does not load, on ${node.label}`, { skip: node.skip }, async (t) => {
    const folder = temporaryFolder(t);
    copyFileSync(join(root, 'index.js'), join(folder, 'index.js'));
    const name = `linux-${process.arch}-gnu`;
    check(await tries(node, folder), new RegExp(`linux-${process.arch} here.*stillcore-${name}.*npm install.*Cannot find module`));
    // What another libc's binary gives is an error of the dynamic linker.
    writeFileSync(join(folder, `stillcore.${name}.node`), 'not a library');
    check(await tries(node, folder), /no binary loads.*file too short|invalid ELF header/);
    // The package is found where the file is not.
    const installed = join(folder, 'node_modules', `stillcore-${name}`);
    mkdirSync(installed, { recursive: true });
    writeFileSync(join(installed, 'index.js'), 'throw new Error("found it")');
    check(await tries(node, folder), /found it/);
  });
}
