import { hoisted } from './cycle-a.mjs';

export const fromB = hoisted();
