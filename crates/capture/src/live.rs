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
        let mut text = Vec::new();
        if let Some(smaps) = &settled.files.smaps {
            io::Read::read_to_end(&mut &*smaps, &mut text)
                .map_err(|error| Failure::io(&error, "read", Some("/proc/self/smaps".as_ref())))?;
        }
        let dont_dump = maps::flagged(&text, b"dd");
        // MADV_WIPEONFORK, and userfaultfd.
        let mut not_told = maps::flagged(&text, b"wf");
        not_told.extend(maps::flagged(&text, b"um"));
        maps::sort(&mut not_told);
        let own_pages = File::open("/proc/self/pagemap").ok();
        let sources = Sources {
            mappings: &maps::parse(&settled.maps),
            dont_dump: &dont_dump,
            not_told: settled.files.smaps.is_some().then_some(&not_told),
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

    /// Memory that is not in it.
    pub fn skipped(&self) -> &[Skipped] {
        &self.image.skipped
    }

    /// Bytes that hold something and are not in it, since it would have been larger than wanted.
    pub fn left_out(&self) -> u64 {
        self.image.left_out
    }

    /// Reads the copy's memory, as [`FileExt::read_at`] does. When the copy is dead there is nothing to read.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.memory.read_at(buffer, address)
    }

    /// All has been read: the copy may go. The shorter it lives, the less the service pays for it.
    pub fn done(&self) {
        self.copy.end();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;
    use crate::copy::Role;
    use crate::plan;
    use crate::snapshot::Snapshot;

    /// Bytes at an address, by the program headers of a core.
    struct Core {
        bytes: Vec<u8>,
        loads: Vec<(u64, u64, u64)>,
    }

    impl Core {
        fn read(bytes: Vec<u8>) -> Core {
            let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
            let count = usize::from(u16::from_le_bytes([bytes[56], bytes[57]]));
            assert!(count < 0xffff);
            let table = long(32) as usize;
            let loads = (0..count)
                .map(|index| table + index * 56)
                .filter(|at| bytes[*at] == 1)
                .map(|at| (long(at + 16), long(at + 8), long(at + 32)))
                .collect();
            Core { bytes, loads }
        }

        fn page(&self, at: u64) -> Option<&[u8]> {
            let (start, offset, _) = self
                .loads
                .iter()
                .find(|(start, _, size)| *start <= at && at < start + size)?;
            self.bytes
                .get((offset + at - start) as usize..)?
                .get(..4096)
        }
    }

    /// One and the same copy, read while it sleeps and then dumped by the kernel.
    #[test]
    fn reads_what_the_kernel_dumps() {
        let folder = tempfile::tempdir().unwrap();
        if plan::check(folder.path()).is_err() {
            eprintln!("skipped: the kernel would leave no core here");
            return;
        }
        // Something to find, and threads that go on changing memory all the while.
        let marked = vec![0xa7u8; 8 << 20];
        for _ in 0..3 {
            std::thread::spawn(|| {
                loop {
                    std::hint::black_box(vec![1u8; 100_000]);
                    std::thread::sleep(Duration::from_micros(100));
                }
            });
        }
        let directory = File::open(folder.path()).unwrap();
        let snapshot = Snapshot::take(Role::Dumped(directory.as_fd()), true).unwrap();
        let copy = snapshot.copy.clone();
        let settled = snapshot.settle(&mut || ()).unwrap();
        let live = Live::plan(copy.clone(), &settled, "{}", &Wanted::default()).unwrap();
        let mut bytes = Vec::new();
        for part in live.parts() {
            match part {
                Part::Bytes(head) => bytes.extend_from_slice(head),
                Part::Zeros(length) => bytes.resize(bytes.len() + length as usize, 0),
                Part::Memory(range) => {
                    let at = bytes.len();
                    bytes.resize(at + (range.end - range.start) as usize, 0);
                    assert_eq!(
                        live.read(range.start, &mut bytes[at..]).unwrap(),
                        bytes.len() - at
                    );
                }
            }
        }
        let direct = Core::read(bytes);
        copy.go();
        assert_eq!(copy.wait(None).signal, nix::libc::SIGSEGV);
        let file = std::fs::read_dir(folder.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        let kernel = Core::read(std::fs::read(file.path()).unwrap());

        let stack = settled.threads[0].registers.stack_pointer();
        let (mut compared, mut own) = (0, 0);
        for mapping in maps::parse(&settled.maps) {
            if mapping.permissions[1] != b'w' || mapping.permissions[3] != b'p' {
                continue;
            }
            for at in mapping.range.clone().step_by(4096) {
                let (ours, theirs) = (direct.page(at), kernel.page(at));
                let zero = |page: &[u8]| page.iter().all(|byte| *byte == 0);
                if ours == theirs || (ours.is_none() && theirs.is_some_and(zero)) {
                    compared += 1;
                } else if mapping.range.contains(&stack) {
                    // Between the two it woke and made some calls.
                    own += 1;
                } else if mapping.has_file() && ours.is_none() {
                    // As in the file.
                    compared += 1;
                } else {
                    panic!(
                        "{at:#x} differs, in {:?}",
                        String::from_utf8_lossy(&mapping.name)
                    );
                }
            }
        }
        assert!(compared > 2048, "{compared} pages");
        assert!(own <= 3, "{own} pages of its own stack");
        assert!(
            direct
                .page(marked.as_ptr() as u64 / 4096 * 4096 + 4096)
                .unwrap()[..]
                == [0xa7; 4096]
        );
    }
}
