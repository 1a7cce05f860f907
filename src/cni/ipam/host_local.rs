//! Type `host-local`: leases as files that the reference plugin reads and writes too.

mod allocate;
mod boot;
mod config;
mod index;
mod leases;
mod owner;
mod range;
mod resolv_conf;
mod scan;

use std::io;
use std::net::IpAddr;
use std::path::Path;

use netup::{Error, ErrorKind};
use nix::libc::{EACCES, EPERM};
use nix::unistd::{AccessFlags, access};

use crate::cni::Call;
use crate::cni::failure::Failure;
use crate::cni::result::Made;

use config::Config;
use leases::Leases;
use owner::Owner;
use range::RangeSet;

/// Takes one address of each range set.
pub fn add(call: &Call) -> Result<Made, Failure> {
    let config = Config::of(call)?;
    let requested = config::requested(call)?;
    let dns = config.resolv_conf.as_deref().map(resolv_conf::read).transpose()?;
    let mut leases = Leases::open(&config::folder(call)?)?;
    let ips = allocate::allocate(&config, requested, &mut leases, &Owner::of(call));
    leases.close();
    let dns = dns.unwrap_or_default();
    Ok(Made { interfaces: Vec::new(), ips: ips?, routes: config.routes, dns })
}

/// Gives the attachment's addresses back. The ranges do not matter any more.
pub fn del(call: &Call) -> Result<(), Failure> {
    let Some(mut leases) = Leases::open_existing(&config::folder(call)?)? else {
        return Ok(());
    };
    let released = leases.release(&Owner::of(call));
    leases.close();
    released
}

/// Whether the attachment has an address, and those that its result names.
pub fn check(call: &Call) -> Result<(), Failure> {
    let config = Config::of(call)?;
    let owner = Owner::of(call);
    let held = match Leases::open_existing(&config::folder(call)?)? {
        Some(mut leases) => {
            let held = leases.of(&owner);
            leases.close();
            held?
        }
        None => Vec::new(),
    };
    if held.is_empty() {
        let id = &owner.id;
        let message = format!("host-local: Failed to find address added by container {id}");
        return Err(Error::new(ErrorKind::Drifted, message).into());
    }
    match named_but_not_held(call, &config.sets, &held) {
        Some(ip) => Err(Error::new(
            ErrorKind::Drifted,
            format!("host-local: the result names {ip}, which {} does not hold", owner.id),
        )
        .into()),
        None => Ok(()),
    }
}

/// Addresses of the result that are not of these ranges are another plugin's business.
fn named_but_not_held(call: &Call, sets: &[RangeSet], held: &[IpAddr]) -> Option<IpAddr> {
    let named = call.conf.prev_result.iter().flat_map(|made| &made.ips).map(|ip| ip.address.ip());
    let mut ours = named.filter(|ip| sets.iter().any(|set| set.range_of(*ip).is_some()));
    ours.find(|ip| !held.contains(ip))
}

/// Whether every range set has an address left, and leases can be written.
pub fn status(call: &Call) -> Result<(), Failure> {
    let config = Config::of(call)?;
    let folder = config::folder(call)?;
    let unavailable = |failure| Failure { code: Failure::UNAVAILABLE, ..failure };
    writable(&folder).map_err(unavailable)?;
    let Some(mut leases) = Leases::open_existing(&folder).map_err(unavailable)? else {
        return Ok(());
    };
    let room = leases.all().and_then(|(_, unreadable)| unreadable.map_or(Ok(()), Err));
    let room = room.and_then(|()| has_room(&config.sets, &leases.taken()?));
    leases.close();
    room.map_err(unavailable)
}

fn has_room(sets: &[RangeSet], taken: &[IpAddr]) -> Result<(), Failure> {
    let full = |set: &&RangeSet| {
        let counts = |ip: &&IpAddr| set.range_of(**ip).is_some() && !set.is_gateway(**ip);
        taken.iter().filter(counts).count() as u128 >= set.capacity()
    };
    sets.iter().find(full).map_or(Ok(()), |set| Err(allocate::exhausted(set)))
}

/// Whether files can be made in the folder, or the folder itself.
fn writable(folder: &Path) -> Result<(), Failure> {
    let existing = folder.ancestors().find(|path| path.is_dir()).unwrap_or(folder);
    access(existing, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|errno| file_failed("write to", existing, &errno.into()))
}

/// Frees the addresses of every attachment of the network that is not valid any more. A caller that
/// names no attachment at all has none.
pub fn gc(call: &Call) -> Result<(), Failure> {
    let valid = call.conf.valid_attachments()?.unwrap_or_default();
    let Some(mut leases) = Leases::open_existing(&config::folder(call)?)? else {
        return Ok(());
    };
    let freed = free_stale(&mut leases, &valid);
    leases.close();
    freed
}

fn free_stale(leases: &mut Leases, valid: &[(String, String)]) -> Result<(), Failure> {
    let (owners, unreadable) = leases.all()?;
    let mut failures: Vec<Failure> = unreadable.into_iter().collect();
    for key in owners.keys().filter(|key| !is_valid(key, valid)) {
        // Asked for again, since only that makes sure that the files agree.
        let freed = leases.by_key(key).and_then(|ips| leases.remove(key, &ips));
        failures.extend(freed.err());
    }
    let messages: Vec<&str> = failures.iter().map(|failure| failure.msg.as_str()).collect();
    match failures.first() {
        Some(first) => Err(Failure { msg: messages.join("; "), ..first.clone() }),
        None => Ok(()),
    }
}

/// A lease file that names only a container belongs to every attachment of it.
fn is_valid(key: &str, valid: &[(String, String)]) -> bool {
    match key.split_once('@') {
        Some((id, ifname)) => valid.iter().any(|(i, n)| (i.as_str(), n.as_str()) == (id, ifname)),
        None => valid.iter().any(|(i, _)| i == key),
    }
}

/// A file or folder of the leases could not be read or written.
fn file_failed(verb: &str, path: &Path, error: &io::Error) -> Failure {
    let error = Error::state(format!("{verb} {}", path.display()), error);
    let details = match error.errno() {
        Some(EACCES | EPERM) => Some("run as root, or name a folder of your own in ipam.dataDir"),
        _ => error.remedy(),
    };
    Failure::new(Failure::IO, error.message()).details(details.unwrap_or_default())
}
