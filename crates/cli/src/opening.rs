//! Opening what was given: a core or an archive, from a path or standard input.

use std::sync::Arc;

use stillcore_archive::{CacheUse, OpenError, OpenOptions, Opened, OpenedKind, Progress, Step};
use stillcore_corefile::{FileSource, Source};

use crate::args::{CoreArgs, LimitArgs, is_stdin, shown};
use crate::progress::Bar;

/// Opens what was given as CORE.
///
/// # Errors
/// It cannot be read, or is nothing that is known.
pub fn open_core(args: &CoreArgs) -> anyhow::Result<Opened> {
    let name = shown(&args.core);
    let cached = if args.files.no_cache {
        Cached::No
    } else {
        Cached::Yes
    };
    let options = open_options(&args.files.limits, cached, "unpacking")?;
    let opened = if is_stdin(&args.core) {
        stillcore_archive::open_stdin(&options)
    } else {
        stillcore_archive::open(&args.core, &options)
    };
    let opened = opened.map_err(|error| told(error, &name))?;
    tracing::info!(
        kind = kind_word(opened.kind),
        layers = ?opened.layers,
        indexed = opened.indexed,
        cached = ?opened.cached,
        "opened"
    );
    Ok(opened)
}

/// Whether what has to be unpacked may stay in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cached {
    Yes,
    No,
}

/// How archives are opened, with a progress bar called `what`.
///
/// # Errors
/// The limits are wrong.
pub fn open_options(
    limits: &LimitArgs,
    cached: Cached,
    what: &'static str,
) -> anyhow::Result<OpenOptions> {
    Ok(OpenOptions {
        cache: match cached {
            Cached::Yes => CacheUse::Default,
            Cached::No => CacheUse::Never,
        },
        limits: limits.limits()?,
        progress: Some(progress(what)),
    })
}

/// A progress bar that opens with the first report.
pub fn progress(what: &'static str) -> Progress {
    let bar = Bar::new(what);
    Arc::new(move |step: Step| {
        bar.set(step.done, step.total);
        true
    })
}

/// Why an archive cannot be opened, with its name, and with what to do where there is something to do.
pub fn told(error: OpenError, name: &str) -> anyhow::Error {
    match error {
        OpenError::Limit { name: limit, .. } => {
            let error = anyhow::Error::new(error);
            anyhow::anyhow!("{name}: {error} (--limit {limit}=...)")
        }
        // `name: it could not be read: No such file` says the same twice.
        OpenError::Io(error) => anyhow::Error::new(error).context(name.to_owned()),
        error => anyhow::Error::new(error).context(name.to_owned()),
    }
}

/// Standard input as something that can be read anywhere: a temporary file without a name.
///
/// # Errors
/// It cannot be read, or not be written.
pub fn spooled_stdin() -> anyhow::Result<Arc<dyn Source>> {
    use anyhow::Context as _;
    let mut file = tempfile::tempfile().context("a temporary file")?;
    std::io::copy(&mut std::io::stdin().lock(), &mut file).context("standard input")?;
    Ok(Arc::new(FileSource::new(file).context("a temporary file")?))
}

/// What something is, in a word: for text and JSON.
pub fn kind_word(kind: OpenedKind) -> &'static str {
    match kind {
        OpenedKind::Core => "core",
        OpenedKind::KernelDump => "vmcore",
        OpenedKind::Stillcore => "stillcore",
        OpenedKind::Gencore => "gencore",
        OpenedKind::Savedump => "savedump",
        OpenedKind::CoreDumpHandler => "core-dump-handler",
        OpenedKind::Tar => "tar",
        OpenedKind::Zip => "zip",
    }
}
