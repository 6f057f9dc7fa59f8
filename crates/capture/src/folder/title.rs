//! The name of a result.

use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, Datelike, Local, Timelike};

/// Captures of this process, all threads and workers together.
static SEQUENCE: AtomicU32 = AtomicU32::new(0);

/// The name of a result, without an extension, and the time in it.
#[derive(Debug, Clone)]
pub struct Title {
    /// `core_YYYYMMDD.HHMMSS.<pid>.<seq>`.
    pub name: String,
    /// Local time of the capture.
    pub time: DateTime<Local>,
}

impl Title {
    /// One for a result that is no file.
    pub(crate) fn now() -> Title {
        Title::next(Local::now())
    }

    /// One that this process has not used before.
    pub(crate) fn next(time: DateTime<Local>) -> Title {
        let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed) + 1;
        Title {
            name: name(&time, std::process::id(), sequence),
            time,
        }
    }
}

fn name(time: &DateTime<Local>, pid: u32, sequence: u32) -> String {
    // By hand: chrono's formatter would take 12 kB of the addon.
    format!(
        "core_{:04}{:02}{:02}.{:02}{:02}{:02}.{pid}.{sequence:03}",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}
