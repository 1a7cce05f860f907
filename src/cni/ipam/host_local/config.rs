//! What the configuration says to `host-local`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use serde::Deserialize;

use crate::cni::Call;
use crate::cni::args;
use crate::cni::conf::decode;
use crate::cni::failure::Failure;
use crate::cni::ip;
use crate::cni::ipam::host_local::range::{self, RangeConf, RangeSet};
use crate::cni::ipam::{asked, per_family, routes};
use crate::cni::result::Route;

/// Where leases are kept if the configuration does not say.
const DATA_DIR: &str = "/var/lib/cni/networks";

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ipam {
    ranges: Vec<Vec<RangeConf>>,
    routes: Vec<Route>,
    resolv_conf: String,
    // The older form: one range, written into the object itself.
    #[serde(deserialize_with = "range::subnet")]
    subnet: Option<IpNetwork>,
    #[serde(deserialize_with = "ip::address_or_none")]
    range_start: Option<IpAddr>,
    #[serde(deserialize_with = "ip::address_or_none")]
    range_end: Option<IpAddr>,
    #[serde(deserialize_with = "ip::address_or_none")]
    gateway: Option<IpAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Runtime {
    ip_ranges: Vec<Vec<RangeConf>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Place {
    data_dir: String,
}

/// The configuration, validated.
#[derive(Debug)]
pub struct Config {
    /// From each set the attachment gets one address.
    pub sets: Vec<RangeSet>,
    /// Routes for the result.
    pub routes: Vec<Route>,
    /// The file that the result's DNS settings are read from.
    pub resolv_conf: Option<PathBuf>,
}

impl Config {
    /// Reads what ADD, CHECK and STATUS need.
    pub fn of(call: &Call) -> Result<Self, Failure> {
        let ipam = call.conf.get("ipam");
        let ipam = ipam.ok_or_else(|| Failure::config("IPAM config missing 'ipam' key"))?;
        let ipam: Ipam = decode(ipam.clone())?;
        let runtime: Runtime = call.conf.runtime_config()?;
        let sets = sets(&runtime, &ipam)?;
        per_family::validate(call.conf.version, sets.iter().map(RangeSet::is_ipv4))?;
        Ok(Self {
            sets,
            routes: routes::without_zeros(ipam.routes),
            resolv_conf: Some(ipam.resolv_conf).filter(|path| !path.is_empty()).map(PathBuf::from),
        })
    }
}

/// The runtime's ranges come first, then the older form's. The order counts: it is that of the
/// result, and a set's number is in the name of the file that remembers its last address.
fn sets(runtime: &Runtime, ipam: &Ipam) -> Result<Vec<RangeSet>, Failure> {
    let older = ipam.subnet.map(|subnet| {
        vec![RangeConf {
            subnet: Some(subnet),
            range_start: ipam.range_start,
            range_end: ipam.range_end,
            gateway: ipam.gateway,
        }]
    });
    let all = runtime.ip_ranges.iter().chain(&older).chain(&ipam.ranges);
    let numbered = |(n, confs): (usize, &Vec<RangeConf>)| {
        RangeSet::new(confs).map_err(|e| Failure::config(format!("invalid range set {n}: {e}")))
    };
    let sets = all.enumerate().map(numbered).collect::<Result<Vec<_>, _>>()?;
    match sets.is_empty() {
        true => Err(Failure::config("no IP ranges specified")),
        false => apart(&sets).map(|()| sets),
    }
}

fn apart(sets: &[RangeSet]) -> Result<(), Failure> {
    for (n, a) in sets.iter().enumerate() {
        if let Some((m, _)) = sets.iter().enumerate().skip(n + 1).find(|(_, b)| a.overlaps(b)) {
            return Err(Failure::config(format!("range set {n} overlaps with {m}")));
        }
    }
    Ok(())
}

/// The folder of the network's leases. Nothing else in the configuration matters to it, so that
/// what was taken can be given back whatever became of the ranges.
pub fn folder(call: &Call) -> Result<PathBuf, Failure> {
    let place: Place = call.conf.get("ipam").cloned().map(decode).transpose()?.unwrap_or_default();
    let data_dir = if place.data_dir.is_empty() { DATA_DIR } else { &place.data_dir };
    Ok(Path::new(data_dir).join(&call.conf.name))
}

/// The addresses that the attachment shall get, by whoever asks: a prefix length means nothing.
pub fn requested(call: &Call) -> Result<Vec<IpAddr>, Failure> {
    let by_args = args::parse(&call.env.args, &["IP"])?.remove("IP");
    let all = by_args.into_iter().filter(|text| !text.is_empty());
    let all = all.chain(asked::by_operator(call)?).chain(asked::by_runtime(call)?);
    let mut requested = Vec::new();
    for text in all {
        let ip = ip_of(&text);
        let ip = ip.ok_or_else(|| Failure::config(format!("invalid IP address {text}")))?;
        if !requested.contains(&ip) {
            requested.push(ip);
        }
    }
    Ok(requested)
}

fn ip_of(text: &str) -> Option<IpAddr> {
    match text.contains('/') {
        true => ip::parse_cidr(text).map(|cidr| cidr.ip()),
        false => ip::parse(text),
    }
}
