// npm run build: the addon of this machine, optimised, at the top level of the clone.
import { relative } from 'node:path';
import { buildAddon, main, root } from './workspace.mjs';

await main(() => {
  console.log(`built ${relative(root, buildAddon())}`);
});
