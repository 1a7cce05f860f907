//! `netup-run run`.

use std::ffi::OsString;

use lexopt::{Arg, Parser, ValueExt};

use super::network::NetOptions;
use super::{Invocation, help, values, wrong};
use crate::capabilities::Adjustment;
use crate::error::{Error, Result};
use crate::request::{Base, Explain, Limits, Process, Run, Security, Users, Volume, Writes};

/// The words so far.
struct Options {
    name: Option<String>,
    writes: Option<Writes>,
    read_only: bool,
    volumes: Vec<Volume>,
    hostname: Option<String>,
    process: Process,
    net: NetOptions,
    users: Users,
    security: Security,
    limits: Limits,
    init: bool,
    explain: Explain,
    quiet: bool,
}

pub(super) fn decode(mut parser: Parser) -> Result<Invocation> {
    let mut options = Options::new();
    while let Some(word) = parser.next().map_err(wrong)? {
        match word {
            Arg::Long("help") | Arg::Short('h') => return Ok(Invocation::Page(help::RUN)),
            Arg::Value(base) => {
                options.process.command = rest(&mut parser)?;
                return options.finish(&base).map(|run| Invocation::Run(Box::new(run)));
            }
            Arg::Long(name) => {
                let name = name.to_owned();
                options.long(&name, &mut parser)?;
            }
            Arg::Short(letter) => options.short(letter, &mut parser)?,
        }
    }
    Err(Error::invalid("which root file system, or which image?")
        .hint("netup-run run [OPTIONS] ROOTFS|IMAGE COMMAND…; see netup-run run --help"))
}

/// What follows the base is the command's, dashes and all.
pub(super) fn rest(parser: &mut Parser) -> Result<Vec<OsString>> {
    let mut words: Vec<OsString> = parser.raw_args().map_err(wrong)?.collect();
    if words.first().is_some_and(|word| word == "--") {
        words.remove(0);
    }
    Ok(words)
}

fn value(parser: &mut Parser) -> Result<OsString> {
    parser.value().map_err(wrong)
}

fn string(parser: &mut Parser) -> Result<String> {
    value(parser).and_then(values::text)
}

impl Options {
    fn new() -> Self {
        Self {
            name: None,
            writes: None,
            read_only: false,
            volumes: Vec::new(),
            hostname: None,
            process: Process::default(),
            net: NetOptions::default(),
            users: Users::default(),
            security: Security::default(),
            limits: Limits::default(),
            init: true,
            explain: Explain::default(),
            quiet: false,
        }
    }

    fn short(&mut self, letter: char, parser: &mut Parser) -> Result<()> {
        match letter {
            'v' => self.volumes.push(values::volume(&value(parser)?)?),
            'p' => self.net.publish(&string(parser)?)?,
            'q' => self.quiet = true,
            _ => return process_short(&mut self.process, letter, parser),
        }
        Ok(())
    }

    fn long(&mut self, name: &str, parser: &mut Parser) -> Result<()> {
        match name {
            "name" => self.name = Some(string(parser)?),
            "hostname" => self.hostname = Some(string(parser)?),
            "volume" => self.volumes.push(values::volume(&value(parser)?)?),
            "tmpfs" => self.volumes.push(values::tmpfs(value(parser)?)?),
            "read-only" => self.read_only = true,
            "writes" => self.set_writes(writes(&string(parser)?)?)?,
            "keep" => self.set_writes(Writes::Keep(string(parser)?.parse()?))?,
            "users" => self.users = users(&string(parser)?)?,
            "no-init" => self.init = false,
            "explain" => self.explain = Explain::Running,
            "dry-run" => self.explain = Explain::Only,
            "quiet" => self.quiet = true,
            _ => return self.more(name, parser),
        }
        Ok(())
    }

    fn more(&mut self, name: &str, parser: &mut Parser) -> Result<()> {
        let security = &mut self.security;
        match name {
            "cap-add" => security.capabilities.push(Adjustment::add(&string(parser)?)?),
            "cap-drop" => security.capabilities.push(Adjustment::drop(&string(parser)?)?),
            "new-privileges" => security.new_privileges = true,
            "no-seccomp" => security.no_seccomp = true,
            "nested-users" => security.nested_users = true,
            "unmasked" => security.unmasked = true,
            "memory" => self.limits.memory = Some(values::bytes("--memory", &string(parser)?)?),
            "cpus" => self.limits.millicpus = Some(values::millicpus(&string(parser)?)?),
            "pids" => self.limits.pids = Some(values::count("--pids", &string(parser)?)?),
            "rlimit" => self.process.rlimits.push(values::rlimit(&string(parser)?)?),
            _ if self.net.long(name, parser)? => {}
            _ => return process_long(&mut self.process, name, parser),
        }
        Ok(())
    }

    fn set_writes(&mut self, writes: Writes) -> Result<()> {
        match self.writes.replace(writes) {
            None => Ok(()),
            Some(_) => Err(Error::invalid("what becomes of writes is said twice")
                .hint("give one of --writes and --keep")),
        }
    }

    fn finish(self, base: &OsString) -> Result<Run> {
        let (net, dns) = self.net.finish()?;
        if let Some(hostname) = &self.hostname {
            check_hostname(hostname)?;
        }
        Ok(Run {
            name: self.name.map(|name| name.parse()).transpose()?,
            base: self::base(base)?,
            writes: self.writes.unwrap_or_default(),
            read_only: self.read_only,
            volumes: self.volumes,
            hostname: self.hostname,
            process: self.process,
            net,
            dns,
            users: self.users,
            security: self.security,
            limits: self.limits,
            init: self.init,
            explain: self.explain,
            quiet: self.quiet,
        })
    }
}

/// Of `run` and `exec` alike.
pub(super) fn process_short(
    process: &mut Process,
    letter: char,
    parser: &mut Parser,
) -> Result<()> {
    match letter {
        'e' => process.env.push(environment(value(parser)?)?),
        'w' => process.cwd = Some(working_directory(value(parser)?)?),
        'u' => process.user = Some(string(parser)?),
        't' => process.tty = true,
        'i' => process.interactive = true,
        other => return Err(wrong(Arg::Short(other).unexpected())),
    }
    Ok(())
}

/// Of `run` and `exec` alike.
pub(super) fn process_long(process: &mut Process, name: &str, parser: &mut Parser) -> Result<()> {
    match name {
        "env" => process.env.push(environment(value(parser)?)?),
        "workdir" => process.cwd = Some(working_directory(value(parser)?)?),
        "user" => process.user = Some(string(parser)?),
        "tty" => process.tty = true,
        "interactive" => process.interactive = true,
        other => return Err(wrong(Arg::Long(other).unexpected())),
    }
    Ok(())
}

fn environment(word: OsString) -> Result<OsString> {
    use std::os::unix::ffi::OsStrExt;
    match word.as_bytes().first() {
        None | Some(b'=') => Err(Error::invalid(format!("-e {word:?} has no name"))),
        Some(_) => Ok(word),
    }
}

fn working_directory(word: OsString) -> Result<std::path::PathBuf> {
    let path = std::path::PathBuf::from(word);
    if path.is_absolute() {
        return Ok(path);
    }
    Err(Error::invalid(format!("-w {} is not absolute", path.display())))
}

/// With a slash a directory; otherwise an image.
fn base(word: &OsString) -> Result<Base> {
    use std::os::unix::ffi::OsStrExt;
    if word.as_bytes().contains(&b'/') || word == "." || word == ".." {
        let path = std::path::absolute(word)
            .map_err(|error| Error::io(format!("root file system {word:?}"), &error))?;
        return Ok(Base::Directory(path));
    }
    let name = word.clone().string().map_err(wrong)?;
    Ok(Base::Image(name.parse().map_err(|error: Error| {
        error.hint("a directory is written with a slash, such as ./rootfs")
    })?))
}

fn writes(text: &str) -> Result<Writes> {
    match text {
        "discard" => Ok(Writes::Discard),
        "memory" => Ok(Writes::Memory),
        "disk" => Ok(Writes::Disk),
        "direct" => Ok(Writes::Direct),
        _ => Err(Error::invalid(format!("--writes {text:?} is none of them")).hint(
            "there are discard, memory, disk and direct; --keep NAME makes an image of them",
        )),
    }
}

fn users(text: &str) -> Result<Users> {
    match text {
        "auto" => Ok(Users::Auto),
        "ranges" => Ok(Users::Ranges),
        "single" => Ok(Users::Single),
        "host" => Ok(Users::Host),
        _ => Err(Error::invalid(format!("--users {text:?} is none of them"))
            .hint("there are auto, ranges, single and host")),
    }
}

/// What sethostname(2) takes, and hosts(5) can hold.
fn check_hostname(name: &str) -> Result<()> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b".-_".contains(&c);
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(Error::invalid(format!("--hostname {name:?} is not possible"))
        .hint("use up to 64 letters, digits, '.', '-' and '_'"))
}
