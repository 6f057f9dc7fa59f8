// What each command prints with --json: one value of the type named after it. Sizes are bytes. Addresses and registers are
// strings, for numbers of 64 bits do not survive JavaScript. Bytes that are not UTF-8 in paths and names are written \xNN.

/** `0x7f5e6c21d000`. */
export type Address = `0x${string}`

/** What every command that reads a core says beside its answer: a sentence or two each, as text on stderr. */
export interface Warnings {
  warnings: string[]
}

/** `stillcore info --json CORE` */
export interface Info extends Warnings {
  /** What was given as CORE. */
  file: string
  /** What it came in: a core by itself, or whose archive. */
  kind: Kind
  /** What lies around the core, from the outside: `gzip`, `tar`. */
  layers: string[]
  /** Bytes of the file; null for standard input. */
  fileSize: number | null
  /** How the core came to be: it died of a signal, stillcore captured it, something else (gcore) dumped it while it lived. */
  how: 'died' | 'captured' | 'dumped'
  /** The signal that it died of. */
  signal: Signal | null
  /** The capture, where stillcore took it. */
  capture: { tool: string | null; version: string | null; method: string | null; note: string | null } | null
  /** The command line, with spaces between the arguments. */
  command: string | null
  /** The arguments, as they are in memory; null where only the first 79 bytes of the command line are known. */
  arguments: string[] | null
  /** The executable's path. */
  executable: string | null
  /** Ids as the process saw them. */
  pid: number | null
  ppid: number | null
  uid: number | null
  gid: number | null
  /** When, RFC 3339. */
  time: string | null
  /** Who says so: the capture, the archive's manifest, or the time when the file was last written to. */
  timeFrom: 'capture' | 'archive' | 'file' | null
  machine: 'x86_64' | 'aarch64'
  /** How many there are. */
  threads: number
  /** The thread that died, or that asked for the core. */
  firstThread: { tid: number; name: string | null } | null
  /** `20.20.2`; null where the process was not Node, or it cannot be told. */
  node: string | null
  v8: string | null
  /** The core: its length, the length that its headers promise, and whether it is shorter than that. */
  core: { size: number; expected: number; truncated: boolean }
  /** The memory of the process by where it is. */
  memory: Share
  /** Executable and libraries, and for how many a file was found and believed. */
  modules: { count: number; found: number }
  /** What is missing, why as far as it can be told, and what to do. */
  missing: { what: string; why: string; change: string | null }[]
}

export type Kind = 'core' | 'vmcore' | 'stillcore' | 'gencore' | 'savedump' | 'core-dump-handler' | 'tar' | 'zip'

export interface Signal {
  number: number
  /** `SIGSEGV` */
  name: string
  /** si_code, its name, and what it means. */
  code: number | null
  codeName: string | null
  meaning: string | null
  /** The address of a fault. */
  address: Address | null
  /** Who sent it. */
  senderPid: number | null
  senderUid: number | null
}

/** `stillcore modules --json CORE`, by address */
export interface Modules extends Warnings {
  modules: Module[]
}

export interface Module {
  start: Address
  end: Address
  /** What is to be added to an address in the file for the one in the process. */
  bias: Address
  kind: 'executable' | 'interpreter' | 'library' | 'vdso'
  /** As the core records it. */
  path: string
  /** Its name in the dynamic linker's list, where it is there: perhaps a relative path. */
  linkName: string | null
  /** Gone from the disk when the core was made. */
  deleted: boolean
  /** That in the dumped memory. */
  buildId: string | null
  /**
   * Why the file is believed; `kernel` for the vdso, which is no file; or why there is none. `unknown`: there is one at its
   * path, and the core has nothing that tells whether it is the same.
   */
  match: 'build-id' | 'headers' | 'crc' | 'forced' | 'kernel' | 'differs' | 'unknown' | 'not found'
  /** The file that was found for it. */
  file: string | null
  /** The separate debug file that was found for it. */
  debugFile: string | null
  /** Files that lay in the right place and are others. */
  mismatches: { path: string; buildId: string | null }[]
}

/** `stillcore threads --json CORE`; the one that died is the first */
export interface Threads extends Warnings {
  threads: Thread[]
}

export interface Thread extends Place {
  tid: number
  name: string | null
  /** Whether it is the one that died of the signal. */
  died: boolean
  signal: string | null
  pc: Address
  sp: Address
  /** With -r only, by name. */
  registers?: Record<string, Address>
}

/** What lies at an address of code. */
export interface Place {
  /** Demangled. */
  function: string | null
  /** How far in the function; null where it was inlined. */
  offset: number | null
  /** The last part of the module's path. */
  module: string | null
  /** The address in the module's file: what addr2line and objdump take. */
  moduleAddress: Address | null
  /** Source file and line; null without debug information. */
  file: string | null
  line: number | null
  /** Inlined into the function of the next place. */
  inlined: boolean
}

/** `stillcore bt --json CORE`; the thread that died is the first */
export interface Backtraces extends Warnings {
  threads: Stack[]
}

export interface Stack {
  tid: number
  name: string | null
  died: boolean
  signal: string | null
  /** From the innermost to the outermost function. */
  frames: Frame[]
  /**
   * Why there are no more: the first function of the thread, a thread of the kernel's own, memory that is not there, nothing on
   * the stack that looks like a caller, a stack that makes no sense, --frames.
   */
  end: 'outermost' | 'kernel' | 'missing' | 'lost' | 'broken' | 'limit'
}

export interface Frame extends Place {
  /** From 0; functions that were inlined have the number of the frame they are in. */
  frame: number
  /** Where it goes on. */
  pc: Address
  /** The upper end of its part of the stack. */
  cfa: Address | null
  /** How it was found, the surest first. */
  how: 'registers' | 'signal' | 'cfi' | 'tail call' | 'fp' | 'bad call' | 'scan'
  /** The kernel's way back out of a signal handler. */
  isSignal: boolean
}

/** `stillcore memory --json CORE`, by address */
export interface Memory extends Warnings {
  mappings: Mapping[]
  total: Share
}

export interface Mapping extends Share {
  start: Address
  end: Address
  /** `r-x`; null where only the list of mapped files tells of the mapping. */
  permissions: string | null
  /** Its file; `[stack]`, `[stack of TID]`, `[vdso]`; null for other anonymous memory. */
  path: string | null
  /** Where in the file it begins. */
  offset: number | null
}

/** Bytes by where they are. */
export interface Share {
  size: number
  core: number
  /** In a file that was found and is the one that was mapped. */
  file: number
  /** Never touched (a hole of a sparse core), or behind the end of a file. */
  zero: number
  /** Nowhere; and how many of those nobody could access: reserved address space and guard pages, in which nothing was. */
  missing: number
  reserved: number
}

/** `stillcore verify --json ARCHIVE` */
export interface Verdict extends Warnings {
  /** What was given as ARCHIVE. */
  file: string
  /** Whether nothing is off. */
  good: boolean
  /** null: too damaged to tell. */
  kind: Kind | null
  layers: string[]
  /** Plain files that were read, and how many had the SHA-256 and the build-id that the manifest says. */
  files: number
  checksums: number
  buildIds: number
  /** Whether there is an index, and every block is what it says. */
  index: boolean
  /** Everything that is off: with the archive itself, or with the file at `path` in it. */
  problems: { kind: 'damaged' | 'wrong' | 'missing' | 'unexpected'; path: string | null; what: string }[]
}

/** `stillcore archive --json CORE` */
export interface Archive {
  archive: string
  /** Its length. */
  bytes: number
  /** What belongs to the core, whether it is in the archive or not. */
  files: {
    /** As the core, or whoever found it, has it. */
    path: string
    /** Below the top folder; null: it is not in the archive. */
    archivePath: string | null
    /** null: mapped as data */
    kind: 'executable' | 'interpreter' | 'library' | 'debug' | 'debug-shared' | 'dwo' | 'dwp' | 'vmlinux' | 'module' | null
    buildId: string | null
    /** Put together from the core's memory: the file itself was gone. */
    rebuilt: boolean
    /** Why it is not in the archive, or what is wrong with it. */
    reason: string | null
  }[]
  warnings: string[]
}

/** `stillcore unpack --json ARCHIVE DIR` */
export interface Unpacked {
  directory: string
  /** What lies directly in it now, and was not there before. */
  tops: string[]
  files: number
  folders: number
  links: number
  /** Of all files, holes included. */
  bytes: number
  /** Entries that were left out. */
  refused: { path: string; why: string }[]
  /** Why the rest is missing, where the archive is damaged. */
  damaged: string | null
  /**
   * The file in which that was seen, which is not there under its name: where the beginning of it is, or would be with
   * `--partial`; how many bytes of it could be read, of how many where that is known; whether they were kept.
   */
  partial: { path: string; bytes: number; of: number | null; kept: boolean } | null
}

/** `stillcore cache --json` */
export interface Cache {
  /** null: neither XDG_CACHE_HOME nor HOME says one. */
  folder: string | null
  /** Bytes on the disk: that it may hold, and that it holds. */
  limit: number | null
  bytes: number
  /** What was used last comes first. */
  entries: {
    path: string
    /** What it was unpacked from, as far as it is known. */
    origin: string | null
    /** Its length, holes included, and bytes on the disk. */
    size: number
    bytes: number
    /** When it was used last, RFC 3339. */
    used: string
    /** Not whole: a process is unpacking it, or was killed meanwhile. */
    partial: boolean
  }[]
}

/** `stillcore cache clear --json` */
export interface Cleared {
  files: number
  /** On the disk. */
  bytes: number
  /** Files that are just being unpacked, and stay. */
  busy: number
}

/**
 * `stillcore doctor --json`; null is what could not be found out, or is not asked where there is no process to look at.
 * Nearly what the addon's `doctor()` gives (its `Report` knows of Node, and tells more of the process that it is in); it
 * stands here again because neither package is installed with the other.
 */
export interface Doctor {
  /** Whether createCore would work, by one of the `ways`. */
  ok: boolean
  /** `linux-x86_64` */
  platform: string
  /** null: for a process that is started from here. */
  pid: number | null
  libc: { name: string; version: string | null } | null
  corePattern: { value: string; meaning: string; kernelWay: boolean } | null
  /** RLIMIT_CORE, RLIMIT_FSIZE, RLIMIT_AS, RLIMIT_DATA. */
  limits: { core: Limit | null; fileSize: Limit | null; addressSpace: Limit | null; data: Limit | null }
  /** kernel.yama.ptrace_scope; null also where there is no Yama. */
  yama: number | null
  seccomp: { mode: 'none' | 'strict' | 'filter'; filters: number | null } | null
  /** Those that it holds and that matter here. */
  capabilities: string[] | null
  noNewPrivs: boolean | null
  dumpable: number | null
  sigsegv: 'default' | 'ignored' | 'handled' | null
  /** The pages that V8 keeps out of forks. */
  dontFork: { ranges: number; bytes: number; resident: number } | null
  threads: number | null
  directory: { path: string; writable: boolean; freeBytes: number | null; fileSystem: string | null } | null
  memory: {
    rss: number | null
    cgroup: { version: number | null; limit: number; free: number; reserve: number } | null
    overcommit: { mode: number | null; free: number | null }
  } | null
  container: {
    pidNamespace: boolean | null
    userNamespace: boolean | null
    mountNamespace: boolean | null
    cgroup: string | null
  } | null
  estimates: {
    pauseMs: number
    coreBytes: number
    archiveBytes: number
    memoryReserve: number
    freeBytesNeeded: number
  } | null
  ways: { kernel: Way; direct: Way }
  warnings: string[]
}

/** null: unlimited. */
export interface Limit {
  soft: number | null
  hard: number | null
}

export interface Way {
  works: boolean
  why?: string
  change?: string
}
