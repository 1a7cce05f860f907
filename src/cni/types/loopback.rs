//! Type `loopback`: the container's `lo`, up.

use ipnetwork::IpNetwork;
use netup::addr::HostAddr;
use netup::{ErrorKind, Loopback as State};

use crate::cni::Call;
use crate::cni::failure::Failure;
use crate::cni::result::{Interface, Ip, Made};
use crate::cni::types::Type;

/// The type. `CNI_IFNAME` and the configuration's own keys mean nothing to it.
pub struct Loopback;

impl Type for Loopback {
    fn add(&self, call: &Call) -> Result<Made, Failure> {
        let state = netup::set_loopback(&call.target()?, true)?;
        Ok(call.conf.prev_result.clone().unwrap_or_else(|| made(&state, &call.env.netns)))
    }

    fn del(&self, call: &Call) -> Result<(), Failure> {
        if let Some(target) = call.living_target()? {
            netup::set_loopback(&target, false)?;
        }
        Ok(())
    }

    fn check(&self, call: &Call) -> Result<(), Failure> {
        match netup::loopback(&call.target()?)?.up {
            true => Ok(()),
            false => Err(netup::Error::new(ErrorKind::Drifted, "lo is down")
                .hint("ip link set lo up")
                .into()),
        }
    }
}

/// The addresses that the kernel has given it, which is none of IPv6 where that is switched off.
fn made(state: &State, netns: &str) -> Made {
    let interface = Interface {
        name: "lo".to_owned(),
        mac: "00:00:00:00:00:00".to_owned(),
        sandbox: netns.to_owned(),
        ..Interface::default()
    };
    let ip = |address: IpNetwork| Ip { interface: Some(0), address, gateway: None };
    let ips = state.addresses.iter().filter_map(network).map(ip).collect();
    Made { interfaces: vec![interface], ips, ..Made::default() }
}

fn network(address: &HostAddr) -> Option<IpNetwork> {
    IpNetwork::new(address.ip(), address.prefix().length()).ok()
}
