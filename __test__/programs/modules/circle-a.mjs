import fs from 'node:fs';
import { b } from './circle-b.mjs';
export const a = () => [b, fs];
