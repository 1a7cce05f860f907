//! The ids that are set aside for a user: subuid(5), subgid(5).

use std::fs;
use std::io;

use rustix::process::geteuid;

use crate::error::{Error, ErrorKind, Result};

/// With these every id that Debian and its like use, up to `nogroup` (65534), exists inside.
const FEWEST: u64 = 65534;

/// What is left to one who has no ranges. An image takes them to be unpacked, a directory does not.
pub(super) const WITHOUT: &str =
    "or run a directory with your own id alone: netup-run run --users single";

/// Who asks.
pub(super) struct Caller {
    uid: u32,
    name: Option<String>,
}

impl Caller {
    pub(super) fn current() -> Result<Self> {
        let uid = geteuid().as_raw();
        let name = name_of(uid, &read("/etc/passwd")?);
        Ok(Self { uid, name })
    }

    pub(super) fn subordinate_uids(&self) -> Result<Vec<(u32, u32)>> {
        self.ranges("/etc/subuid")
    }

    pub(super) fn subordinate_gids(&self) -> Result<Vec<(u32, u32)>> {
        self.ranges("/etc/subgid")
    }

    fn ranges(&self, file: &str) -> Result<Vec<(u32, u32)>> {
        let ranges = self.ranges_in(file, &read(file)?)?;
        let count: u64 = ranges.iter().map(|(_, count)| u64::from(*count)).sum();
        match count {
            0 => Err(self.refusal(format!("{file} sets no ids aside for {}", self.who()))),
            1..FEWEST => {
                let least = format!("and a distribution needs {FEWEST}");
                Err(self.refusal(format!("{file} gives {} only {count} ids, {least}", self.who())))
            }
            _ => Ok(ranges),
        }
    }

    /// The caller's ranges, first id and count, in the order of the file.
    fn ranges_in(&self, file: &str, text: &str) -> Result<Vec<(u32, u32)>> {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let own = lines
            .filter(|(who, _)| self.name.as_deref() == Some(who) || who.parse() == Ok(self.uid));
        own.map(|(who, range)| {
            parse(range).ok_or_else(|| {
                let message = format!("{file}: {who}:{range} is no range of ids");
                Error::new(ErrorKind::State, message).hint("it has to be USER:FIRST:COUNT")
            })
        })
        .collect()
    }

    fn refusal(&self, message: String) -> Error {
        Error::new(ErrorKind::NotPermitted, message).hint(format!(
            "let root run: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {}; \
             {WITHOUT}",
            self.name.clone().unwrap_or_else(|| self.uid.to_string())
        ))
    }

    fn who(&self) -> String {
        match &self.name {
            Some(name) => format!("user {name}"),
            None => format!("uid {}", self.uid),
        }
    }
}

fn parse(range: &str) -> Option<(u32, u32)> {
    let (first, count) = range.split_once(':')?;
    let (first, count): (u32, u32) = (first.parse().ok()?, count.trim_end().parse().ok()?);
    // (uid_t) -1 means "no change" to the system calls and is nobody's.
    (count > 0 && first.checked_add(count)? < u32::MAX).then_some((first, count))
}

fn name_of(uid: u32, passwd: &str) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The file's text; a file that is not there says nothing.
fn read(path: &str) -> Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::io(format!("read {path}"), &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anna() -> Caller {
        Caller { uid: 1000, name: Some("anna".to_owned()) }
    }

    #[test]
    fn ranges_go_by_name_or_number() {
        let text = "bert:1:65536\nanna:100000:10\n1000:300000:65536\n# anna:5:5\nannabel:7:7\n";
        let ranges = anna().ranges_in("/etc/subuid", text).unwrap();
        assert_eq!(ranges, [(100_000, 10), (300_000, 65536)]);
    }

    #[test]
    fn a_line_that_is_wrong_is_an_error_only_if_it_is_ones_own() {
        for wrong in ["anna:x:1", "anna:1", "anna:4294967295:1", "anna:1:0", "anna:-1:5"] {
            let error = anna().ranges_in("/etc/subuid", wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::State, "{wrong}");
        }
        assert!(anna().ranges_in("/etc/subuid", "bert:x:1").unwrap().is_empty());
    }

    #[test]
    fn a_user_is_known_by_the_number_of_its_line() {
        let passwd = "root:x:0:0::/root:/bin/sh\n1000:x:7:7::/:/\nanna:x:1000:100::/:/\n";
        assert_eq!(name_of(1000, passwd).as_deref(), Some("anna"));
        assert_eq!(name_of(1, passwd), None);
    }
}
