//! The facts about one attachment, a label and its values each.

use netup::{Attachment, Bandwidth, Isolation, Topology};

use super::one_line;
use crate::reply::paint::{Ink, Paint};

/// A label and what stands beside it, one value per line.
pub type Fact = (&'static str, Vec<String>);

/// What someone who just connected a container wants to see.
pub fn brief(attachment: &Attachment) -> Vec<Fact> {
    vec![
        ("host link", vec![host_link(attachment)]),
        ("container", vec![format!("{}  {}", attachment.id.ifname, attachment.mac)]),
        ("addresses", texts(&attachment.addresses)),
        gateways(attachment),
        ("routes", texts(&attachment.routes)),
        ("nat", vec![nat(attachment).to_owned()]),
        ("published", texts(&attachment.publish)),
        ("mtu", attachment.mtu.iter().map(ToString::to_string).collect()),
        ("bandwidth", bandwidth(&attachment.bandwidth)),
        ("isolation", isolation(attachment.isolation)),
        ("sysctls", texts(&attachment.sysctls)),
    ]
}

/// Everything.
pub fn all(attachment: &Attachment) -> Vec<Fact> {
    let mut facts = vec![
        ("target", vec![attachment.target.to_string()]),
        ("netns", vec![format!("cookie {}", attachment.netns_cookie)]),
        ("host mac", vec![attachment.host_mac.to_string()]),
    ];
    facts.extend(brief(attachment));
    facts
}

fn host_link(attachment: &Attachment) -> String {
    match &attachment.topology {
        Topology::Routed => format!("{}  routed", attachment.host_ifname),
        Topology::Bridge(bridge) => format!("{}  on bridge {bridge}", attachment.host_ifname),
    }
}

fn gateways(attachment: &Attachment) -> Fact {
    let note = if attachment.default_route { "" } else { "  no default route" };
    let label = if attachment.gateways.len() == 1 { "gateway" } else { "gateways" };
    let link = attachment.gateway_ifname.as_ref().map(|link| format!("  on {link}"));
    let note = link.unwrap_or_default() + note;
    (label, attachment.gateways.iter().map(|gateway| format!("{gateway}{note}")).collect())
}

fn nat(attachment: &Attachment) -> &'static str {
    if attachment.nat { "on" } else { "off" }
}

fn bandwidth(bandwidth: &Bandwidth) -> Vec<String> {
    let limits = [("in", bandwidth.ingress), ("out", bandwidth.egress)];
    limits.into_iter().filter_map(|(way, rate)| Some(format!("{way} {}", rate?))).collect()
}

fn isolation(isolation: Isolation) -> Vec<String> {
    let said = (isolation != Isolation::Open).then(|| isolation.to_string());
    said.into_iter().collect()
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

/// The facts under each other; what has no value is left out.
pub fn aligned(facts: &[Fact], paint: Paint) -> String {
    let width = facts.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (label, values) in facts {
        for (i, value) in values.iter().enumerate() {
            let label = if i == 0 { label } else { "" };
            let label = paint.ink(Ink::Dim, &format!("{label:width$}"));
            text += &format!("  {label}  {}\n", one_line(value));
        }
    }
    text
}
