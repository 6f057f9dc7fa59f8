//! What entries before an entry say about it: GNU's long names, and the attributes of pax.

use super::super::error::OpenError;

/// What entries before an entry say about it.
#[derive(Debug, Default)]
pub(super) struct Extras {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) sparse: Option<Sparse>,
    pub(super) any: bool,
}

/// What pax says of a file with holes.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    pub(super) major: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    /// Offsets and lengths in turn.
    pub(super) numbers: Vec<u64>,
}

impl Extras {
    pub(super) fn is_empty(&self) -> bool {
        self.path.is_none() && self.link.is_none() && !self.any
    }

    /// Takes what a pax header says.
    pub(super) fn pax(&mut self, bytes: &[u8]) -> Result<(), OpenError> {
        let bad = || OpenError::damaged("the attributes of an entry in the tar archive");
        self.any = true;
        let mut rest = bytes;
        while let Some((key, value, behind)) = pax_record(rest) {
            rest = behind;
            if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                self.sparse
                    .get_or_insert_with(Sparse::default)
                    .set(key, value)
                    .ok_or_else(bad)?;
                continue;
            }
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(decimal(value).ok_or_else(bad)?),
                _ => {}
            }
        }
        // Some writers fill the rest of the block with zeros.
        match rest.iter().all(|&byte| byte == 0) {
            true => Ok(()),
            false => Err(bad()),
        }
    }
}

/// The first of the attributes, `LENGTH KEY=VALUE\n`, and what comes behind it. The length is that of all of it: a value may
/// have line ends of its own, as names of files have, where the tar crate's reader sees the next attribute.
fn pax_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|&byte| byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    let (record, behind) = bytes.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], behind))
}

impl Sparse {
    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"major" => self.major = Some(decimal(value)?),
            b"name" => self.name = Some(value.to_vec()),
            b"realsize" | b"size" => self.size = Some(decimal(value)?),
            b"offset" | b"numbytes" => self.numbers.push(decimal(value)?),
            b"map" => {
                self.numbers = value
                    .split(|&byte| byte == b',')
                    .filter(|number| !number.is_empty())
                    .map(decimal)
                    .collect::<Option<_>>()?;
            }
            _ => {}
        }
        Some(())
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
