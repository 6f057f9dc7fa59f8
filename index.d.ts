/// <reference types="node" />

import type { Readable } from 'node:stream'

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
  /**
   * How the copy of this process becomes a core. `kernel`: it crashes, and the kernel dumps it. `direct`: it sleeps, and
   * this process reads it; that needs no core file from the kernel, no room for one, and takes less time. `auto` (the
   * default): by the kernel where that will surely leave a whole file, else directly; also directly where `maxSize` or
   * `include.dontDump` asks for what the kernel cannot do. The environment variable `STILLCORE_METHOD` sets another default.
   */
  method?: 'auto' | 'kernel' | 'direct'
  /** Whose registers are in the core; default `all`. `calling` leaves the other threads alone (no ptrace). */
  threads?: 'all' | 'calling'
  /** `.tar.gz` (default), `.tar.zst` or `.tar`. */
  compression?: 'gzip' | 'zstd' | 'none'
  /** 1 to 9 for gzip, 1 to 4 for zstd; default 1. */
  level?: number
  /** Threads that compress; default as many as the CPUs that this process may use, at most 8. */
  compressionThreads?: number
  /** What more of the memory. */
  include?: {
    /** Also the pages that are the same in a mapped file; the archive holds the ELF files anyway. Default false; the kernel
     * writes them always. */
    files?: boolean
    /** Also what is marked MADV_DONTDUMP, such as OpenSSL's secure heap. Default false. Not by the kernel. */
    dontDump?: boolean
  }
  /**
   * The most bytes the core may have; not by the kernel. What matters least is left out, and listed: large buffers
   * first, then other native memory, then V8's heap; never stacks.
   */
  maxSize?: number
  /** Told about every 50 ms how far the capture is. `total` is an estimate while the kernel is `dumping`. */
  onProgress?: (progress: { phase: 'dumping' | 'writing'; bytes: number; total: number }) => void
}

/** What a capture produced. */
export interface Capture {
  /** Absolute path of the core or archive; undefined for a stream. */
  path: string | undefined
  /** The way that was taken. */
  method: 'kernel' | 'direct'
  /** The code of the kernel's failure, where a first attempt by the kernel yielded nothing. The core then is of a later instant. */
  fallback?: string
  /** Milliseconds that the calling thread was held. */
  pauseMs: number
  /** Milliseconds from the call to the result. */
  totalMs: number
  /** Size of the result. */
  bytes: number
  /** Threads whose registers are in the core, and threads there were. */
  threads: { captured: number; total: number }
  /** Mappings whose memory is not in the core, and why (direct way). Addresses in hexadecimal. */
  skipped: { start: string; end: string; name: string; reason: string }[]
  /** What a reader of the core should know. */
  notes: string[]
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

/**
 * Takes a core or (by default) an archive and tells what was done. `createCore` and `collectCore` are short forms of it.
 *
 * @example
 * const { path, pauseMs } = await capture({ directory: '/var/tmp', compression: 'zstd' })
 */
export function capture(options?: CaptureOptions & { what?: 'core' | 'archive' }): Promise<Capture>

/**
 * The archive of `collectCore` as a stream: for read-only file systems, and for sending it straight to a client or a
 * bucket. Nothing is written to disk. The fork has happened when it returns. The stream fails (`error`) where the capture
 * does, also when nobody reads for `stallTimeout`; destroying it ends the capture. Before its end it emits `capture`
 * with a {@link Capture}.
 *
 * @example
 * await pipeline(streamCore({ compression: 'zstd' }), response)
 */
export function streamCore(options?: CaptureOptions & { method?: 'auto' | 'direct' }): Readable

/** Where to look. */
export interface DoctorOptions {
  /** Where the result of a capture would go; default as for captures. It need not exist: then the report says so. */
  directory?: string
}

/**
 * Tells what a capture would meet in this process, here and now, without taking one: it only reads, and leaves
 * nothing behind. It looks from a thread of libuv's pool (about 20 ms per GB of V8's heap).
 *
 * It rejects only for wrong arguments. What cannot be read is `null`, and `warnings` say why. Where stillcore does
 * not run at all, it resolves with `ok: false` and the reason in `ways`.
 *
 * `node -r stillcore/doctor [app.js]` prints the same as a table (`STILLCORE_DOCTOR=json`: as JSON).
 *
 * @example
 * const { ok, ways } = await doctor({ directory: '/var/tmp' })
 * if (!ok) console.warn(ways.kernel.why, ways.kernel.change)
 */
export function doctor(options?: DoctorOptions): Promise<Report>

/** What {@link doctor} found. */
export interface Report {
  /** Whether `createCore` would work, by one of the `ways`, as things are now. */
  ok: boolean
  /** `process.platform` and `process.arch`: `linux-x64`. */
  platform: string
  /** `process.version`. */
  node: string
  /** The C library, as it names itself; musl tells no version. */
  libc: { name: 'glibc' | 'musl'; version: string | null } | null
  /** `/proc/sys/kernel/core_pattern`, what it means, and whether a core would be left where captures look for it. */
  corePattern: { value: string; meaning: string; kernelWay: boolean } | null
  /**
   * getrlimit: the largest core (RLIMIT_CORE) and the largest file (RLIMIT_FSIZE), the address space (RLIMIT_AS, `ulimit -v`)
   * and private writable memory (RLIMIT_DATA, `ulimit -d`).
   */
  limits: { core: Limit | null; fileSize: Limit | null; addressSpace: Limit | null; data: Limit | null }
  /** `/proc/sys/kernel/yama/ptrace_scope`, 0 to 3; null also where the kernel has no Yama. */
  yama: number | null
  /** `Seccomp` and `Seccomp_filters` of `/proc/self/status`; the number only since Linux 5.9. */
  seccomp: { mode: 'none' | 'strict' | 'filter'; filters: number | null } | null
  /** `CapEff` of `/proc/self/status`: the set in hexadecimal, and whether it holds those that matter here. */
  capabilities: {
    effective: string
    /** Raises hard limits. */
    SYS_RESOURCE: boolean
    /** Attaches to threads where Yama or a process that is not dumpable forbids it. */
    SYS_PTRACE: boolean
    /** This one or SYS_ADMIN reads libraries that were deleted or replaced since they were loaded. */
    CHECKPOINT_RESTORE: boolean
    SYS_ADMIN: boolean
  } | null
  /** `NoNewPrivs` of `/proc/self/status`. */
  noNewPrivs: boolean | null
  /** prctl(PR_GET_DUMPABLE): 1 is the usual; 0 and 2 keep the kernel from dumping the process itself, not its copy. */
  dumpable: 0 | 1 | 2 | null
  /**
   * `SigCgt` and `SigIgn` of `/proc/self/status`. Handled by `node` is the usual: its WebAssembly needs that. Else `by`
   * is `process.on('SIGSEGV')`, or the file that the handler lies in. Captures work in all cases.
   */
  sigsegv: { state: 'default' | 'ignored' | 'handled'; by: string | null } | null
  /**
   * The pages that V8 keeps out of forks (`dc` in `/proc/self/smaps`): the number of ranges, and bytes of
   * address space and of memory in them. Before Node 18.20 there are none.
   */
  dontFork: { ranges: number; bytes: number; resident: number } | null
  /** `Threads` of `/proc/self/status`. */
  threads: number | null
  /** Where the result would go: bytes free for everybody (statvfs; null if it does not say), type from mountinfo. */
  directory: { path: string; writable: boolean | null; freeBytes: number | null; fileSystem: string | null }
  memory: {
    /** Bytes, `/proc/self/statm`. */
    rss: number | null
    /**
     * The tightest of the control groups with a limit, in bytes: what is free (file cache that can go counted
     * as free), and what captures leave free of that (`STILLCORE_MEMORY_RESERVE`). null: no limit.
     */
    cgroup: { version: 1 | 2; limit: number; free: number; reserve: number } | null
    /** `vm.overcommit_memory`; `free`: bytes that the kernel still promises (`/proc/meminfo`), in mode 2 only. */
    overcommit: { mode: 0 | 1 | 2 | null; free: number | null }
  }
  /**
   * Whether the namespaces are others than the host's first ones (`/proc/self/ns`; for mounts, other than process 1's,
   * null where that cannot be read), and the path of the control group that accounts memory (`/proc/self/cgroup`).
   */
  container: {
    pidNamespace: boolean | null
    userNamespace: boolean | null
    mountNamespace: boolean | null
    cgroup: string | null
  }
  /**
   * What a capture of the process as it is now would cost. Estimates, from measurements on other machines:
   * call doctor under load for figures worth planning with. null without /proc.
   */
  estimates: {
    /** Milliseconds that the calling thread is held: 22 per GB of V8's heap, 15 per GB of other memory. A busy machine may need three times as many. */
    pauseMs: number
    /** Bytes on disk of a core: all memory that no file holds, and the files that are mapped. Its holes make it look larger. */
    coreBytes: number
    /** Bytes of an archive: a quarter of the memory, half of the files. Memory that does not compress stays as it is. */
    archiveBytes: number
    /** Bytes of memory that should be free while the copy lives. */
    memoryReserve: number
    /** Bytes of disk that `collectCore` needs while it packs: core and archive. */
    freeBytesNeeded: number
  } | null
  /** By the kernel's dump of a copy, and without the kernel's help. */
  ways: { kernel: Way; direct: Way }
  /** What does not stop a capture but should be known: each a sentence or two. */
  warnings: string[]
}

/** A limit in bytes; null: unlimited. */
export interface Limit {
  soft: number | null
  hard: number | null
}

/** Whether a way to a core works; if not, why, and what to change. */
export interface Way {
  works: boolean
  why?: string
  change?: string
}
