//! Making an attachment: reserve → observe → plan → apply (undo armed) → verify.

use crate::addr::HostAddr;
use crate::apply::journal::Journal;
use crate::apply::{Container, Executor};
use crate::attach::{Progress, Watch};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::kernel::rtnl::Rtnl;
use crate::observe::observe;
use crate::outcome::Attachment;
use crate::plan::{self, Plan, Shared, Side, Step, Wanted};
use crate::request::{Request, Topology};
use crate::reserve::{self, reserve};
use crate::shared_bridge::SharedBridge;
use crate::state::{Phase, Record};

/// Makes the attachment, whole or not at all. `kept` are addresses that a lease takes again. The
/// attachment's lock must be held.
pub fn establish(
    host: &Host,
    request: &Request,
    kept: &[HostAddr],
    watch: Watch<'_>,
) -> Result<Attachment> {
    let reservation = reserve(host, &request.id, &request.network, kept)?;
    let container = Container::open(&request.target)?;
    let prepared = prepare(host, &container.rtnl, request, reservation.addresses());
    let (bridge, plan) = match prepared {
        // A port may only seem to be taken: what it leads to has ended.
        Err(e) if e.kind() == ErrorKind::PortInUse => {
            let ports = plan::published(&request.network.publish, reservation.addresses());
            match reserve::clear_dead_ports(host, &ports)? {
                true => prepare(host, &container.rtnl, request, reservation.addresses())?,
                false => return Err(e),
            }
        }
        prepared => prepared?,
    };
    let mut executor = Executor::new(host, Some(container), request.target.name());
    let mut journal = Journal::default();
    match carry_out(&mut executor, request, &plan, bridge.as_ref(), &mut journal, watch) {
        Ok(()) => {
            reservation.commit();
            Ok(plan.attachment)
        }
        Err(cause) => Err(roll_back(executor, journal, &plan, bridge.as_ref(), cause)),
    }
}

/// The plan, with nothing reserved, as if `former` were gone already.
pub fn preview(host: &Host, request: &Request, former: Option<&Record>) -> Result<Plan> {
    let addresses = reserve::preview(host, &request.id, &request.network)?;
    let container = Container::open(&request.target)?;
    let wanted = wanted(request, &addresses);
    let observed = observe(host, &container.rtnl, &request.target, &wanted)?;
    let observed = match former {
        Some(former) => observed.without(&former.attachment),
        None => observed,
    };
    plan::plan(&wanted, &observed)
}

/// Locks the bridge, if there is to be one, and plans. The addresses must be reserved before: to
/// clear a dead owner away may take the same lock.
fn prepare<'a>(
    host: &'a Host,
    container: &Rtnl,
    request: &Request,
    addresses: &[HostAddr],
) -> Result<(Option<SharedBridge<'a>>, Plan)> {
    let bridge = match &request.network.topology {
        Topology::Routed => None,
        Topology::Bridge(name) => Some(SharedBridge::lock(host, name)?),
    };
    let wanted = wanted(request, addresses);
    let observed = observe(host, container, &request.target, &wanted)?;
    Ok((bridge, plan::plan(&wanted, &observed)?))
}

fn wanted<'a>(request: &'a Request, addresses: &'a [HostAddr]) -> Wanted<'a> {
    Wanted {
        id: &request.id,
        target: request.target.name(),
        netns_cookie: request.target.cookie(),
        network: &request.network,
        addresses,
    }
}

/// Writes the intent, applies the plan, verifies it and completes the record. On failure the
/// journal holds what is to be taken back.
fn carry_out(
    executor: &mut Executor<'_>,
    request: &Request,
    plan: &Plan,
    bridge: Option<&SharedBridge<'_>>,
    journal: &mut Journal,
    watch: Watch<'_>,
) -> Result<()> {
    let mut record = intent(request, plan);
    executor.host.state.save(&record)?;
    bridge.map_or(Ok(()), |bridge| bridge.join(&plan.attachment.id, &plan.bridge))?;
    let Attachment { id, target, .. } = &plan.attachment;
    for planned in plan.all() {
        match bridge {
            Some(bridge) => journal.arm(&bridge.sparing(planned)),
            None => journal.arm(planned),
        }
        executor.apply(&planned.step).map_err(|e| e.context(format!("attach {id}")))?;
        watch(&Progress { step: &planned.step, target })?;
    }
    verify(executor, plan)?;
    record.phase = Phase::Complete;
    executor.host.state.save(&record)
}

fn intent(request: &Request, plan: &Plan) -> Record {
    let steps = plan.steps.iter().map(|planned| planned.step.clone()).collect();
    Record::intent(request.network.clone(), plan.attachment.clone(), steps, plan.undo())
        .of_network(request.network_name.clone())
}

/// Asks for what an acknowledgement does not say: that both ends are there, paired and up, and that
/// the host's packets take the way that was made. All else the kernel has acknowledged a moment ago;
/// `check` asks for everything.
fn verify(executor: &Executor<'_>, plan: &Plan) -> Result<()> {
    let telling = |step: &&Step| match step {
        Step::AddVeth(_) | Step::SetUp { .. } | Step::Reflect { .. } | Step::Isolate { .. } => true,
        Step::AddRoute(route) => route.side == Side::Host,
        _ => false,
    };
    let steps = plan.all().map(|planned| &planned.step).filter(telling);
    let drift = executor.drift(steps)?;
    let Some(step) = drift.first() else {
        return Ok(());
    };
    let lines = plan::lines(step, &plan.attachment.target).join("; ");
    Err(Error::new(
        ErrorKind::Drifted,
        format!("the kernel took this and does not show it: {lines}"),
    )
    .hint("something else changes the same links or tables; netup doctor may tell what"))
}

/// Takes everything back, the state last. The cause comes first in the error, then what the undo
/// could not do.
fn roll_back(
    mut executor: Executor<'_>,
    journal: Journal,
    plan: &Plan,
    bridge: Option<&SharedBridge<'_>>,
    cause: Error,
) -> Error {
    let host = executor.host;
    let mut failures = Vec::new();
    let relied_on = match journal.touches_shared() {
        true => host.relied_on(&plan.attachment.id),
        false => Ok(Vec::new()),
    };
    // If that cannot be told, everything shared stays.
    let relied_on = relied_on.unwrap_or_else(|e| {
        failures.push(e);
        Shared::ALL.to_vec()
    });
    failures.extend(journal.unwind(&mut executor, &relied_on));
    failures.extend(bridge.and_then(|bridge| bridge.leave(&plan.attachment.id).err()));
    if failures.is_empty() {
        failures.extend(host.state.forget(&plan.attachment.id).err());
    }
    cause.with_undo_failures(failures)
}
