//! Type `tuning`: kernel parameters of the container's namespace, and attributes of its interface.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use netup::plan::LinkAttributes;
use netup::reference::{self, TuningBackup};
use netup::request::Sysctl;
use netup::{Part, PartKind, Tuning as Settings};
use regex_lite::Regex;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use crate::cni::failure::Failure;
use crate::cni::result::Made;
use crate::cni::types::{Type, chained};
use crate::cni::{Call, args};

/// Parameters that may be set, one pattern per line; without the file all may.
const ALLOWLIST: &str = "/etc/cni/tuning/allowlist.conf";

/// The type.
#[derive(Debug)]
pub struct Tuning;

/// The type's keys.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Keys {
    sysctl: BTreeMap<String, String>,
    mac: String,
    mtu: u32,
    promisc: bool,
    allmulti: Option<bool>,
    #[serde(rename = "txQLen")]
    tx_q_len: Option<u32>,
    data_dir: String,
    runtime_config: Mac,
    args: Args,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Mac {
    mac: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Args {
    cni: CniArgs,
}

/// What a caller asks for beside the configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CniArgs {
    sysctl: BTreeMap<String, String>,
    mac: String,
    mtu: Option<u32>,
    promisc: Option<bool>,
    allmulti: Option<bool>,
    #[serde(rename = "txQLen")]
    tx_q_len: Option<u32>,
}

impl Type for Tuning {
    fn add(&self, call: &Call) -> Result<Made, Failure> {
        let settings = settings(call)?;
        let mut made = chained::required(call)?.clone();
        let mac = settings.attributes.mac;
        if settings != Settings::default() {
            chained::extend(call, Part::Tune(settings))?;
        }
        if let Some(mac) = mac {
            let own = made.interfaces.iter_mut().filter(|interface| {
                !interface.sandbox.is_empty() && interface.name == call.env.ifname
            });
            own.for_each(|interface| interface.mac = mac.to_string());
        }
        Ok(made)
    }

    fn del(&self, call: &Call) -> Result<(), Failure> {
        if !chained::retract(call, PartKind::Tune)? {
            restore_backup(call)?;
        }
        Ok(())
    }

    fn check(&self, call: &Call) -> Result<(), Failure> {
        let wanted = settings(call)? != Settings::default();
        chained::required(call)?;
        chained::check(call, PartKind::Tune, wanted)
    }

    fn gc(&self, call: &Call) -> Result<(), Failure> {
        chained::gc(call, PartKind::Tune)
    }
}

/// What a reference plugin has set is put back by what it noted.
fn restore_backup(call: &Call) -> Result<(), Failure> {
    let id = call.id()?;
    // A broken configuration must not keep a container from being taken down.
    let keys: Keys = call.conf.decode().unwrap_or_default();
    let folder = if keys.data_dir.is_empty() { reference::TUNING_FOLDER } else { &keys.data_dir };
    let (container, ifname) = (id.container.as_str(), id.ifname.as_str());
    let former = reference::tuning_backup(Path::new(folder), container, ifname)?;
    if let (Some(former), Some(target)) = (former, call.living_target()?) {
        netup::set_attributes(&target, &id.ifname, &attributes(&former))?;
    }
    Ok(())
}

fn attributes(former: &TuningBackup) -> LinkAttributes {
    LinkAttributes {
        // One that makes no sense cannot be put back, and will not the next time.
        mac: former.mac.as_deref().and_then(|mac| mac.parse().ok()),
        mtu: former.mtu,
        promiscuous: former.promisc,
        all_multicast: former.allmulti,
        tx_queue_length: former.tx_queue_length,
    }
}

fn settings(call: &Call) -> Result<Settings, Failure> {
    refuse_duplicates(call)?;
    let keys: Keys = call.conf.decode()?;
    let asked = &keys.args.cni;
    let mut sysctls = keys.sysctl.clone();
    sysctls.extend(asked.sysctl.clone());
    let of_args = args::parse(&call.env.args, &["MAC"])?.remove("MAC").unwrap_or_default();
    let sources = [&asked.mac, &keys.runtime_config.mac, &of_args, &keys.mac];
    let mac = sources.into_iter().find(|mac| !mac.is_empty());
    let promiscuous = asked.promisc.unwrap_or(keys.promisc);
    Ok(Settings {
        sysctls: checked(&sysctls, &call.env.ifname)?,
        attributes: LinkAttributes {
            mac: mac.map(|mac| mac.parse()).transpose()?,
            mtu: asked.mtu.or((keys.mtu > 0).then_some(keys.mtu)).filter(|mtu| *mtu > 0),
            promiscuous: promiscuous.then_some(true),
            all_multicast: asked.allmulti.or(keys.allmulti),
            tx_queue_length: asked.tx_q_len.or(keys.tx_q_len),
        },
    })
}

/// The parameters under their own names, if all of them may be set.
fn checked(sysctls: &BTreeMap<String, String>, ifname: &str) -> Result<Vec<Sysctl>, Failure> {
    let allowed = if sysctls.is_empty() { None } else { allowlist()? };
    let mut found = Vec::new();
    for (key, value) in sysctls {
        if let Some(allowed) = &allowed
            && !allowed.iter().any(|pattern| pattern.is_match(key))
        {
            return Err(Failure::config(format!("sysctl {key} is not allowed"))
                .details(format!("add a pattern for it to {ALLOWLIST}")));
        }
        found.push(format!("{}={value}", named(key, ifname)).parse()?);
    }
    Ok(found)
}

/// With slashes, since an interface's name may hold dots.
fn named(key: &str, ifname: &str) -> String {
    let slashed = if key.contains('/') { key.to_owned() } else { key.replace('.', "/") };
    slashed.replacen("IFNAME", ifname, 1)
}

fn allowlist() -> Result<Option<Vec<Regex>>, Failure> {
    let text = match fs::read_to_string(ALLOWLIST) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Failure::new(Failure::IO, format!("read {ALLOWLIST}: {e}"))),
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let pattern = |line: &str| {
        Regex::new(line).map_err(|e| Failure::config(format!("{ALLOWLIST}: pattern {line:?}: {e}")))
    };
    lines.map(pattern).collect::<Result<_, _>>().map(Some)
}

/// A parameter that is named twice is a mistake, and JSON readers keep silent about it.
fn refuse_duplicates(call: &Call) -> Result<(), Failure> {
    let Ok(document) = serde_json::from_slice::<Sysctls>(&call.conf.text) else {
        // What is wrong with it, decoding the keys tells.
        return Ok(());
    };
    let Sysctls(Names(mut names)) = document;
    names.sort_unstable();
    match names.windows(2).find(|pair| pair.first() == pair.last()) {
        Some([name, ..]) => Err(Failure::config(format!("sysctl {name} is given twice"))),
        _ => Ok(()),
    }
}

/// The keys of the member `sysctl`, whatever its case.
#[derive(Debug, Default)]
struct Sysctls(Names);

impl<'de> Deserialize<'de> for Sysctls {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Document;
        impl<'de> Visitor<'de> for Document {
            type Value = Sysctls;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sysctls, A::Error> {
                let mut found = Names::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.eq_ignore_ascii_case("sysctl") {
                        true => found = map.next_value()?,
                        false => drop(map.next_value::<serde::de::IgnoredAny>()?),
                    }
                }
                Ok(Sysctls(found))
            }
        }
        deserializer.deserialize_map(Document)
    }
}

/// The keys of an object, duplicates included.
#[derive(Debug, Default)]
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Names;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, serde::de::IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_of_the_interface_is_named_by_it() {
        assert_eq!(
            named("net.ipv4.conf.IFNAME.arp_notify", "eth0"),
            "net/ipv4/conf/eth0/arp_notify"
        );
        assert_eq!(named("net.ipv4.conf.IFNAME.rp_filter", "e.1"), "net/ipv4/conf/e.1/rp_filter");
        assert_eq!(named("net/core/somaxconn", "eth0"), "net/core/somaxconn");
    }

    #[test]
    fn what_is_outside_of_net_is_refused() {
        let sysctls = |key: &str| BTreeMap::from([(key.to_owned(), "1".to_owned())]);
        assert!(checked(&sysctls("net.ipv4.ip_forward"), "eth0").is_ok());
        for key in ["kernel.panic", "net/../kernel/panic", "../etc/passwd", "net.ipv4.IFNAME"] {
            assert!(checked(&sysctls(key), "..").is_err(), "{key}");
        }
    }
}
