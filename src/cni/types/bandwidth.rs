//! Type `bandwidth`: limits on what a container receives and sends.

use netup::{Limit, Part, PartKind, reference};
use serde::Deserialize;

use crate::cni::Call;
use crate::cni::capabilities::{BandwidthKeys, RuntimeConfig};
use crate::cni::failure::Failure;
use crate::cni::result::{Interface, Made};
use crate::cni::types::{Type, chained};

/// The type.
#[derive(Debug)]
pub struct Bandwidth;

/// The type's keys: limits of the configuration itself, and of the runtime.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Keys {
    ingress_rate: u64,
    ingress_burst: u64,
    egress_rate: u64,
    egress_burst: u64,
    runtime_config: RuntimeConfig,
}

impl Type for Bandwidth {
    fn add(&self, call: &Call) -> Result<Made, Failure> {
        let keys = limits(call)?;
        let made = chained::required(call)?;
        let bandwidth = keys.bandwidth()?;
        if bandwidth.is_unlimited() {
            return Ok(made.clone());
        }
        let Some(host_ifname) = chained::host_end(call, made)? else {
            return Err(Failure::config(format!(
                "{} has no veth end on the host whose traffic could be limited",
                call.env.ifname
            )));
        };
        chained::extend(call, Part::Limit(Limit { host_ifname, bandwidth }))?;
        let mut made = made.clone();
        if bandwidth.egress.is_some() {
            made.interfaces.push(intermediate(call)?);
        }
        Ok(made)
    }

    fn del(&self, call: &Call) -> Result<(), Failure> {
        if !chained::retract(call, PartKind::Limit)? {
            let id = call.id()?;
            reference::remove_limits(&call.conf.name, id.container.as_str())?;
        }
        Ok(())
    }

    fn check(&self, call: &Call) -> Result<(), Failure> {
        let wanted = !limits(call)?.bandwidth()?.is_unlimited();
        chained::required(call)?;
        chained::check(call, PartKind::Limit, wanted)
    }

    fn gc(&self, call: &Call) -> Result<(), Failure> {
        chained::gc(call, PartKind::Limit)
    }
}

/// The configuration's own limits win over the runtime's.
fn limits(call: &Call) -> Result<BandwidthKeys, Failure> {
    let keys: Keys = call.conf.decode()?;
    let own = BandwidthKeys {
        ingress_rate: keys.ingress_rate,
        ingress_burst: keys.ingress_burst,
        egress_rate: keys.egress_rate,
        egress_burst: keys.egress_burst,
    };
    Ok(match own.is_empty() {
        true => keys.runtime_config.bandwidth.unwrap_or_default(),
        false => own,
    })
}

/// The link by way of which the container's own traffic is limited.
fn intermediate(call: &Call) -> Result<Interface, Failure> {
    let id = call.id()?;
    let (name, mac) = (id.ifb_ifname().to_string(), id.ifb_mac().to_string());
    Ok(Interface { name, mac, ..Interface::default() })
}
