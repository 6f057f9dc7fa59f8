// npm's "prepare": a plain `npm install` in a clone, and `npm install git+...`, build the addon.
// Installing without devDependencies is how people build images from a clone, and those may bring an addon that was
// built elsewhere, or run where there is none: that must not fail for want of a compiler.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { buildAddon, findCargo, hostPlatform, main, root } from './workspace.mjs';

await main(() => {
  const host = hostPlatform();
  if (!host) {
    console.log(`stillcore: no addon for ${process.platform}-${process.arch}, nothing to build; the module loads and its calls say so.`);
    return;
  }
  if (!findCargo()) {
    const omitsDev = /\bdev\b/.test(process.env.npm_config_omit ?? '') || process.env.NODE_ENV === 'production';
    if (existsSync(join(root, host.binary))) {
      console.log(`stillcore: no Rust here, keeping ${host.binary} as it is.`);
      return;
    }
    if (omitsDev) {
      console.warn('stillcore: no Rust here, the addon was not built; `npm run build` builds it where there is Rust.');
      return;
    }
  }
  buildAddon();
});
