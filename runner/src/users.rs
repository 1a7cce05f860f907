//! Who the command runs as: `USER[:GROUP]`, looked up in the container's own files.
//!
//! The files are a stranger's, so they are read as text with bounds and never through the C library,
//! which would load the host's name services.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};

/// The most of `/etc/passwd` or `/etc/group` that is looked at, in bytes. Whoever reads them for
/// [`identify`] reads one byte more than this at most.
pub const LARGEST_FILE: usize = 4 << 20;

/// `NGROUPS_MAX`, setgroups(2).
const MOST_GROUPS: usize = 65536;

/// The id that means "none" to the kernel, setresuid(2).
const NO_ID: u32 = u32::MAX;

/// Who the command runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user's id in the container.
    pub uid: u32,
    /// The group's id in the container.
    pub gid: u32,
    /// The supplementary groups, without `gid`.
    pub groups: Vec<u32>,
    /// The home directory that `/etc/passwd` gives, if it is an absolute path.
    pub home: Option<PathBuf>,
}

/// Who is meant by `spec`, with the texts of the container's `/etc/passwd` and `/etc/group` (empty if
/// there is no such file).
///
/// `USER` and `GROUP` are each a decimal id or a name; what looks like a number is one, also if an
/// entry has it as its name. A user whom `/etc/passwd` does not know has group 0 unless one is given,
/// as with other runners. The groups that `/etc/group` lists the user in come along, unless `GROUP` is
/// given: then that group is all.
pub fn identify(spec: &str, passwd: &[u8], group: &[u8]) -> Result<Identity> {
    check_size("/etc/passwd", passwd)?;
    check_size("/etc/group", group)?;
    let (user, given_group) = match spec.split_once(':') {
        Some((user, group)) => (Who::parse("user", user)?, Some(Who::parse("group", group)?)),
        None => (Who::parse("user", spec)?, None),
    };
    let entry = find_user(&user, passwd);
    let uid = match (&user, &entry) {
        (Who::Id(id), _) => *id,
        (Who::Name(_), Some(entry)) => entry.uid,
        (Who::Name(name), None) => return Err(unknown("user", name, "/etc/passwd")),
    };
    let (gid, groups) = match (given_group, &entry) {
        (Some(chosen), _) => (find_group(&chosen, group)?, Vec::new()),
        (None, Some(entry)) => (entry.gid, groups_of(entry, group)?),
        (None, None) => (0, Vec::new()),
    };
    Ok(Identity { uid, gid, groups, home: entry.and_then(|entry| absolute(entry.home)) })
}

fn check_size(path: &str, content: &[u8]) -> Result<()> {
    if content.len() <= LARGEST_FILE {
        return Ok(());
    }
    let message = format!("{path} of the container has more than {LARGEST_FILE} bytes");
    Err(Error::new(ErrorKind::BadImage, message))
}

fn unknown(what: &str, name: &str, path: &str) -> Error {
    let message = format!("{path} of the container has no {what} {name:?}");
    Error::new(ErrorKind::NotFound, message)
        .hint(format!("give a number to use an id without a {what}"))
}

fn absolute(path: &[u8]) -> Option<PathBuf> {
    path.starts_with(b"/").then(|| PathBuf::from(OsStr::from_bytes(path)))
}

/// A user or group as the caller writes it.
enum Who {
    Id(u32),
    Name(String),
}

impl Who {
    fn parse(what: &str, text: &str) -> Result<Self> {
        let wrong = |why: &str| Err(Error::invalid(format!("{what} {text:?} {why}")));
        // Everything that begins as a number does must be one: `0x10` or `1000 ` silently taken as a
        // name, or `-1` as the largest id, is how users were mistaken before (CVE-2026-30892).
        if text.starts_with(|c: char| c.is_ascii_digit() || "+-".contains(c)) {
            return match id(text.as_bytes()) {
                Some(id) => Ok(Self::Id(id)),
                None => wrong("is no id: use a decimal number below 4294967295, or a name"),
            };
        }
        let strange = |c: char| c.is_whitespace() || c.is_control() || ":,/".contains(c);
        if text.is_empty() || text.contains(strange) {
            return wrong("is no name");
        }
        Ok(Self::Name(text.to_owned()))
    }
}

/// A decimal id, strictly: digits only, no sign, no leading zero, and not the one that means "none".
fn id(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    if !digits || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    text.parse().ok().filter(|&id| id != NO_ID)
}

/// A line of `/etc/passwd`, passwd(5).
struct User<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

impl<'a> User<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|&c| c == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let _password = fields.next()?;
        let uid = id(fields.next()?)?;
        let gid = id(fields.next()?)?;
        let _comment = fields.next()?;
        let home = fields.next()?;
        let _shell = fields.next()?;
        Some(Self { name, uid, gid, home })
    }

    fn is(&self, who: &Who) -> bool {
        match who {
            Who::Id(id) => self.uid == *id,
            Who::Name(name) => self.name == name.as_bytes(),
        }
    }
}

/// A line of `/etc/group`, group(5).
struct Group<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

impl<'a> Group<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|&c| c == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let _password = fields.next()?;
        Some(Self { name, gid: id(fields.next()?)?, members: fields.next()? })
    }

    fn has(&self, user: &[u8]) -> bool {
        self.members.split(|&c| c == b',').any(|member| member == user)
    }
}

fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split(|&c| c == b'\n')
}

/// The first that fits, as getpwnam(3) has it. A line that is damaged fits nobody.
fn find_user<'a>(who: &Who, passwd: &'a [u8]) -> Option<User<'a>> {
    lines(passwd).filter_map(User::parse).find(|user| user.is(who))
}

fn find_group(who: &Who, group: &[u8]) -> Result<u32> {
    let name = match who {
        Who::Id(id) => return Ok(*id),
        Who::Name(name) => name,
    };
    lines(group)
        .filter_map(Group::parse)
        .find(|group| group.name == name.as_bytes())
        .map(|group| group.gid)
        .ok_or_else(|| unknown("group", name, "/etc/group"))
}

fn groups_of(user: &User<'_>, group: &[u8]) -> Result<Vec<u32>> {
    let mut groups: Vec<u32> = lines(group)
        .filter_map(Group::parse)
        .filter(|group| group.gid != user.gid && group.has(user.name))
        .map(|group| group.gid)
        .collect();
    groups.sort_unstable();
    groups.dedup();
    if groups.len() > MOST_GROUPS {
        let message = format!("the user is in more than {MOST_GROUPS} groups");
        return Err(Error::new(ErrorKind::BadImage, message));
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n\
        daemon:x:1:1::/usr/sbin:/usr/sbin/nologin\n\
        # a comment\n\
        1000:x:4242:4242:a name like a number:/wrong:/bin/sh\n\
        huge:x:4294967296:0::/:/bin/sh\n\
        none:x:4294967295:0::/:/bin/sh\n\
        short:x:7\n\
        www-data:x:33:33:www:/var/www:/usr/sbin/nologin\n\
        relative:x:50:50::home:/bin/sh\n\
        root:x:99:99:a second root:/second:/bin/sh\n";
    const GROUP: &[u8] = b"root:x:0:\nwww-data:x:33:\nadm:x:4:root,www-data\n\
        ssl:x:110:www-data\nssl2:x:110:www-data\nown:x:33:www-data\nbad:x:-1:www-data\n\
        other:x:5:www-data2\n";

    fn who(spec: &str) -> Identity {
        identify(spec, PASSWD, GROUP).unwrap()
    }

    #[test]
    fn a_name_brings_its_groups_and_home() {
        let home = Some("/var/www".into());
        let www = Identity { uid: 33, gid: 33, groups: vec![4, 110], home };
        assert_eq!(who("www-data"), www);
        assert_eq!(who("33"), www);
    }

    #[test]
    fn the_first_entry_of_a_name_counts() {
        assert_eq!((who("root").uid, who("root").home), (0, Some("/root".into())));
    }

    #[test]
    fn a_group_of_the_callers_is_all_there_is() {
        let identity = who("www-data:adm");
        assert_eq!((identity.uid, identity.gid, identity.groups), (33, 4, vec![]));
        let identity = who("33:1234");
        assert_eq!((identity.gid, identity.groups), (1234, vec![]));
    }

    #[test]
    fn a_number_is_an_id_whatever_the_file_calls_it() {
        let identity = who("1000");
        assert_eq!((identity.uid, identity.gid), (1000, 0));
        assert_eq!(identity.home, None);
    }

    #[test]
    fn what_is_neither_id_nor_name_is_refused() {
        for bad in [
            "",
            ":",
            "0:",
            ":0",
            " 0",
            "0 ",
            "0x0",
            "+0",
            "-1",
            "-0",
            "00",
            "4294967295",
            "4294967296",
            "99999999999999999999",
            "1e3",
            "0:0:0",
            "1000:-1",
            "root:4294967295",
            "a b",
            "root\n",
            "a/b",
            "\u{661}",
        ] {
            assert!(identify(bad, PASSWD, GROUP).is_err(), "{bad:?}");
        }
        assert_eq!(who("4294967294").uid, 4_294_967_294);
    }

    #[test]
    fn an_entry_with_an_impossible_id_is_nobody() {
        for name in ["huge", "none", "short", "#", "nobody"] {
            let error = identify(name, PASSWD, GROUP).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{name}: {error}");
        }
        assert!(identify("root:bad", PASSWD, GROUP).is_err());
    }

    #[test]
    fn a_home_that_is_not_absolute_is_none() {
        assert_eq!(who("relative").home, None);
    }

    #[test]
    fn ids_need_no_files() {
        let identity = identify("5:6", b"", b"").unwrap();
        assert_eq!((identity.uid, identity.gid), (5, 6));
        assert!(identify("root", b"", b"").is_err());
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let error = identify("0", &vec![b'x'; LARGEST_FILE + 1], b"").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadImage);
    }
}
