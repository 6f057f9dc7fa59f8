// Runs scripts on one of the Node binaries of nodes.mjs, in the condition a test wants: arguments, environment, user,
// limits. Every process started here is killed when its test ends.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { nodeOf } from './nodes.mjs';

/**
 * Starts a script and gives its process at once.
 *
 * @param {number | string | { path?: string }} node  a major version, the path of a binary, or an entry of nodes()
 * @param {string | { source: string }} script  a file, or source text (CommonJS, as `node -e` takes it)
 * @param {object} [options]
 * @param {string[]} [options.args]      for the script: process.argv from index 2 on (from 1 on with source text)
 * @param {string[]} [options.execArgv]  for Node itself
 * @param {Record<string, string | undefined>} [options.env]  on top of this process's own; undefined removes a name
 * @param {string} [options.cwd]
 * @param {number} [options.uid]         needs root; the group is the same unless `gid` is given
 * @param {number} [options.gid]
 * @param {Record<string, string | number>} [options.prlimit]  { core: 0, fsize: '1000:2000' } -> prlimit --core=0 ...
 * @param {string[]} [options.wrap]      a command that runs the whole, as ['systemd-run', '--scope']
 * @param {number} [options.timeout]     ms until the process is killed; 120,000 unless told
 * @param {boolean} [options.ipc]        a channel for process.send()
 * @param {import('node:test').TestContext} [options.t]  kills the process when this test ends
 */
export async function startNode(node, script, options = {}) {
  const { args = [], execArgv = [], env = {}, cwd, uid, gid = uid, prlimit, wrap = [], timeout = 120_000, ipc, t } = options;
  const path = typeof node === 'number' ? (await nodeOf(node)).path : typeof node === 'string' ? node : node.path;
  if (!path) throw new Error('there is no such Node here: give the test { skip: node.skip }');
  const limits = Object.entries(prlimit ?? {}).map(([name, value]) => `--${name}=${value}`);
  const command = [
    ...wrap,
    ...(limits.length ? ['prlimit', ...limits] : []),
    path,
    ...execArgv,
    ...(typeof script === 'string' ? [script] : ['-e', script.source, '--']),
    ...args,
  ];

  // The runner sets NODE_TEST_CONTEXT for its own files; a node:test inside the script would talk to it.
  const environment = { ...process.env, NODE_TEST_CONTEXT: undefined, NODE_OPTIONS: undefined, ...env };
  const child = spawn(command[0], command.slice(1), {
    cwd, uid, gid, env: environment, stdio: ['pipe', 'pipe', 'pipe', ...(ipc ? ['ipc'] : [])],
  });
  const process_ = { child, pid: child.pid, stdout: '', stderr: '' };
  child.stdin.on('error', () => {}); // a script that does not read its input
  child.stderr.setEncoding('utf8').on('data', (text) => (process_.stderr += text));
  child.stdout.setEncoding('utf8').on('data', (text) => (process_.stdout += text));
  const waiting = new Set();
  createInterface({ input: child.stdout }).on('line', (line) => {
    for (const one of waiting) one.line(line);
  });

  let ended; // the error that a wait for a line gets once none can come any more
  const end = (error) => {
    clearTimeout(timer);
    ended = error;
    for (const one of waiting) one.end(error);
  };
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill('SIGKILL');
  }, timeout);
  /** Settles when the process has ended and its output is read: { code, signal, stdout, stderr, pid, timedOut } */
  process_.done = new Promise((resolve, reject) => {
    child.on('error', (error) => {
      end(error);
      reject(error);
    });
    child.on('close', (code, signal) => {
      const { pid, stdout, stderr } = process_;
      end(new Error(`the process ended (${signal ?? code}) before it printed that line\n${stdout}${stderr}`));
      resolve({ code, signal, stdout, stderr, pid, timedOut });
    });
  });
  process_.done.catch(() => {}); // whoever wants it awaits it; a failed start must not be an unhandled rejection too

  /** Gives the first line on stdout, from now on or already there, that matches; rejects when the process ends first. */
  process_.line = (pattern) => {
    const matches = (line) => (typeof pattern === 'string' ? line === pattern : pattern.test(line));
    const already = process_.stdout.split('\n').slice(0, -1).find(matches);
    if (already !== undefined) return Promise.resolve(already);
    if (ended) return Promise.reject(ended);
    return new Promise((resolve, reject) => {
      const one = {
        line: (line) => matches(line) && (waiting.delete(one), resolve(line)),
        end: (error) => (waiting.delete(one), reject(error)),
      };
      waiting.add(one);
    });
  };

  t?.after(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await process_.done.catch(() => {});
  });
  return process_;
}

/** Runs a script to its end: { code, signal, stdout, stderr, pid, timedOut }. Takes what startNode takes, and `input`. */
export async function runNode(node, script, options = {}) {
  const started = await startNode(node, script, options);
  started.child.stdin.end(options.input);
  return started.done;
}
