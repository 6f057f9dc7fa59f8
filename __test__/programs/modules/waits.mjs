import './circle-b.mjs';
await new Promise(() => {});
export const never = 1;
