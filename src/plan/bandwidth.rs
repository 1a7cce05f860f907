//! Limits on the traffic. What the container receives waits on the host's end of the pair. What it
//! sends is on its way already when it arrives there, so it is led through the queue of a block of
//! its own. Both are on the host's side, where the container cannot change them.

use crate::addr::Family;
use crate::bandwidth::{Bandwidth, Rate};
use crate::ident::{AttachmentId, IfName};
use crate::plan::step::{Label, Planned, Side, Step, UndoScope};
use crate::plan::{link_sysctl, with_link, write};

/// Whose traffic is limited, and what it goes by.
pub struct Limited<'a> {
    /// The interface.
    pub id: &'a AttachmentId,
    /// The host's end of the pair.
    pub host: &'a IfName,
    /// The pair's MTU in bytes.
    pub mtu: Option<u32>,
    /// Whether the host's kernel speaks IPv6 at all.
    pub ipv6: bool,
}

/// The steps, after the host's end is up.
pub fn steps(limited: &Limited<'_>, bandwidth: Bandwidth) -> Vec<Planned> {
    let shape = |rate| with_link(Step::Shape { name: limited.host.clone(), rate });
    let mut steps: Vec<Planned> = bandwidth.ingress.map(shape).into_iter().collect();
    if let Some(rate) = bandwidth.egress {
        steps.extend(egress(limited, rate));
    }
    steps
}

fn egress(limited: &Limited<'_>, rate: Rate) -> Vec<Planned> {
    let (name, alias) = (limited.id.ifb_ifname(), limited.id.ifb_alias());
    let mac = limited.id.ifb_mac();
    let label = Label { name: name.clone(), alias: alias.clone(), mac };
    let mut steps = vec![Planned {
        step: Step::AddIfb { name: name.clone(), mac, mtu: limited.mtu },
        undo: vec![Step::DeleteLink(label)],
        scope: UndoScope::Attachment,
    }];
    if limited.ipv6 {
        // Nobody talks to it.
        let off = link_sysctl(Family::V6, &name, "disable_ipv6", "1");
        steps.push(with_link(write(Side::Host, off)));
    }
    let up = Step::SetUp { side: Side::Host, name: name.clone(), alias: Some(alias) };
    let from = limited.host.clone();
    let rest = [up, Step::Shape { name: name.clone(), rate }, Step::Redirect { from, to: name }];
    steps.extend(rest.map(with_link));
    steps
}
