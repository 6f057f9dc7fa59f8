//! The files of split DWARF as one package (`.dwp`).
//!
//! A debugger looks for a `.dwo` file at the path that the compiler recorded, on its own machine; for a package lldb looks
//! wherever it is told to.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stillcore_corefile::{Found, Source};
use thorin::{DwarfPackage, Session};
use typed_arena::Arena;

/// Most bytes of input: all of it is held in memory.
const MAX_INPUT: u64 = 2 << 30;

/// Puts the files together.
///
/// # Errors
/// What is wrong with them.
pub(super) fn build(files: &[Found]) -> Result<Vec<u8>, String> {
    let total: u64 = files.iter().map(|file| file.source.len()).sum();
    if total > MAX_INPUT {
        return Err(format!("they are {total} bytes"));
    }
    let memory = Memory::new(files);
    // The library is made for what compilers write, and these files may have been damaged since.
    let made = catch_unwind(AssertUnwindSafe(|| {
        let mut package = DwarfPackage::new(&memory);
        for file in files {
            package.add_input_object(&file.path)?;
        }
        package.finish()?.write().map_err(thorin::Error::from)
    }));
    match made {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("one of them is damaged".to_owned()),
    }
}

/// What the library reads and makes lives as long as this.
struct Memory<R> {
    sources: HashMap<PathBuf, Arc<dyn Source>>,
    data: Arena<Vec<u8>>,
    relocations: Arena<R>,
}

impl<R> Memory<R> {
    fn new(files: &[Found]) -> Memory<R> {
        Memory {
            sources: files
                .iter()
                .map(|file| (file.path.clone(), file.source.clone()))
                .collect(),
            data: Arena::new(),
            relocations: Arena::new(),
        }
    }
}

impl<R> Session<R> for Memory<R> {
    fn alloc_data(&self, data: Vec<u8>) -> &[u8] {
        self.data.alloc(data)
    }

    fn alloc_relocation(&self, data: R) -> &R {
        self.relocations.alloc(data)
    }

    fn read_input(&self, path: &Path) -> io::Result<&[u8]> {
        let source = self
            .sources
            .get(path)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let len = usize::try_from(source.len()).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        let mut done = 0;
        while done < len {
            match source.read_at(done as u64, &mut bytes[done..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(got) => done += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.alloc_data(bytes))
    }
}
