//! Giving out addresses: one of each range set, all or none.

use std::net::IpAddr;

use netup::{Error, ErrorKind};

use crate::cni::failure::Failure;
use crate::cni::ipam::host_local::config::Config;
use crate::cni::ipam::host_local::leases::Leases;
use crate::cni::ipam::host_local::owner::Owner;
use crate::cni::ipam::host_local::range::{Range, RangeSet};
use crate::cni::result::Ip;

/// Takes one address of each set for the owner, the requested ones where they lie in one.
pub fn allocate(
    config: &Config,
    requested: Vec<IpAddr>,
    leases: &mut Leases,
    owner: &Owner,
) -> Result<Vec<Ip>, Failure> {
    let held = leases.of(owner)?;
    let mut turn = Turn { leases, owner, held, requested, taken: Vec::new() };
    match turn.all(&config.sets) {
        Ok(ips) => Ok(ips),
        Err(failure) => {
            let Turn { leases, taken, .. } = turn;
            Err(match leases.remove(&owner.key(), &taken) {
                Ok(()) => failure,
                Err(also) => {
                    Failure { msg: format!("{}; also, {}", failure.msg, also.msg), ..failure }
                }
            })
        }
    }
}

/// One ADD on its way through the sets.
struct Turn<'a> {
    leases: &'a mut Leases,
    owner: &'a Owner,
    /// What the owner had before.
    held: Vec<IpAddr>,
    /// What is requested and not yet taken.
    requested: Vec<IpAddr>,
    taken: Vec<IpAddr>,
}

impl Turn<'_> {
    fn all(&mut self, sets: &[RangeSet]) -> Result<Vec<Ip>, Failure> {
        let mut ips = Vec::new();
        for (n, set) in sets.iter().enumerate() {
            ips.push(self.one(n, set).map_err(|failure| Failure {
                msg: format!("failed to allocate for range {n}: {}", failure.msg),
                ..failure
            })?);
        }
        if self.requested.is_empty() {
            return Ok(ips);
        }
        let left: Vec<String> = self.requested.iter().map(IpAddr::to_string).collect();
        let message = format!("failed to allocate all requested IPs: {}", left.join(" "));
        Err(Failure::config(message)
            .details("they lie in none of the ranges, or two lie in one set"))
    }

    fn one(&mut self, n: usize, set: &RangeSet) -> Result<Ip, Failure> {
        if let Some(ip) = self.held.iter().find(|ip| set.range_of(**ip).is_some()) {
            return Err(twice(*ip, self.owner));
        }
        let requested = self.requested.iter().position(|ip| set.range_of(*ip).is_some());
        let (ip, range) = match requested.map(|at| self.requested.remove(at)) {
            Some(ip) => self.exactly(ip, set)?,
            None => self.next(n, set)?,
        };
        self.leases.set_last(n, ip)?;
        let address = range.with_prefix(ip);
        let address = address.ok_or_else(|| Failure::config(format!("{ip} has no prefix")))?;
        Ok(Ip { interface: None, address, gateway: Some(range.gateway()) })
    }

    fn exactly<'s>(
        &mut self,
        ip: IpAddr,
        set: &'s RangeSet,
    ) -> Result<(IpAddr, &'s Range), Failure> {
        if set.is_gateway(ip) {
            return Err(in_use(format!("requested ip {ip} is subnet's gateway")));
        }
        let unavailable = || {
            in_use(format!("requested IP address {ip} is not available in range set {set}"))
                .details("somebody has it; its file in the network's folder says who")
        };
        let range = set.range_of(ip).ok_or_else(unavailable)?;
        self.take(ip)?.then_some((ip, range)).ok_or_else(unavailable)
    }

    fn next<'s>(&mut self, n: usize, set: &'s RangeSet) -> Result<(IpAddr, &'s Range), Failure> {
        for (ip, range) in set.after(self.leases.last(n)) {
            if self.take(ip)? {
                return Ok((ip, range));
            }
        }
        Err(exhausted(set))
    }

    fn take(&mut self, ip: IpAddr) -> Result<bool, Failure> {
        let is_taken = self.leases.take(ip, self.owner)?;
        if is_taken {
            self.taken.push(ip);
        }
        Ok(is_taken)
    }
}

/// No address of the set is free.
pub fn exhausted(set: &RangeSet) -> Failure {
    let message = format!("no IP addresses available in range set: {set}");
    Error::new(ErrorKind::PoolExhausted, message)
        .hint("delete containers, run a GC for the network, or give it a larger range")
        .into()
}

fn twice(ip: IpAddr, owner: &Owner) -> Failure {
    let id = &owner.id;
    let message = format!("{ip} has been allocated to {id}, duplicate allocation is not allowed");
    Error::new(ErrorKind::AttachmentExists, message)
        .hint(format!("a DEL of {id} with CNI_IFNAME={} gives it back", owner.ifname))
        .into()
}

fn in_use(message: String) -> Failure {
    Error::new(ErrorKind::AddressInUse, message).into()
}
