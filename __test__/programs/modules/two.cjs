'use strict';
exports.one = require('./one.cjs');
