//! From each version's JSON.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::{Dns, Interface, Ip, Made, Route};
use crate::cni::any_case::{decode, decode_object, member};
use crate::cni::failure::Failure;
use crate::cni::ip;
use crate::cni::version::Version;

impl Made {
    /// Reads a `prevResult`, which is written in the configuration's version. One that says that it
    /// is of another version is refused.
    pub fn from_prev_result(value: &Value, version: Version) -> Result<Self, Failure> {
        let own = own_version(value)?.unwrap_or(version);
        if own != version {
            let why = format!("prevResult has version {own}, the configuration has {version}");
            return Err(Failure::config(why));
        }
        Self::read(value, version)
            .map_err(|e| Failure::new(Failure::DECODE, format!("prevResult: {e}")))
    }

    /// Reads what a delegate has answered. Without a version of its own it is taken to be of the
    /// configuration's; an answer of nothing, or `null`, is a result without anything.
    pub fn from_delegate(answer: &[u8], version: Version) -> Result<Self, Failure> {
        if answer.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let bad = |e: String| Failure::new(Failure::DECODE, format!("the delegate's result: {e}"));
        match serde_json::from_slice(answer).map_err(|e| bad(e.to_string()))? {
            Value::Null => Ok(Self::default()),
            value => Self::read(&value, own_version(&value)?.unwrap_or(version)).map_err(bad),
        }
    }

    fn read(value: &Value, version: Version) -> Result<Self, String> {
        match version {
            Version::V0_1_0 | Version::V0_2_0 => decode(value).map(Early::into_made),
            _ => decode(value).map(Current::into_made),
        }
    }
}

/// The version that a result says it is of.
fn own_version(value: &Value) -> Result<Option<Version>, Failure> {
    let said = value.as_object().and_then(|object| member(object, "cniVersion"));
    match said {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Version::parse(text).map(Some).ok_or_else(|| {
            Failure::config(format!("a result has version {text:?}, which is unknown"))
        }),
        Some(_) => Err(Failure::new(Failure::DECODE, "a result's cniVersion is no text")),
    }
}

/// Versions 0.1.0 and 0.2.0.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Early {
    ip4: Option<EarlyIp>,
    ip6: Option<EarlyIp>,
    dns: Dns,
}

#[derive(Deserialize)]
struct EarlyIp {
    #[serde(deserialize_with = "ip::cidr")]
    ip: IpNetwork,
    #[serde(default, deserialize_with = "ip::address_or_none")]
    gateway: Option<IpAddr>,
    #[serde(default)]
    routes: Vec<Route>,
}

impl Early {
    fn into_made(self) -> Made {
        let mut made = Made { dns: self.dns, ..Made::default() };
        for EarlyIp { ip, gateway, routes } in [self.ip4, self.ip6].into_iter().flatten() {
            made.ips.push(Ip { interface: None, address: ip, gateway });
            made.routes.extend(routes);
        }
        made
    }
}

/// From version 0.3.0 on. What one of them lacks is optional in the others.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Current {
    interfaces: Vec<Interface>,
    ips: Vec<CurrentIp>,
    routes: Vec<Route>,
    dns: Dns,
}

#[derive(Deserialize)]
struct CurrentIp {
    #[serde(default)]
    interface: Option<i64>,
    #[serde(deserialize_with = "ip::cidr")]
    address: IpNetwork,
    #[serde(default, deserialize_with = "ip::address_or_none")]
    gateway: Option<IpAddr>,
}

impl Current {
    fn into_made(self) -> Made {
        let ip = |ip: CurrentIp| Ip {
            // Old plugins say -1 where there is none.
            interface: ip.interface.and_then(|index| usize::try_from(index).ok()),
            address: ip.address,
            gateway: ip.gateway,
        };
        Made {
            interfaces: self.interfaces,
            ips: self.ips.into_iter().map(ip).collect(),
            routes: self.routes,
            dns: self.dns,
        }
    }
}

/// The members of an interface that have a meaning here. All others are passed on.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Known {
    name: String,
    mac: String,
    mtu: Option<u32>,
    sandbox: String,
}

const KNOWN: [&str; 4] = ["name", "mac", "mtu", "sandbox"];

impl<'de> Deserialize<'de> for Interface {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut rest = Map::deserialize(from)?;
        let Known { name, mac, mtu, sandbox } = decode_object(&rest).map_err(D::Error::custom)?;
        rest.retain(|key, _| !KNOWN.iter().any(|known| known.eq_ignore_ascii_case(key)));
        Ok(Self { name, mac, mtu, sandbox, rest })
    }
}
