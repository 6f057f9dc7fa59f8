'use strict';
exports.other = require('./two.cjs');
exports.data = require('./data.json');
try { require('./fails.cjs'); } catch { /* it is gone from the cache again */ }
