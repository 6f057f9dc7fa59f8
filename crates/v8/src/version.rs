//! Which V8 it is, and which of the known layouts reads it.

use crate::error::{Result, V8Error};
use crate::memory::Memory;
use crate::v8::Options;

/// A layout that is known: V8's version, Node's major.
pub struct Column {
    /// V8's major and minor version.
    pub v8: (u32, u32),
    /// The Node that has it.
    pub node: u32,
}

/// The layouts that are known, in the order of the columns of [`crate::constants::ROWS`].
pub const COLUMNS: [Column; 4] = [
    Column {
        v8: (11, 3),
        node: 20,
    },
    Column {
        v8: (12, 4),
        node: 22,
    },
    Column {
        v8: (13, 6),
        node: 24,
    },
    Column {
        v8: (14, 6),
        node: 26,
    },
];

/// Node 18: the layout of 20 with the differences of `constants.rs`. Read as far as that goes, and said to be.
const NODE_18: (u32, u32) = (10, 2);

/// Which Node has which V8 (nodejs.org/dist/index.json), of those that are not read.
const OTHERS: &[((u32, u32), &str)] = &[
    ((8, 4), "14"),
    ((9, 4), "16"),
    ((9, 5), "17"),
    ((9, 6), "17"),
    ((10, 1), "18 before 18.3"),
    ((10, 7), "19"),
    ((10, 8), "19"),
    ((11, 8), "21"),
    ((12, 9), "23"),
    ((14, 1), "25"),
];

/// A version of V8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// As `11.3.244.8-node.38`, or without the last part where it is not told.
    pub text: String,
    /// Major, minor, build, patch.
    pub parts: [u32; 4],
}

impl Version {
    /// From its text.
    pub fn parse(text: &str) -> Option<Version> {
        let plain = text.split(['-', ' ']).next().unwrap_or_default();
        let mut parts = [0; 4];
        let mut count = 0;
        for (slot, part) in parts.iter_mut().zip(plain.split('.')) {
            *slot = part.parse().ok()?;
            count += 1;
        }
        (count >= 2 && parts[0] > 0).then(|| Version {
            text: text.to_owned(),
            parts,
        })
    }

    /// Major and minor version.
    pub fn line(&self) -> (u32, u32) {
        (self.parts[0], self.parts[1])
    }

    /// Whether it is the V8 of Node 18.
    pub fn is_node_18(&self) -> bool {
        self.line() == NODE_18
    }

    /// The Node that this V8 belongs to, in words.
    pub fn node(&self) -> String {
        let line = self.line();
        if let Some(column) = COLUMNS.iter().find(|column| column.v8 == line) {
            return format!("Node {}", column.node);
        }
        if line == NODE_18 {
            return "Node 18".to_owned();
        }
        match OTHERS.iter().find(|(other, _)| *other == line) {
            Some((_, node)) => format!("Node {node}"),
            None if line > COLUMNS[COLUMNS.len() - 1].v8 => {
                "newer than every Node that is known here".to_owned()
            }
            None => "no release of Node's".to_owned(),
        }
    }

    /// The column whose layout reads it, and what is to be said of that.
    ///
    /// # Errors
    /// [`V8Error::Unsupported`] when it is none of the known ones and not forced.
    pub fn column(&self, options: &Options) -> Result<(usize, Option<String>)> {
        if let Some(index) = COLUMNS.iter().position(|column| column.v8 == self.line()) {
            return Ok((index, None));
        }
        if self.is_node_18() {
            return Ok((
                0,
                Some(
                    "Node 18 is read by the layout of Node 20 where neither the binary nor the table has its own (compared with 18.20): \
                     frames of WebAssembly and when the process began are lacking, and some garbage counts as reachable"
                        .to_owned(),
                ),
            ));
        }
        if !options.force {
            return Err(V8Error::Unsupported {
                version: self.text.clone(),
                node: self.node(),
            });
        }
        let number = |(major, minor): (u32, u32)| u64::from(major) * 10 + u64::from(minor);
        // Of two that are as near the newer one: layouts have grown by additions.
        let nearest = (0..COLUMNS.len())
            .rev()
            .min_by_key(|index| number(COLUMNS[*index].v8).abs_diff(number(self.line())))
            .unwrap_or(COLUMNS.len() - 1);
        Ok((
            nearest,
            Some(format!(
                "V8 {} ({}) is read by the layout of Node {} because of --force: anything that is shown may be wrong",
                self.text,
                self.node(),
                COLUMNS[nearest].node
            )),
        ))
    }
}

/// The version: from V8's own variables, or where symbols were stripped from the text in the binary.
///
/// # Errors
/// [`V8Error::NoV8`] when neither is there.
pub(crate) fn find(memory: &Memory) -> Result<Version> {
    let part = |name: &str| {
        let mangled = format!("_ZN2v88internal7Version{}{name}E", name.len());
        memory.u32(memory.target().symbol(&mangled)?.address).ok()
    };
    let text = version_string(memory);
    if let (Some(major), Some(minor)) = (part("major_"), part("minor_")) {
        let build = part("build_").unwrap_or(0);
        let patch = part("patch_").unwrap_or(0);
        let plain = format!("{major}.{minor}.{build}.{patch}");
        let text = text
            .filter(|text| text.starts_with(&plain))
            .unwrap_or(plain);
        return Ok(Version {
            text,
            parts: [major, minor, build, patch],
        });
    }
    text.or_else(|| crate::stripped::version(memory))
        .and_then(|text| Version::parse(&text))
        .ok_or_else(|| {
            V8Error::NoV8(
                "its executable does not say which V8 it holds (no Node process, or the core lacks the file and it was not found: see --sysroot)"
                    .to_owned(),
            )
        })
}

/// `12.4.254.21-node.57`, which `v8::internal::Version::version_string_` points to.
fn version_string(memory: &Memory) -> Option<String> {
    let symbol = memory
        .target()
        .symbol("_ZN2v88internal7Version15version_string_E")?;
    let text = memory.c_string(memory.u64(symbol.address).ok()?, 64).ok()?;
    text.starts_with(|c: char| c.is_ascii_digit())
        .then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn known_lines_have_their_column_and_others_are_refused_by_name() {
        let strict = Options::default();
        for (text, index) in [
            ("11.3.244.8-node.38", 0),
            ("12.4.254.14-node.11", 1),
            ("13.6.233.8-node.18", 2),
            ("14.6.202.34-node.37", 3),
        ] {
            assert_eq!(version(text).column(&strict), Ok((index, None)));
        }
        assert_eq!(version("10.2.154.26-node.39").column(&strict).unwrap().0, 0);
        for (text, node) in [
            ("11.8.172.17-node.20", "Node 21"),
            ("12.9.202.28-node.14", "Node 23"),
            ("14.1.146.11-node.14", "Node 25"),
            ("15.2.1.1", "newer than every Node that is known here"),
            ("12.8.1.1", "no release of Node's"),
        ] {
            let error = version(text).column(&strict).unwrap_err().to_string();
            assert!(error.contains(node) && error.contains(text), "{error}");
        }
    }

    #[test]
    fn force_takes_the_nearest_and_says_so() {
        let forced = Options { force: true };
        for (text, index) in [
            ("11.8.1.1", 0),
            ("12.9.1.1", 1),
            ("14.1.1.1", 3),
            ("99.0.0.0", 3),
        ] {
            let (column, words) = version(text).column(&forced).unwrap();
            assert_eq!(column, index, "{text}");
            assert!(words.unwrap().contains("--force"));
        }
        assert_eq!(
            Version::parse("4294967295.9.0.0")
                .unwrap()
                .column(&forced)
                .unwrap()
                .0,
            3
        );
    }

    #[test]
    fn what_is_no_version_is_none() {
        for text in ["", "x", "12", "12.x", "0.1", "-1.2", "99999999999.1"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
