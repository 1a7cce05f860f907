//! What of the machine and the caller the planner has to know. Changes nothing.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;

use crate::capabilities::Set;
use crate::error::{Error, Result};
use crate::idmap::{self, UserNamespace};
use crate::name::ContainerName;
use crate::network::files;
use crate::plan::{File, Groups, ImageCommand, Observed, RootPlan};
use crate::request::{Net, Process, Run};
use crate::root;
use netup::addr::HostAddr;

/// From linux/capability.h.
const CAP_MKNOD: u32 = 27;

/// Looks around for a run.
///
/// # Errors
/// If the caller's own capabilities or the host's name servers cannot be read.
pub fn observe(
    run: &Run,
    name: &ContainerName,
    users: Option<&UserNamespace>,
    root: RootPlan,
    image: ImageCommand,
) -> Result<Observed> {
    let available = available(users)?;
    let in_first = users.is_none() && root::is_first_user_namespace()?;
    Ok(Observed {
        name: name.to_string(),
        root,
        image,
        has_users: users.is_some(),
        in_first_users: in_first,
        makes_devices: in_first && available.bits() & 1 << CAP_MKNOD != 0,
        groups: groups(users, in_first)?,
        files: files_below_etc(run, name)?,
        caller_env: caller_env(&run.process),
        available,
    })
}

/// In a user namespace of its own a container can be given any.
pub(crate) fn available(users: Option<&UserNamespace>) -> Result<Set> {
    if users.is_some() {
        return Ok(Set::ALL);
    }
    rustix::thread::capabilities(None)
        .map(|own| Set::from_bits(own.permitted.bits()))
        .map_err(|errno| Error::kernel("capget", errno))
}

fn groups(users: Option<&UserNamespace>, in_first: bool) -> Result<Groups> {
    match users {
        Some(users) => Ok(Groups {
            may_be_set: users.may_set_groups(),
            has_terminals: users.has_terminal_group(),
        }),
        None if in_first => Ok(Groups { may_be_set: true, has_terminals: true }),
        None => Ok(Groups {
            may_be_set: idmap::caller_may_set_groups()?,
            has_terminals: idmap::caller_has_terminal_group()?,
        }),
    }
}

fn files_below_etc(run: &Run, name: &ContainerName) -> Result<Vec<File>> {
    let hostname = run.hostname.as_deref().unwrap_or(name.as_str());
    let file = |at: &str, content: String, needed| File {
        at: at.into(),
        content: content.into_bytes(),
        needed,
    };
    let hosts = files::hosts(hostname, &addresses(&run.net));
    let mut files = vec![
        file("/etc/hosts", hosts, false),
        file("/etc/hostname", files::hostname(hostname), false),
    ];
    if run.net != Net::None || !run.dns.is_empty() {
        let host = read_if_there(files::HOST_RESOLV_CONF)?;
        let upstream = || read_if_there(files::UPSTREAM_RESOLV_CONF);
        let resolv = files::resolv_conf(&run.net, &run.dns, &host, upstream)?;
        files.push(file(files::HOST_RESOLV_CONF, resolv, true));
    }
    Ok(files)
}

/// A host without such a file has no name servers.
fn read_if_there(path: &str) -> Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::io(format!("read {path}"), &error)),
    }
}

/// Those that are known before a lease is taken.
fn addresses(net: &Net) -> Vec<HostAddr> {
    let Net::Attach(network) = net else { return Vec::new() };
    let exact = |request: &netup::request::AddressRequest| match request {
        netup::request::AddressRequest::Exact(address) => Some(*address),
        _ => None,
    };
    network.addresses.iter().filter_map(exact).collect()
}

/// What `-e KEY` asks for, and the kind of terminal.
pub(crate) fn caller_env(process: &Process) -> Vec<(OsString, OsString)> {
    let without_value = |word: &&OsString| !word.as_bytes().contains(&b'=');
    let asked = process.env.iter().filter(without_value).map(OsString::as_os_str);
    let term = process.tty.then_some(OsStr::new("TERM"));
    let value = |key: &OsStr| std::env::var_os(key).map(|value| (key.to_owned(), value));
    asked.chain(term).filter_map(value).collect()
}
