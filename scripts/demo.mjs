// npm run demo: sets up what a fresh clone lacks, then runs example/demo.mjs with the arguments given.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { buildAddon, Failure, findCargo, hostPlatform, installDevDependencies, main, root } from './workspace.mjs';

await main(async () => {
  const host = hostPlatform();
  if (!host) throw new Failure(`stillcore runs on Linux with glibc; this is ${process.platform}-${process.arch}.`);
  installDevDependencies();
  // cargo knows best whether there is anything to build. Without it, an addon that is there already will do.
  if (findCargo() || !existsSync(join(root, host.binary))) buildAddon();

  const demo = spawn(process.execPath, [join(root, 'example', 'demo.mjs'), ...process.argv.slice(2)], { cwd: root, stdio: 'inherit' });
  // A terminal sends Ctrl-C to both; the demo stops its service, and this process waits for that.
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => signal === 'SIGTERM' && demo.kill(signal));
  process.exitCode = await new Promise((resolve, reject) => {
    demo.on('error', reject);
    demo.on('exit', (code) => resolve(code ?? 1));
  });
});
