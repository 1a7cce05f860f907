//! To each version's JSON.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{Dns, Interface, Ip, Made, Route};
use crate::cni::failure::Failure;
use crate::cni::version::Version;

type Object = Map<String, Value>;

impl Made {
    /// The document in this version.
    ///
    /// # Errors
    /// The first versions can tell of addresses only, so there must be one.
    pub fn to_document(&self, version: Version) -> Result<Value, Failure> {
        let mut document = Object::new();
        document.insert("cniVersion".to_owned(), version.as_str().into());
        match version {
            Version::V0_1_0 | Version::V0_2_0 => self.early(version, &mut document)?,
            _ => self.current(version, &mut document),
        }
        if version < Version::V1_0_0 || !self.dns.is_empty() {
            document.insert("dns".to_owned(), dns(&self.dns));
        }
        Ok(Value::Object(document))
    }

    fn early(&self, version: Version, document: &mut Object) -> Result<(), Failure> {
        if self.ips.is_empty() {
            let why = format!("a result without addresses cannot be told in version {version}");
            return Err(Failure::new(Failure::INCOMPATIBLE_VERSION, why)
                .details("write cniVersion 0.3.0 or later into the configuration"));
        }
        for (key, of_family) in
            [("ip4", IpAddr::is_ipv4 as fn(&IpAddr) -> bool), ("ip6", IpAddr::is_ipv6)]
        {
            let first = self.ips.iter().find(|ip| of_family(&ip.address.ip()));
            let routes = self.routes.iter().filter(|route| of_family(&route.dst.ip()));
            if let Some(ip) = first {
                document.insert(key.to_owned(), early_ip(ip, routes.map(early_route).collect()));
            }
        }
        Ok(())
    }

    fn current(&self, version: Version, document: &mut Object) {
        let interfaces = self.interfaces.iter().map(|one| interface(one, version));
        let ips = self.ips.iter().map(|one| ip(one, version));
        list(document, "interfaces", interfaces.collect());
        list(document, "ips", ips.collect());
        list(document, "routes", self.routes.iter().map(route).collect());
    }
}

fn early_ip(ip: &Ip, routes: Vec<Value>) -> Value {
    let mut object = Object::new();
    object.insert("ip".to_owned(), ip.address.to_string().into());
    text(&mut object, "gateway", ip.gateway);
    list(&mut object, "routes", routes);
    Value::Object(object)
}

fn early_route(route: &Route) -> Value {
    let mut object = Object::new();
    object.insert("dst".to_owned(), route.dst.to_string().into());
    text(&mut object, "gw", route.gw);
    Value::Object(object)
}

fn interface(of: &Interface, version: Version) -> Value {
    let mut object = Object::new();
    object.insert("name".to_owned(), of.name.clone().into());
    text(&mut object, "mac", Some(&of.mac).filter(|mac| !mac.is_empty()));
    if version >= Version::V1_0_0 {
        number(&mut object, "mtu", of.mtu.filter(|mtu| *mtu > 0));
    }
    text(&mut object, "sandbox", Some(&of.sandbox).filter(|sandbox| !sandbox.is_empty()));
    if version >= Version::V1_0_0 {
        object.extend(of.rest.clone());
    }
    Value::Object(object)
}

fn ip(of: &Ip, version: Version) -> Value {
    let mut object = Object::new();
    if version < Version::V1_0_0 {
        let family = if of.address.is_ipv4() { "4" } else { "6" };
        object.insert("version".to_owned(), family.into());
    }
    if let Some(index) = of.interface {
        object.insert("interface".to_owned(), index.into());
    }
    object.insert("address".to_owned(), of.address.to_string().into());
    text(&mut object, "gateway", of.gateway);
    Value::Object(object)
}

/// The reference plugins tell and read the later members of a route in every version from 0.3.0 on,
/// so that a chain of ours and theirs loses none. Zero is what they say of one that is not set.
fn route(of: &Route) -> Value {
    let mut object = Object::new();
    object.insert("dst".to_owned(), of.dst.to_string().into());
    text(&mut object, "gw", of.gw);
    number(&mut object, "mtu", of.mtu.filter(|mtu| *mtu > 0));
    number(&mut object, "advmss", of.advmss.filter(|advmss| *advmss > 0));
    number(&mut object, "priority", of.priority.filter(|priority| *priority > 0));
    // The kernel's table 0 and scope 0 mean something.
    number(&mut object, "table", of.table);
    number(&mut object, "scope", of.scope.map(u32::from));
    Value::Object(object)
}

fn dns(of: &Dns) -> Value {
    let mut object = Object::new();
    let texts = |texts: &[String]| texts.iter().cloned().map(Value::from).collect();
    list(&mut object, "nameservers", texts(&of.nameservers));
    text(&mut object, "domain", Some(&of.domain).filter(|domain| !domain.is_empty()));
    list(&mut object, "search", texts(&of.search));
    list(&mut object, "options", texts(&of.options));
    Value::Object(object)
}

fn list(object: &mut Object, key: &str, items: Vec<Value>) {
    if !items.is_empty() {
        object.insert(key.to_owned(), Value::Array(items));
    }
}

fn text(object: &mut Object, key: &str, value: Option<impl ToString>) {
    if let Some(value) = value {
        object.insert(key.to_owned(), json!(value.to_string()));
    }
}

fn number(object: &mut Object, key: &str, value: Option<u32>) {
    if let Some(value) = value {
        object.insert(key.to_owned(), value.into());
    }
}
