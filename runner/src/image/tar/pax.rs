//! Extended headers of POSIX.1-2001: pax(1).

use super::sparse::Described;
use super::{Time, bad, without_zero};
use crate::error::Result;

/// Before the name of an extended attribute; star(1) began with it, and everybody followed.
const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";

/// What the records of a header say.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) modified: Option<Time>,
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Option<Described>,
}

impl Records {
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self> {
        let mut records = Self::default();
        while !bytes.is_empty() {
            let (key, value, rest) = split(bytes).ok_or_else(|| bad("a pax record is damaged"))?;
            records.take(key, value)?;
            bytes = rest;
        }
        records.adopt_sparse_name();
        Ok(records)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if let Some(name) = key.strip_prefix(ATTRIBUTE) {
            self.attributes.push((without_zero(name.to_vec())?, value.to_vec()));
            return Ok(());
        }
        if let Some(key) = key.strip_prefix(SPARSE) {
            return self.sparse.get_or_insert_default().take(key, value);
        }
        // An empty value takes back what a global header says, and none is followed.
        if value.is_empty() {
            return Ok(());
        }
        match key {
            b"path" => self.path = Some(without_zero(value.to_vec())?),
            b"linkpath" => self.link = Some(without_zero(value.to_vec())?),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            b"mtime" => self.modified = Some(time(value)?),
            _ => {}
        }
        Ok(())
    }

    /// The path of a sparse file's own header is made up for readers that know no sparse files.
    fn adopt_sparse_name(&mut self) {
        if let Some(name) = self.sparse.as_mut().and_then(|sparse| sparse.name.take()) {
            self.path = Some(name);
        }
    }

    /// Git writes its commit into a global header; one that changes what the entries are would be
    /// read differently by others.
    pub(super) fn refuse_global(&self) -> Result<()> {
        let Self { path, link, size, uid, gid, modified: _, attributes, sparse } = self;
        let names = path.is_some() || link.is_some();
        let numbers = size.is_some() || uid.is_some() || gid.is_some();
        if names || numbers || sparse.is_some() || !attributes.is_empty() {
            return Err(bad("a global header describes single entries"));
        }
        Ok(())
    }
}

/// The first of `LENGTH KEY=VALUE\n`, where the length is that of the whole record, and the rest.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(&bytes[..space]).ok()?).ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &bytes[length..]))
}

pub(super) fn number(text: &[u8]) -> Result<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| bad("a number of a pax record is damaged"))
}

/// Seconds since 1970, with a fraction perhaps, and before it perhaps.
fn time(text: &[u8]) -> Result<Time> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let point = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let whole = i64::try_from(number(&text[..point])?);
    let whole = whole.map_err(|_range| bad("a time is out of range"))?;
    let mut fraction = text.get(point + 1..).unwrap_or_default().to_vec();
    fraction.resize(9, b'0');
    let fraction = number(&fraction)? as u32;
    Ok(match (negative, fraction) {
        (false, nanoseconds) => Time { seconds: whole, nanoseconds },
        (true, 0) => Time { seconds: -whole, nanoseconds: 0 },
        (true, fraction) => Time { seconds: -whole - 1, nanoseconds: 1_000_000_000 - fraction },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_may_hold_any_byte() {
        let records = Records::parse(b"29 SCHILY.xattr.user.a=b\n=\0c\n12 path=a\nb\n").unwrap();
        assert_eq!(records.attributes, [(b"user.a".to_vec(), b"b\n=\0c".to_vec())]);
        assert_eq!(records.path.as_deref(), Some(&b"a\nb"[..]));
    }

    #[test]
    fn a_record_that_is_not_as_long_as_it_says_is_refused() {
        for wrong in
            [&b"8 path=a\n"[..], b"11 path=a\n", b"10 path a\n", b"99999999999999999999 a=b\n"]
        {
            assert!(Records::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(Records::parse(b"10 path=a\n").is_ok());
        assert!(Records::parse(b"12 path=a\0b\n").is_err());
        assert!(Records::parse(b"11 size=+1\n").is_err());
    }

    #[test]
    fn times_have_fractions() {
        let nanoseconds = |text: &[u8]| {
            let time = time(text).unwrap();
            i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds)
        };
        assert_eq!(nanoseconds(b"1"), 1_000_000_000);
        assert_eq!(nanoseconds(b"1.5"), 1_500_000_000);
        assert_eq!(nanoseconds(b"1.0000000019"), 1_000_000_001);
        assert_eq!(nanoseconds(b"-1.5"), -1_500_000_000);
        assert_eq!(nanoseconds(b"-2"), -2_000_000_000);
    }
}
