//! Whose `/proc` it is that is read.

/// The process that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    This,
    Process(u32),
}

impl Whom {
    /// A file of its folder in `/proc`.
    pub(super) fn file(self, name: &str) -> String {
        match self {
            Whom::This => format!("/proc/self/{name}"),
            Whom::Process(pid) => format!("/proc/{pid}/{name}"),
        }
    }
}
