//! A file that is on its way to the disk while more of it is written.
//!
//! Otherwise all of an archive would wait in memory for the `fsync` at its end, and the disk would have had nothing to
//! do until then: half a second for 400 MB.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;

/// So many bytes are handed to the disk at a time.
const STEP: u64 = 64 << 20;

/// Writes to a file, and sees to it in a thread of its own that the disk gets it soon.
///
/// Dropped without [`EarlySync::finish`], it waits for nothing: the disk may be one that does not answer.
#[derive(Debug)]
pub struct EarlySync {
    file: File,
    /// Bytes since the thread was last told.
    written: u64,
    /// None where no thread or no descriptor could be had: then all of it is left to the end.
    early: Option<(SyncSender<()>, JoinHandle<io::Result<()>>)>,
}

impl EarlySync {
    /// `thread_start` is called at the start of the thread, with its name.
    pub fn new(file: File, thread_start: fn(&'static CStr)) -> EarlySync {
        let early = || -> io::Result<_> {
            let (tell, told) = mpsc::sync_channel(1);
            let same = file.try_clone()?;
            let thread = std::thread::Builder::new()
                .stack_size(64 << 10)
                .spawn(move || {
                    thread_start(c"stillcore-sync");
                    // An error of the disk is told once for each open file, hence it must be kept.
                    while told.recv().is_ok() {
                        same.sync_data()?;
                    }
                    Ok(())
                })?;
            Ok((tell, thread))
        };
        EarlySync {
            early: early().ok(),
            file,
            written: 0,
        }
    }

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    /// Of the disk.
    pub fn finish(self) -> io::Result<()> {
        if let Some((tell, thread)) = self.early {
            drop(tell);
            // A panic there has lost no error of the disk: the file tells it again.
            thread.join().unwrap_or(Ok(()))?;
        }
        self.file.sync_all()
    }
}

impl Write for EarlySync {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        if self.written >= STEP {
            self.written = 0;
            if let Some((tell, _)) = &self.early {
                // Full: the disk is behind already.
                let _ = tell.try_send(());
            }
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_in_the_file() {
        let file = tempfile::tempfile().unwrap();
        let mut early = EarlySync::new(file.try_clone().unwrap(), |_| ());
        let bytes = vec![7; 1 << 20];
        for _ in 0..130 {
            early.write_all(&bytes).unwrap();
        }
        early.finish().unwrap();
        assert_eq!(file.metadata().unwrap().len(), 130 << 20);
    }

    #[test]
    fn an_error_of_the_disk_is_told_at_the_end() {
        // A pipe cannot be synced: EINVAL.
        let (reader, writer) = std::io::pipe().unwrap();
        let reading = std::thread::spawn(move || std::io::copy(&mut { reader }, &mut io::sink()));
        let mut early = EarlySync::new(File::from(std::os::fd::OwnedFd::from(writer)), |_| ());
        early.write_all(&vec![0; STEP as usize]).unwrap();
        assert!(early.finish().is_err());
        reading.join().unwrap().unwrap();
    }
}
