//! A resource limit.

use std::fs;

use nix::libc;
use nix::sys::resource::{Resource, getrlimit};

use super::whom::Whom;

/// A resource limit in bytes; None: unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

impl Limit {
    /// That of a process.
    pub(super) fn of(whom: Whom, resource: Resource) -> Option<Limit> {
        if let Whom::Process(_) = whom {
            let name = match resource {
                Resource::RLIMIT_CORE => "Max core file size",
                Resource::RLIMIT_AS => "Max address space",
                Resource::RLIMIT_DATA => "Max data size",
                _ => "Max file size",
            };
            return limit_in(&fs::read_to_string(whom.file("limits")).ok()?, name);
        }
        let finite = |bytes| (bytes != libc::RLIM_INFINITY).then_some(bytes);
        let (soft, hard) = getrlimit(resource).ok()?;
        Some(Limit {
            soft: finite(soft),
            hard: finite(hard),
        })
    }
}

/// A line of `/proc/PID/limits`: its name, and bytes or `unlimited`.
fn limit_in(text: &str, name: &str) -> Option<Limit> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let mut values = line.split_ascii_whitespace();
    let mut next = || match values.next()? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    };
    Some(Limit {
        soft: next()?,
        hard: next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_another_process() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
            Max file size             unlimited            unlimited            bytes     \n\
            Max core file size        0                    4096                 bytes     \n";
        let limit = |soft, hard| Some(Limit { soft, hard });
        assert_eq!(
            limit_in(text, "Max core file size"),
            limit(Some(0), Some(4096))
        );
        assert_eq!(limit_in(text, "Max file size"), limit(None, None));
        assert_eq!(limit_in(text, "Max pending signals"), None);
        fn limit_of(values: (u64, u64)) -> Limit {
            let finite = |bytes| (bytes != libc::RLIM_INFINITY).then_some(bytes);
            Limit {
                soft: finite(values.0),
                hard: finite(values.1),
            }
        }
        for resource in [
            Resource::RLIMIT_CORE,
            Resource::RLIMIT_FSIZE,
            Resource::RLIMIT_AS,
            Resource::RLIMIT_DATA,
        ] {
            let this = Whom::Process(std::process::id());
            assert_eq!(
                Limit::of(this, resource),
                Some(limit_of(getrlimit(resource).unwrap()))
            );
        }
    }
}
