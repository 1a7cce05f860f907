//! Letting containers through by firewalld: their addresses become sources of a zone that trusts.
//!
//! Only for as long as firewalld runs, as the reference does it: containers do not outlive a boot,
//! so nothing of theirs belongs into a configuration that does.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};
use crate::kernel::nfnetlink::Nfnetlink;
use crate::kernel::nft_chain::{self, Chain, TableFamily};
use crate::program::{self, Ended};

/// `UNKNOWN_SOURCE`, `RUNNING_BUT_FAILED` and others of firewall-cmd(1): a source of no zone, no
/// daemon, no bus to ask it over.
const UNKNOWN_SOURCE: i32 = 30;
const NOT_RUNNING: i32 = 252;
const NO_BUS: i32 = 36;

/// Whether firewalld is at work in the calling thread's network namespace.
///
/// Asked of the kernel, since a question over D-Bus costs more than the whole call: firewalld has
/// the table `inet firewalld`, or, with its old backend, a chain in iptables' table; and it takes
/// them away when it is stopped.
pub fn is_running() -> Result<bool> {
    let nft = Nfnetlink::here()?;
    if nft_chain::table_exists(&nft, TableFamily::Inet, "firewalld")? {
        return Ok(true);
    }
    let of_old_backend = Chain { family: TableFamily::Ip, table: "filter", name: "FORWARD_ZONES" };
    nft_chain::exists(&nft, of_old_backend)
}

/// Makes the addresses sources of the zone. That they are already is success.
pub fn trust(zone: &str, addresses: &[IpAddr]) -> Result<()> {
    if addresses.is_empty() {
        return Ok(());
    }
    let ended = command(zone, "add", addresses)?;
    // One that is a source of this zone already is told as a warning.
    match ended.code {
        Some(0) => Ok(()),
        _ => Err(refused(zone, &ended)),
    }
}

/// Takes the addresses out of the zone. That they are not in it, or that firewalld is gone and its
/// sources with it, is success.
pub fn distrust(zone: &str, addresses: &[IpAddr]) -> Result<()> {
    if addresses.is_empty() || find().is_none() {
        return Ok(());
    }
    let ended = command(zone, "remove", addresses)?;
    match ended.code {
        Some(0 | UNKNOWN_SOURCE | NOT_RUNNING | NO_BUS) => Ok(()),
        _ => Err(refused(zone, &ended)),
    }
}

/// Whether the addresses are sources of the zone.
pub fn is_trusted(zone: &str, addresses: &[IpAddr]) -> Result<bool> {
    let ended = run(&[format!("--zone={zone}"), "--list-sources".to_owned()])?;
    match ended.code {
        Some(0) => Ok(addresses.iter().all(|ip| {
            let source = source(*ip);
            ended.stdout.split_whitespace().any(|listed| listed == source)
        })),
        Some(NOT_RUNNING | NO_BUS) => Ok(false),
        _ => Err(refused(zone, &ended)),
    }
}

/// The words of the command, with the program's name: `verb` is `add` or `remove`.
pub(crate) fn words(zone: &str, verb: &str, addresses: &[IpAddr]) -> Vec<String> {
    let sources = addresses.iter().map(|ip| format!("--{verb}-source={}", source(*ip)));
    ["firewall-cmd".to_owned(), format!("--zone={zone}")].into_iter().chain(sources).collect()
}

fn command(zone: &str, verb: &str, addresses: &[IpAddr]) -> Result<Ended> {
    run(words(zone, verb, addresses).get(1..).unwrap_or_default())
}

fn run(arguments: &[String]) -> Result<Ended> {
    let program = find().ok_or_else(|| {
        Error::new(ErrorKind::MissingTool, "the program firewall-cmd is not installed")
            .hint("install the package firewalld (apt-get install firewalld)")
    })?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    program::run(&program, &arguments, "")
}

fn find() -> Option<PathBuf> {
    program::find(&["firewall-cmd"])
}

fn source(ip: IpAddr) -> String {
    format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 })
}

fn refused(zone: &str, ended: &Ended) -> Error {
    let message = format!("firewall-cmd --zone={zone} failed: {}", ended.complaint());
    let error = Error::new(ErrorKind::Kernel, message);
    match ended.code {
        Some(NOT_RUNNING | NO_BUS) => error.hint("start firewalld (systemctl start firewalld)"),
        _ => error,
    }
}
