import { a } from './circle-a.mjs';
import one from './one.cjs';
export const b = () => [a, one];
