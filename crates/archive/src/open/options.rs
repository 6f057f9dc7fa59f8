//! How something is opened: where it is unpacked, how far it is trusted, who is told.

use super::cache::Cache;
use super::limits::{Limits, Progress};

/// Where things are unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CacheUse {
    /// In the cache that the environment names ([`Cache::from_env`]).
    #[default]
    Default,
    /// In this one.
    At(Cache),
    /// In temporary files without a name (in `TMPDIR`, else in `/var/tmp`), which are gone when the program ends.
    Never,
}

/// How to open something.
#[derive(Clone, Default)]
pub struct OpenOptions {
    /// Where to unpack.
    pub cache: CacheUse,
    /// How far to trust.
    pub limits: Limits,
    /// Told while something is unpacked.
    pub progress: Option<Progress>,
}

impl std::fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenOptions")
            .field("cache", &self.cache)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
