//! A bridge that several attachments, and what was added to interfaces, rely on: what netup did to
//! it is remembered once, and the last one out takes it back.

use std::fmt::Display;

use crate::apply::Executor;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::ident::IfName;
use crate::kernel::link::{self, Link};
use crate::plan::{self, Planned, Step};
use crate::ruleset::Element;
use crate::state::{BridgeRecord, Lock};

/// A bridge that somebody is about to rely on, locked, and its record as it was before.
pub struct SharedBridge<'a> {
    host: &'a Host,
    name: IfName,
    former: Option<BridgeRecord>,
    _lock: Lock,
}

impl<'a> SharedBridge<'a> {
    /// Keeps everybody else from the bridge.
    pub fn lock(host: &'a Host, name: &IfName) -> Result<Self> {
        let lock = host.state.lock_bridge(name)?;
        Ok(Self { host, name: name.clone(), former: host.state.bridge(name)?, _lock: lock })
    }

    /// Notes what will be done to the bridge, and for whom, before it is done.
    pub fn join(&self, member: &impl Display, steps: &[Planned]) -> Result<()> {
        let mut record = self.former.clone().unwrap_or_default();
        record.ours |= steps.iter().any(|planned| matches!(planned.step, Step::AddBridge { .. }));
        for planned in steps.iter().filter(|planned| !self.knows(&planned.step)) {
            record.steps.push(planned.step.clone());
        }
        // What was done last is taken back first.
        let spared: Vec<Planned> = steps.iter().map(|planned| self.sparing(planned)).collect();
        record.undo.splice(0..0, plan::bridge_undo(&spared));
        self.host.state.save_bridge(&self.name, Some(&record))?;
        self.host.state.join_bridge(&self.name, member)
    }

    /// The step without the undo of what was there for others before. It may have to be made again,
    /// as after somebody flushed the rules, and is still not this call's to take back.
    pub fn sparing(&self, planned: &Planned) -> Planned {
        let own = |step: &Step| match step {
            Step::DeleteElements(elements) => {
                let own = elements.iter().filter(|one| !self.holds(one)).cloned();
                Step::DeleteElements(own.collect())
            }
            step => step.clone(),
        };
        let empty =
            |step: &Step| matches!(step, Step::DeleteElements(elements) if elements.is_empty());
        let undo = planned.undo.iter().map(own).filter(|step| !empty(step)).collect();
        Planned { undo, ..planned.clone() }
    }

    fn knows(&self, step: &Step) -> bool {
        self.former.as_ref().is_some_and(|former| former.steps.contains(step))
    }

    fn holds(&self, element: &Element) -> bool {
        let mut steps = self.former.iter().flat_map(|former| &former.steps);
        steps.any(|step| matches!(step, Step::AddElements(known) if known.contains(element)))
    }

    /// As before.
    pub fn leave(&self, member: &impl Display) -> Result<()> {
        self.host.state.leave_bridge(&self.name, member)?;
        self.host.state.save_bridge(&self.name, self.former.as_ref())
    }
}

/// Takes a member off. The last one out takes back what netup did to the bridge; whatever fails is
/// reported.
pub fn leave(executor: &mut Executor<'_>, name: &IfName, member: &impl Display) -> Vec<Error> {
    let state = &executor.host.state;
    let left = || -> Result<_> {
        let lock = state.lock_bridge(name)?;
        let record = match state.leave_bridge(name, member)? {
            true => state.bridge(name)?,
            false => None,
        };
        Ok((lock, record))
    };
    let (_lock, record) = match left() {
        Ok((lock, Some(record))) => (lock, record),
        Ok((_, None)) => return Vec::new(),
        Err(e) => return vec![e],
    };
    match abandon(executor, name, record) {
        Ok(()) => Vec::new(),
        Err(e) => {
            // Somebody must finish it: the next one on this bridge, or its going.
            let rejoined = executor.host.state.join_bridge(name, member);
            std::iter::once(e).chain(rejoined.err()).collect()
        }
    }
}

/// Takes back what netup did to a bridge that no member relies on. If netup made it and containers of
/// others are still on it, what these need stays, and so does the memory of it. Its lock must be
/// held.
fn abandon(executor: &mut Executor<'_>, name: &IfName, mut record: BridgeRecord) -> Result<()> {
    let in_use = record.ours && has_ports(executor.host, name, &own_ports(&record.steps))?;
    let (kept, due): (Vec<Step>, Vec<Step>) =
        record.undo.drain(..).partition(|step| in_use && serves_everybody(step));
    let mut failures = due.iter().filter_map(|step| executor.undo(step).err());
    if let Some(first) = failures.next() {
        return Err(first.with_undo_failures(failures.collect()));
    }
    record.undo = kept;
    record.steps.retain(|step| !matches!(step, Step::AddElements(_)));
    let rest = (!record.undo.is_empty()).then_some(&record);
    executor.host.state.save_bridge(name, rest)
}

/// What others on the bridge rely on, who may not even know that netup made it.
fn serves_everybody(step: &Step) -> bool {
    !matches!(step, Step::DeleteElements(_))
}

/// The ports by which the host itself is on VLANs of the bridge.
fn own_ports(steps: &[Step]) -> Vec<&IfName> {
    let mut ports = Vec::new();
    for step in steps {
        if let Step::AddPair(pair) = step {
            ports.push(&pair.port);
        }
    }
    ports
}

fn has_ports(host: &Host, name: &IfName, but: &[&IfName]) -> Result<bool> {
    let Some(bridge) = link::by_name(&host.rtnl, name)? else { return Ok(false) };
    let other = |link: &Link| {
        link.master == Some(bridge.index) && !but.iter().any(|own| own.as_str() == link.name)
    };
    Ok(link::all(&host.rtnl)?.iter().any(other))
}

/// Finishes what was left because others were on a bridge, once they are gone.
pub fn collect(executor: &mut Executor<'_>) -> Result<()> {
    for name in executor.host.state.idle_bridges()? {
        let _lock = executor.host.state.lock_bridge(&name)?;
        if executor.host.state.bridge_has_members(&name)? {
            continue;
        }
        if let Some(record) = executor.host.state.bridge(&name)? {
            abandon(executor, &name, record)?;
        }
    }
    Ok(())
}
