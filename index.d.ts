/// <reference types="node" />

/** How a capture is to be taken. */
export interface CaptureOptions {
  /**
   * Where the result goes. Default: the environment variable `STILLCORE_DIRECTORY`, then
   * `process.report.directory`, then `process.cwd()`. It must exist and be writable.
   */
  directory?: string
  /** Ends the capture early: nothing is left on disk, and the error is an `AbortError` (`ABORT_ERR`). */
  signal?: AbortSignal
  /** The most a capture may take in all, in milliseconds; default 10 minutes. Then: `ERR_CORE_TIMEOUT`. */
  timeout?: number
  /** The most it may take without a byte of progress, in milliseconds; default 60 seconds. Then: `ERR_CORE_TIMEOUT`. */
  stallTimeout?: number
}

/**
 * Called once, never before the function that took it has returned.
 * `error.code` is one of the documented codes; `filename` is an absolute path.
 */
export type CaptureCallback = (error: NodeJS.ErrnoException | null, filename?: string) => void

/**
 * Takes a core of this process without stopping it.
 *
 * When it returns, the process has been forked (that is the only pause): what was set just before the call
 * is in the core, what is set just after it is not. The kernel then writes the copy's memory to
 * `<directory>/core_YYYYMMDD.HHMMSS.<pid>.<seq>/core`, which is verified before it gets that name.
 *
 * @example
 * const { createCore } = require('stillcore')
 * const filename = await createCore({ directory: '/var/tmp' })
 */
export function createCore(callback: CaptureCallback): void
export function createCore(options: CaptureOptions | undefined, callback: CaptureCallback): void
export function createCore(options?: CaptureOptions): Promise<string>

/**
 * Takes a core of this process without stopping it, and packs it with every ELF file that is mapped (the
 * node executable, every shared library, every `.node`) and a `manifest.json` into
 * `<directory>/core_YYYYMMDD.HHMMSS.<pid>.<seq>.tar.gz`: all that is needed to read it elsewhere.
 *
 * The archive gets its name only when it is whole and on disk.
 */
export function collectCore(callback: CaptureCallback): void
export function collectCore(options: CaptureOptions | undefined, callback: CaptureCallback): void
export function collectCore(options?: CaptureOptions): Promise<string>
