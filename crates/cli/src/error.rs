//! How a command ends: the four exit codes, and what is said when it fails.

use std::fmt;
use std::path::Path;

/// The command did what it was asked, and the answer is good.
pub const DONE: u8 = 0;
/// There is an answer, and it is bad: a core that is cut off, a checksum or a build-id that is off, captures that would
/// not work.
pub const BAD: u8 = 1;
/// Wrong usage.
pub const USAGE: u8 = 2;
/// Something could not be read, or what was asked for not be written: there is no answer.
pub const UNREADABLE: u8 = 3;

/// Arguments that clap cannot know to be wrong.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Nobody reads what is printed any more, as behind `| head`. That is no failure.
#[derive(Debug)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the output")
    }
}

impl std::error::Error for Closed {}

/// The exit code that an error ends the program with.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<Usage>() {
        USAGE
    } else if error.is::<Closed>() {
        DONE
    } else {
        UNREADABLE
    }
}

/// An error and what caused it, in a line. Some errors have their cause in their own words already.
pub fn in_words(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if words.is_empty() {
            words = cause;
        } else if !words.ends_with(&cause) {
            words.push_str(": ");
            words.push_str(&cause);
        }
    }
    words
}

/// Adds the name of a file to an error, as text that a terminal may get.
pub trait InFile<T> {
    fn in_file(self, path: &Path) -> anyhow::Result<T>;
}

impl<T, E: std::error::Error + Send + Sync + 'static> InFile<T> for Result<T, E> {
    fn in_file(self, path: &Path) -> anyhow::Result<T> {
        self.map_err(|error| anyhow::Error::new(error).context(path.display().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let full = || std::io::Error::other("full");
        let error = anyhow::Error::new(full()).context("/tmp/x");
        assert_eq!(in_words(&error), "/tmp/x: full");
        let error = anyhow::Error::new(full()).context("it could not be written to /tmp/x: full");
        assert_eq!(
            in_words(&error.context("a.gz")),
            "a.gz: it could not be written to /tmp/x: full"
        );
    }
}
