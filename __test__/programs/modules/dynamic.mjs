// A module that imports another when it runs.
const { default: run } = await import('./dynamic-inner.mjs');
await run();
