//! What the memory of a process is made of.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use super::whom::Whom;
use crate::dontfork;

/// From `/proc/self/smaps`, all in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Ranges that V8 keeps out of forks, all that they span, and what of it is resident.
    pub marked_ranges: u64,
    pub marked: u64,
    pub marked_resident: u64,
    /// Memory that no file holds, swapped or not: what a fork copies the tables of.
    pub anonymous: u64,
    /// What is mapped of files, resident or not.
    pub files: u64,
}

impl Memory {
    /// Adds up smaps. A listing made while a capture has V8's marks off would see none of them, so it is made again.
    pub(super) fn of(whom: Whom) -> Result<Memory, String> {
        if let Whom::Process(_) = whom {
            let file = File::open(whom.file("smaps")).map_err(|error| error.to_string())?;
            return Memory::sum(BufReader::with_capacity(1 << 20, file))
                .map_err(|error| error.to_string());
        }
        for _ in 0..100 {
            if let Some(before) = dontfork::undisturbed() {
                let file = File::open("/proc/self/smaps").map_err(|error| error.to_string())?;
                let memory = Memory::sum(BufReader::with_capacity(1 << 20, file))
                    .map_err(|error| error.to_string())?;
                if dontfork::undisturbed() == Some(before) {
                    return Ok(memory);
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("captures change it all the time".into())
    }

    fn sum(mut smaps: impl BufRead) -> std::io::Result<Memory> {
        let mut sum = Memory::default();
        let (mut size, mut resident, mut anonymous, mut of_file) = (0, 0, 0, false);
        let mut line = Vec::with_capacity(4096);
        loop {
            line.clear();
            if smaps.read_until(b'\n', &mut line)? == 0 {
                return Ok(sum);
            }
            let text = String::from_utf8_lossy(&line);
            let mut fields = text.split_ascii_whitespace();
            let kilobytes = |mut fields: std::str::SplitAsciiWhitespace<'_>| -> u64 {
                fields
                    .next()
                    .and_then(|number| number.parse().ok())
                    .unwrap_or(0)
                    * 1024
            };
            match fields.next() {
                Some("Size:") => size = kilobytes(fields),
                Some("Rss:") => resident = kilobytes(fields),
                // Swapped pages come back into the core.
                Some("Anonymous:" | "Swap:") => anonymous += kilobytes(fields),
                Some("VmFlags:") => {
                    let mut dumped = true;
                    for flag in fields {
                        match flag {
                            "dc" => {
                                sum.marked_ranges += 1;
                                sum.marked += size;
                                sum.marked_resident += resident;
                            }
                            "dd" | "io" => dumped = false,
                            _ => {}
                        }
                    }
                    if dumped && of_file {
                        sum.files += size;
                    } else if dumped {
                        sum.anonymous += anonymous;
                    }
                }
                Some(range) if range.contains('-') => {
                    (size, resident, anonymous) = (0, 0, 0);
                    of_file = fields.nth(3).is_some_and(|inode| inode != "0");
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_smaps() {
        let smaps = "1000-5000 rw-p 00000000 00:00 0 \nSize: 16 kB\nRss: 8 kB\nAnonymous: 8 kB\nSwap: 4 kB\nVmFlags: rd wr dc ac \n\
            5000-9000 r-xp 00000000 fe:00 12 /usr/bin/a b\nSize: 16 kB\nRss: 4 kB\nAnonymous: 0 kB\nVmFlags: rd ex \n\
            9000-a000 rw-p 00000000 00:00 0 [heap]\nSize: 4 kB\nRss: 4 kB\nAnonymous: 4 kB\nVmFlags: rd wr\n\
            b000-c000 rw-p 00000000 00:00 0 \nSize: 4 kB\nRss: 4 kB\nAnonymous: 4 kB\nVmFlags: rd wr dd\n";
        let kilobytes = |number: u64| number * 1024;
        assert_eq!(
            Memory::sum(smaps.as_bytes()).unwrap(),
            Memory {
                marked_ranges: 1,
                marked: kilobytes(16),
                marked_resident: kilobytes(8),
                anonymous: kilobytes(16),
                files: kilobytes(16),
            }
        );
    }
}
