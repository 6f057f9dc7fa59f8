//! `begin`, `abort` and their like: what `index.js` calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use napi::bindgen_prelude::{Function, Result};
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi::{Env, Task};
use napi_derive::napi;
use stillcore_capture::{self as capture, Failure, Outcome, Request};

use crate::finish;

/// What `index.js` asks for.
#[napi(object)]
pub struct BeginOptions {
    /// Absolute path of the directory for the result.
    pub directory: String,
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
    pub failure: Option<FailureObject>,
}

/// What the callback of `begin` gets in the end: a path, or a failure.
#[napi(object)]
pub struct OutcomeObject {
    pub path: Option<String>,
    pub failure: Option<FailureObject>,
    pub steps: Vec<Step>,
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
        let (path, failure) = match outcome.result {
            Ok(path) => (Some(path.to_string_lossy().into_owned()), None),
            Err(failure) => (None, Some(failure.into())),
        };
        let steps = outcome
            .steps
            .into_iter()
            .map(|(name, at)| Step {
                name: name.to_owned(),
                at,
            })
            .collect();
        OutcomeObject {
            path,
            failure,
            steps,
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
/// already holds a failure.
#[napi]
pub fn begin(
    env: Env,
    options: BeginOptions,
    done: Function<OutcomeObject, ()>,
) -> Result<BeginAnswer> {
    let done = done.build_threadsafe_function::<OutcomeObject>().build()?;
    let about = finish::About {
        node: options.node,
        v8: options.v8,
        arch: options.arch,
    };
    let archive = options.archive;
    let request = Request {
        directory: options.directory.into(),
        owner: options.owner as u64,
        timeout: milliseconds(options.timeout),
        stall_timeout: milliseconds(options.stall_timeout),
        finish: Box::new(move |core| finish::finish(core, archive, &about)),
        done: Box::new(move |outcome| {
            done.call(outcome.into(), ThreadsafeFunctionCallMode::NonBlocking);
        }),
    };
    let begun = capture::begin(request, || {
        if options.on_pool {
            env.spawn(Drain)
                .map(drop)
                .map_err(|error| Failure::new("ERR_CORE_INTERNAL", error.reason.clone()))
        } else {
            std::thread::Builder::new()
                .name("stillcore-run".into())
                .spawn(capture::drain)
                .map(drop)
                .map_err(|error| Failure::io(&error, "clone", None))
        }
    });
    Ok(match begun {
        Ok(begun) => BeginAnswer {
            id: begun.id as f64,
            pause: begun.pause.as_secs_f64() * 1e3,
            failure: None,
        },
        Err(failure) => BeginAnswer {
            id: 0.0,
            pause: 0.0,
            failure: Some(failure.into()),
        },
    })
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
