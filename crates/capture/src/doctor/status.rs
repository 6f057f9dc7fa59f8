//! What `/proc/PID/status` tells.

/// From `/proc/self/status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    pub threads: Option<u64>,
    /// 0 none, 1 strict, 2 filters; and how many (5.9 and later tell).
    pub seccomp: Option<u32>,
    pub filters: Option<u32>,
    /// The effective set.
    pub capabilities: Option<u64>,
    pub no_new_privs: Option<bool>,
    /// Pid of a debugger; 0 without.
    pub tracer: Option<u64>,
    /// Bytes of page tables.
    pub page_tables: Option<u64>,
    /// Bytes of private writable memory, used or not.
    pub data: Option<u64>,
    /// Signals that are ignored and handled.
    pub ignored: Option<u64>,
    pub caught: Option<u64>,
}

impl Status {
    pub(super) fn parse(text: &str) -> Status {
        let field = |name: &str| -> Option<&str> {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        let decimal = |name: &str| field(name)?.parse::<u64>().ok();
        let set = |name: &str| u64::from_str_radix(field(name)?, 16).ok();
        let kilobytes = |name: &str| -> Option<u64> {
            Some(field(name)?.strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
        };
        Status {
            threads: decimal("Threads"),
            seccomp: decimal("Seccomp").map(|mode| mode as u32),
            filters: decimal("Seccomp_filters").map(|number| number as u32),
            capabilities: set("CapEff"),
            no_new_privs: decimal("NoNewPrivs").map(|flag| flag != 0),
            tracer: decimal("TracerPid"),
            page_tables: kilobytes("VmPTE"),
            data: kilobytes("VmData"),
            ignored: set("SigIgn"),
            caught: set("SigCgt"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_status() {
        let status = Status::parse(
            "Name:\tnode\nTracerPid:\t7\nVmData:\t  48860 kB\nVmPTE:\t     392 kB\nThreads:\t7\n\
             SigIgn:\t0000000001001000\nSigCgt:\t0000000100004602\nCapEff:\t000001fffeffffff\n\
             NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n",
        );
        assert_eq!(status.tracer, Some(7));
        assert_eq!(status.page_tables, Some(392 * 1024));
        assert_eq!((status.seccomp, status.filters), (Some(2), Some(3)));
        assert_eq!(status.no_new_privs, Some(true));
        assert_eq!(Status::parse(""), Status::default());
    }
}
