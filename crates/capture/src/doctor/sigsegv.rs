//! What SIGSEGV does.

use std::fs;
use std::path::PathBuf;

use nix::libc;

use super::status::Status;
use super::whom::Whom;

/// What SIGSEGV does in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sigsegv {
    pub state: Handling,
    /// The file that the handler is in.
    pub by: Option<PathBuf>,
}

/// Whether anybody handles it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    Default,
    Ignored,
    Handled,
}

impl Sigsegv {
    /// By the sets of signals in its status.
    pub(super) fn of(whom: Whom, status: &Status) -> Option<Sigsegv> {
        let has = |set: u64| set & (1 << (libc::SIGSEGV - 1)) != 0;
        let state = match (status.caught?, status.ignored?) {
            (caught, _) if has(caught) => Handling::Handled,
            (_, ignored) if has(ignored) => Handling::Ignored,
            _ => Handling::Default,
        };
        // Only the process itself can ask where its handler is.
        let by = (state == Handling::Handled && whom == Whom::This)
            .then(handler_file)
            .flatten();
        Some(Sigsegv { state, by })
    }
}

/// The file in which the handler of SIGSEGV lies.
fn handler_file() -> Option<PathBuf> {
    // SAFETY: all-zero is a valid sigaction; with no new action the call only fills it.
    let address = unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGSEGV, std::ptr::null(), &raw mut now) != 0 {
            return None;
        }
        now.sa_sigaction as u64
    };
    let text = fs::read("/proc/self/maps").ok()?;
    let mapping = crate::maps::parse(&text)
        .into_iter()
        .find(|mapping| mapping.range.contains(&address))?;
    let name = String::from_utf8_lossy(&mapping.name).into_owned();
    name.starts_with('/').then(|| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handled_goes_before_ignored() {
        let status = Status::parse("SigIgn:\t0000000001001000\nSigCgt:\t0000000100004602\n");
        let state = |caught, ignored| {
            let mut status = status.clone();
            (status.caught, status.ignored) = (Some(caught), Some(ignored));
            Sigsegv::of(Whom::This, &status).unwrap().state
        };
        assert_eq!(
            Sigsegv::of(Whom::This, &status).unwrap().state,
            Handling::Handled
        );
        assert_eq!(state(0, 0x400), Handling::Ignored);
        assert_eq!(state(0x4202, 0x1000), Handling::Default);
    }
}
