//! A frozen copy as a core: what is read, byte by byte, where the kernel would write no file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::copy::Copy;
use crate::error::Failure;
use crate::image::{Image, Part, Skipped, Sources, Wanted};
use crate::maps;
use crate::notes::About;
use crate::snapshot::Settled;

/// The core of a copy that sleeps. Reading it is plain file reading; the copy ends with [`Live::done`] or the drop.
pub struct Live {
    image: Image,
    memory: File,
    copy: Arc<Copy>,
}

impl Live {
    /// Lays the core out.
    pub(crate) fn plan(
        copy: Arc<Copy>,
        settled: &Settled,
        made_by: &str,
        wanted: &Wanted,
    ) -> Result<Live, Failure> {
        let (Some(pages), Some(memory)) = (&settled.files.pagemap, &settled.files.mem) else {
            return Err(Failure::new(
                "ERR_CORE_DENIED",
                "The copy of this process may not open its own /proc/self/mem or pagemap: a security module or the \
                 mount options of /proc forbid it.",
            ));
        };
        let dont_dump = match &settled.files.smaps {
            Some(smaps) => {
                let mut text = Vec::new();
                io::Read::read_to_end(&mut &*smaps, &mut text).map_err(|error| {
                    Failure::io(&error, "read", Some("/proc/self/smaps".as_ref()))
                })?;
                maps::flagged(&text, b"dd")
            }
            None => Vec::new(),
        };
        let own_pages = File::open("/proc/self/pagemap").ok();
        let sources = Sources {
            mappings: &maps::parse(&settled.maps),
            dont_dump: &dont_dump,
            pages,
            own_pages: own_pages.as_ref(),
            memory,
            about: &About::this_process(),
            threads: &settled.threads,
            made_by,
            heap: &settled.heap,
            wanted,
        };
        let denied =
            |error: io::Error| Failure::io(&error, "read", Some("/proc/self/pagemap".as_ref()));
        let image = Image::plan(&sources).map_err(denied)?;
        let memory = memory
            .try_clone()
            .map_err(|error| Failure::io(&error, "dup", None))?;
        Ok(Live {
            image,
            memory,
            copy,
        })
    }

    /// Bytes of the core.
    pub fn size(&self) -> u64 {
        self.image.size()
    }

    /// Bytes of memory in it.
    pub fn data_size(&self) -> u64 {
        self.image.data_size()
    }

    /// The core from its first byte to its last.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.image.parts()
    }

    /// Mappings that are not in it.
    pub fn skipped(&self) -> &[Skipped] {
        &self.image.skipped
    }

    /// Reads the copy's memory, as [`FileExt::read_at`] does. When the copy is dead there is nothing to read.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.memory.read_at(buffer, address)
    }

    /// All has been read: the copy may go. The shorter it lives, the less the service pays for it.
    pub fn done(&self) {
        self.copy.kill();
        self.copy.wait(None);
    }
}
