//! `begin`, `abort` and their like: what `index.js` calls.

use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use napi::bindgen_prelude::{Function, Result};
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi::{Env, Task};
use napi_derive::napi;
use serde_json::json;
use stillcore_archive::Compression;
use stillcore_capture::{
    self as capture, Failure, Made, Method, Outcome, Progress, Request, Skipped, Target, Wanted,
};

use crate::finish::{self, Wish};

/// What `index.js` asks for.
#[napi(object)]
pub struct BeginOptions {
    /// Absolute path of the directory for the result; none for a stream.
    pub directory: Option<String>,
    /// Whether a packed archive is wanted, not a bare core.
    pub archive: bool,
    /// Milliseconds in all.
    pub timeout: f64,
    /// Milliseconds without progress.
    pub stall_timeout: f64,
    /// What `register` gave this thread.
    pub owner: f64,
    /// Whether waiting and packing may use libuv's threadpool.
    pub on_pool: bool,
    /// `auto`, `kernel` or `direct`.
    pub method: String,
    /// The failure of a first attempt by the kernel.
    pub instead_of: Option<FailureObject>,
    pub all_threads: bool,
    /// `gzip`, `zstd` or `none`.
    pub compression: String,
    pub level: u32,
    /// 0: as many as there are CPUs.
    pub compression_threads: u32,
    pub files: bool,
    pub dont_dump: bool,
    /// Bytes; 0: no limit.
    pub max_size: f64,
    /// `process.versions.node`, `process.versions.v8`, `process.arch`.
    pub node: String,
    pub v8: String,
    pub arch: String,
}

/// What `begin` answers at once: an id, or a failure.
#[napi(object)]
pub struct BeginAnswer {
    pub id: f64,
    /// Milliseconds that the forks held this thread.
    pub pause: f64,
    /// `kernel` or `direct`.
    pub method: String,
    /// The reading end of the pipe, for a stream.
    pub fd: Option<i32>,
    pub failure: Option<FailureObject>,
}

/// What the callback of `begin` gets in the end: a path, or a failure.
#[napi(object)]
pub struct OutcomeObject {
    pub made: Option<MadeObject>,
    pub failure: Option<FailureObject>,
    pub steps: Vec<Step>,
}

/// A finished result.
#[napi(object)]
pub struct MadeObject {
    pub path: String,
    pub bytes: f64,
    pub threads: u32,
    pub all_threads: u32,
    pub skipped: Vec<SkippedObject>,
    pub notes: Vec<String>,
}

/// A mapping whose memory is not in the core.
#[napi(object)]
pub struct SkippedObject {
    /// Hexadecimal, as a debugger shows it.
    pub start: String,
    pub end: String,
    pub name: String,
    pub reason: String,
}

/// How far a capture is.
#[napi(object)]
pub struct ProgressObject {
    pub phase: String,
    pub bytes: f64,
    pub total: f64,
}

impl From<Progress> for ProgressObject {
    fn from(progress: Progress) -> Self {
        ProgressObject {
            phase: progress.phase.to_owned(),
            bytes: progress.bytes as f64,
            total: progress.total as f64,
        }
    }
}

impl From<Made> for MadeObject {
    fn from(made: Made) -> Self {
        MadeObject {
            path: made.path.to_string_lossy().into_owned(),
            bytes: made.bytes as f64,
            threads: made.threads as u32,
            all_threads: made.all_threads as u32,
            skipped: made.skipped.into_iter().map(SkippedObject::from).collect(),
            notes: made.notes,
        }
    }
}

impl From<Skipped> for SkippedObject {
    fn from(skipped: Skipped) -> Self {
        SkippedObject {
            start: format!("{:#x}", skipped.range.start),
            end: format!("{:#x}", skipped.range.end),
            name: skipped.name,
            reason: skipped.reason.to_owned(),
        }
    }
}

/// A step of a capture and when it was over, in milliseconds from the call.
#[napi(object)]
pub struct Step {
    pub name: String,
    pub at: f64,
}

/// A [`Failure`] on its way to becoming an `Error`.
#[napi(object)]
pub struct FailureObject {
    pub code: String,
    pub message: String,
    pub errno: Option<i32>,
    pub syscall: Option<String>,
    pub path: Option<String>,
}

impl From<Failure> for FailureObject {
    fn from(failure: Failure) -> Self {
        FailureObject {
            code: failure.code,
            message: failure.message,
            // Node's are negative.
            errno: failure.errno.map(|errno| -errno),
            syscall: failure.syscall.map(str::to_owned),
            path: failure.path.map(|path| path.to_string_lossy().into_owned()),
        }
    }
}

impl From<Outcome> for OutcomeObject {
    fn from(outcome: Outcome) -> Self {
        let (made, failure) = match outcome.result {
            Ok(made) => (Some(made.into()), None),
            Err(failure) => (None, Some(failure.into())),
        };
        let step = |(name, at): (&str, f64)| Step {
            name: name.to_owned(),
            at,
        };
        OutcomeObject {
            made,
            failure,
            steps: outcome.steps.into_iter().map(step).collect(),
        }
    }
}

/// Takes captures to their end on a thread of libuv's pool.
struct Drain;

impl Task for Drain {
    type Output = ();
    type JsValue = ();

    fn compute(&mut self) -> Result<()> {
        capture::drain();
        Ok(())
    }

    fn resolve(&mut self, _env: Env, (): ()) -> Result<()> {
        Ok(())
    }
}

/// Names the calling JavaScript thread; its captures end with it.
#[napi]
pub fn register(env: Env) -> Result<f64> {
    static OWNERS: AtomicU64 = AtomicU64::new(0);
    let owner = OWNERS.fetch_add(1, Ordering::Relaxed) + 1;
    if owner == 1 {
        capture::prepare();
    }
    env.add_env_cleanup_hook(owner, capture::end_all_of)?;
    Ok(owner as f64)
}

/// Begins a capture: see `stillcore_capture::begin`. `done` is called once in the end, unless the answer
/// already holds a failure; `progress` now and then before.
#[napi]
pub fn begin(
    env: Env,
    options: BeginOptions,
    done: Function<OutcomeObject, ()>,
    progress: Option<Function<ProgressObject, ()>>,
) -> Result<BeginAnswer> {
    let done = done.build_threadsafe_function::<OutcomeObject>().build()?;
    let progress = progress
        .map(|progress| {
            progress
                .build_threadsafe_function::<ProgressObject>()
                .build()
        })
        .transpose()?;
    let (on_pool, owner) = (options.on_pool, options.owner as u64);
    let (target, reader) = match options.directory {
        Some(directory) => (Target::Directory(directory.into()), None),
        None => match capture::pipe() {
            Ok((reader, stream)) => (Target::Stream(stream), Some(reader)),
            Err(error) => return Ok(refused(Failure::io(&error, "pipe2", None))),
        },
    };
    let made_by = json!({
        "tool": "stillcore",
        "version": env!("CARGO_PKG_VERSION"),
        "node": options.node,
        "pid": std::process::id(),
        "note": "A copy of a live process, taken without stopping it. Nothing crashed.",
    });
    let method = match options.method.as_str() {
        "kernel" => Some(Method::Kernel),
        "direct" => Some(Method::Direct),
        _ => None,
    };
    let request = Request {
        target,
        owner,
        timeout: milliseconds(options.timeout),
        stall_timeout: milliseconds(options.stall_timeout),
        method,
        wanted: Wanted {
            files: options.files,
            dont_dump: options.dont_dump,
            max_size: (options.max_size > 0.0).then_some(options.max_size as u64),
        },
        all_threads: options.all_threads,
        instead_of: options
            .instead_of
            .map(|failure| Failure::new(&failure.code, failure.message)),
        watch: progress.map(|progress| -> capture::Watch {
            Box::new(move |now| {
                progress.call(now.into(), ThreadsafeFunctionCallMode::NonBlocking);
            })
        }),
        describe: Box::new(move |method, time, names| {
            let mut made_by = made_by;
            made_by["method"] = finish::method_name(method).into();
            made_by["time"] = time.into();
            made_by["threads"] = names
                .iter()
                .map(|(tid, name)| json!({ "tid": tid, "name": name }))
                .collect();
            made_by.to_string()
        }),
        finish: Box::new({
            let wish = Wish {
                archive: options.archive,
                compression: match options.compression.as_str() {
                    "zstd" => Compression::Zstd,
                    "none" => Compression::None,
                    _ => Compression::Gzip,
                },
                level: options.level,
                compression_threads: options.compression_threads as usize,
                node: options.node,
                v8: options.v8,
                arch: options.arch,
            };
            move |core| finish::finish(core, &wish)
        }),
        done: Box::new(move |outcome| {
            done.call(outcome.into(), ThreadsafeFunctionCallMode::NonBlocking);
        }),
    };
    let begun = capture::begin(request, || {
        if on_pool {
            env.spawn(Drain)
                .map(drop)
                .map_err(|error| Failure::new("ERR_CORE_INTERNAL", error.reason.clone()))
        } else {
            std::thread::Builder::new()
                .spawn(|| {
                    capture::name_thread(c"stillcore-run");
                    capture::drain();
                })
                .map(drop)
                .map_err(|error| Failure::io(&error, "clone", None))
        }
    });
    Ok(match begun {
        Ok(begun) => BeginAnswer {
            id: begun.id as f64,
            pause: begun.pause.as_secs_f64() * 1e3,
            method: finish::method_name(begun.method).to_owned(),
            fd: reader.map(IntoRawFd::into_raw_fd),
            failure: None,
        },
        Err(failure) => refused(failure),
    })
}

fn refused(failure: Failure) -> BeginAnswer {
    BeginAnswer {
        id: 0.0,
        pause: 0.0,
        method: String::new(),
        fd: None,
        failure: Some(failure.into()),
    }
}

/// Whether a failure of the kernel's way leaves hope for the direct way.
#[napi]
pub fn is_kernels_own(code: String) -> bool {
    capture::is_kernels_own(&code)
}

/// Ends a capture early: its callback gets `ABORT_ERR`.
#[napi]
pub fn abort(id: f64) {
    capture::abort(id as u64);
}

/// Ends all captures of the process; waits up to `patience` milliseconds for the disk to be clean.
#[napi]
pub fn end_all(patience: f64) {
    capture::end_all(milliseconds(patience));
}

/// JavaScript's numbers reach further than Rust's durations.
fn milliseconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number / 1e3).unwrap_or(Duration::MAX)
}
