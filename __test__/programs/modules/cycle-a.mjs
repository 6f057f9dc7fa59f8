// Two modules that import each other: what is hoisted here is called before this module has run.
import { fromB } from './cycle-b.mjs';

export function hoisted() { return globalThis.leave(); }
export const later = fromB;
