// A module that waits at its top level, and one below it that does.
import './await-inner.mjs';

await new Promise((resolve) => setImmediate(resolve));
globalThis.leave();
