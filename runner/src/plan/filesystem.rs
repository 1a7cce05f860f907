//! The steps that make what the container sees of files: root, `/proc`, `/dev`, `/sys`, volumes.

use std::path::{Component, Path};

use super::{Attributes, Bind, DEVICES, Fresh, Observed, Overlay, RootPlan, Step, Upper};
use crate::capabilities::{self, Capability};
use crate::error::{Error, Result};
use crate::request::{Net, Run, Volume, VolumeKind};

/// What tells about the host or reaches into it, though a namespace does not cover it.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// What may be read, and would change the host if it were written.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
const CGROUP: &str = "/sys/fs/cgroup";
/// Where nothing may be put: what is there has to be the kernel's own.
const RESERVED: [&str; 2] = ["/proc", "/sys"];

pub(super) fn steps(run: &Run, observed: &Observed, network: Vec<Step>) -> Result<Vec<Step>> {
    run.volumes.iter().try_for_each(refuse_reserved)?;
    let mut steps = vec![Step::PrivateMounts];
    let volumes: Vec<Bind> = run.volumes.iter().filter_map(bind).collect();
    let mut sources = volumes.clone();
    sources.extend(shared_sysfs(run));
    let makes_devices = makes_devices(run, observed)?;
    let devices = if makes_devices { Vec::new() } else { DEVICES.to_vec() };
    steps.push(Step::OpenSources { binds: sources, devices });
    steps.extend(root(&observed.root));
    steps.push(Step::Mount(Fresh::new("proc", "/proc", Attributes::DATA)));
    steps.extend(dev(observed, makes_devices));
    // A new sysfs shows the network namespace of who mounts it.
    steps.extend(network);
    steps.extend(sys(run, volumes.len()));
    steps.extend(self::volumes(run));
    steps.extend(observed.files.iter().cloned().map(Step::Put));
    if run.security.masks() {
        steps.extend(MASKED.iter().map(|path| Step::Mask(path.into())));
        steps.extend(READ_ONLY.iter().map(|path| Step::ReadOnlyPath(path.into())));
    }
    if run.read_only {
        steps.push(Step::ReadOnlyRoot);
    }
    steps.extend([Step::Pivot, Step::DetachOldRoot]);
    Ok(steps)
}

fn refuse_reserved(volume: &Volume) -> Result<()> {
    let at = &volume.at;
    let wrong = |why: &str| Err(Error::invalid(format!("mount at {}: {why}", at.display())));
    let plain = |part: Component| matches!(part, Component::RootDir | Component::Normal(_));
    if !at.is_absolute() || !at.components().all(plain) {
        return wrong("the place has to be absolute and without `..`");
    }
    if at == Path::new("/") || at == Path::new("/dev") {
        return wrong("this is the runner's to mount");
    }
    if RESERVED.iter().any(|reserved| at.starts_with(reserved)) {
        return wrong("what is seen below /proc and /sys has to be the kernel's own");
    }
    Ok(())
}

fn bind(volume: &Volume) -> Option<Bind> {
    let VolumeKind::Bind { source, read_only } = &volume.kind else { return None };
    let writing = if *read_only { Attributes::READ_ONLY } else { Attributes::NONE };
    let attributes = Attributes::NO_SUID.and(Attributes::NO_DEVICES).and(writing);
    Some(Bind { source: source.clone(), at: volume.at.clone(), attributes })
}

fn root(root: &RootPlan) -> Vec<Step> {
    let size = match root {
        RootPlan::Overlay(Overlay { upper: Upper::Memory { size }, .. }) => *size,
        // For the few files of the runner.
        RootPlan::Overlay(Overlay { upper: Upper::Disk { .. }, .. })
        | RootPlan::Directory { .. } => Some(1 << 20),
    };
    let takes_up = matches!(root, RootPlan::Directory { idmapped: false, .. });
    let idmapped = Some(root.idmapped()).filter(|paths| !paths.is_empty());
    let mut steps: Vec<Step> = idmapped.map(Step::TakeIdmapped).into_iter().collect();
    steps.push(Step::Scratch { over: root.base().to_owned(), size, takes_up });
    steps.push(Step::Root(root.clone()));
    steps
}

/// A container that can make nodes itself could open its own beside ours, the host's disks among
/// them: then no mount of it honours nodes, but for the host's six, one by one.
fn makes_devices(run: &Run, observed: &Observed) -> Result<bool> {
    let (changes, new_privileges) = (&run.security.capabilities, run.security.new_privileges);
    let root = capabilities::resolve(changes, true, new_privileges, observed.available)?;
    Ok(observed.makes_devices && !root.bounding.contains(Capability::MKNOD))
}

fn dev(observed: &Observed, makes_devices: bool) -> Vec<Step> {
    let no_suid_no_exec = Attributes::NO_SUID.and(Attributes::NO_EXECUTION);
    let attributes =
        if makes_devices { no_suid_no_exec } else { no_suid_no_exec.and(Attributes::NO_DEVICES) };
    let tmpfs = Fresh::new("tmpfs", "/dev", attributes);
    let tmpfs = tmpfs.with("mode", "755").with("size", "64k");
    let mut steps = vec![Step::Mount(tmpfs)];
    let device = if makes_devices { Step::MakeDevice } else { Step::BindDevice };
    steps.extend(DEVICES.map(device));
    steps.extend(links());
    steps.push(Step::Mount(pts(observed.groups.has_terminals)));
    let shm = Fresh::new("tmpfs", "/dev/shm", Attributes::DATA);
    steps.push(Step::Mount(shm.with("mode", "1777").with("size", "64m")));
    steps.push(Step::Mount(Fresh::new("mqueue", "/dev/mqueue", Attributes::DATA)));
    steps
}

fn links() -> [Step; 5] {
    let link = |at: &str, to: &str| Step::Link { at: at.into(), to: to.into() };
    [
        link("/dev/fd", "/proc/self/fd"),
        link("/dev/stdin", "/proc/self/fd/0"),
        link("/dev/stdout", "/proc/self/fd/1"),
        link("/dev/stderr", "/proc/self/fd/2"),
        link("/dev/ptmx", "pts/ptmx"),
    ]
}

fn pts(has_terminal_group: bool) -> Fresh {
    let attributes = Attributes::NO_SUID.and(Attributes::NO_EXECUTION);
    let pts = Fresh::new("devpts", "/dev/pts", attributes).with_flag("newinstance");
    let pts = pts.with("ptmxmode", "0666").with("mode", "0620");
    // A group that the namespace does not know is refused (EINVAL).
    if has_terminal_group { pts.with("gid", "5") } else { pts }
}

/// A sysfs belongs to a network namespace: one of the host's shows the host's.
fn shared_sysfs(run: &Run) -> Option<Bind> {
    let attributes = Attributes::DATA.and(Attributes::READ_ONLY);
    let shared = matches!(run.net, Net::Host | Net::Join(_));
    shared.then(|| Bind { source: "/sys".into(), at: "/sys".into(), attributes })
}

fn sys(run: &Run, number: usize) -> Vec<Step> {
    let attributes = Attributes::DATA.and(Attributes::READ_ONLY);
    let mut steps = match shared_sysfs(run) {
        // The host's hierarchies come with it. They are covered, not replaced: the kernel refuses
        // the same file system twice in one place.
        Some(bind) => vec![Step::Bind(number, bind), Step::Mask(CGROUP.into())],
        None => vec![Step::Mount(Fresh::new("sysfs", "/sys", attributes))],
    };
    steps.push(Step::Mount(Fresh::new("cgroup2", CGROUP, attributes)));
    steps
}

fn volumes(run: &Run) -> Vec<Step> {
    let mut number = 0;
    let mut steps = Vec::new();
    for volume in &run.volumes {
        match (bind(volume), &volume.kind) {
            (Some(bind), _) => {
                steps.push(Step::Bind(number, bind));
                number += 1;
            }
            (None, VolumeKind::Tmpfs { size, mode }) => {
                steps.push(Step::Mount(tmpfs(volume, *size, *mode)));
            }
            (None, VolumeKind::Bind { .. }) => {}
        }
    }
    steps
}

fn tmpfs(volume: &Volume, size: Option<u64>, mode: Option<u32>) -> Fresh {
    let attributes = Attributes::NO_SUID.and(Attributes::NO_DEVICES);
    let at = volume.at.clone();
    let tmpfs = Fresh { kind: "tmpfs", at, options: Vec::new(), attributes };
    let tmpfs = tmpfs.with("mode", format!("{:o}", mode.unwrap_or(0o1777)));
    match size {
        Some(size) => tmpfs.with("size", size.to_string()),
        None => tmpfs,
    }
}
