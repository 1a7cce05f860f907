//! What crun and runc read: a bundle with the namespaces, mounts and masks that `runc spec` writes,
//! without limits, so that no control group has to be filled in.

use super::contender::Reach;
use serde_json::{Value, json};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A folder with a `config.json`.
pub struct Bundle {
    path: PathBuf,
}

impl Bundle {
    pub fn write(folder: &Path, root: &Path, reach: Reach, args: &[&str]) -> io::Result<Self> {
        let config = config(root, reach, args);
        fs::write(folder.join("config.json"), serde_json::to_vec(&config)?)?;
        Ok(Self { path: folder.into() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn config(root: &Path, reach: Reach, args: &[&str]) -> Value {
    let kept = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let network = (reach != Reach::Host).then_some("network");
    let namespaces = ["pid", "ipc", "uts", "mount", "cgroup"].into_iter().chain(network);
    let namespaces: Vec<Value> = namespaces.map(|kind| json!({ "type": kind })).collect();
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 }, "args": args, "env": ["PATH=/bin"], "cwd": "/",
            "capabilities": { "bounding": kept, "effective": kept, "permitted": kept },
            "noNewPrivileges": true,
        },
        "root": { "path": root, "readonly": false },
        "hostname": "bench",
        "mounts": mounts(reach),
        "linux": {
            "namespaces": namespaces,
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

fn mounts(reach: Reach) -> Vec<Value> {
    let mount = |at: &str, kind: &str, options: &[&str]| json!({ "destination": at, "type": kind, "source": kind, "options": options });
    // A fresh sysfs belongs to a network namespace.
    let sys = match reach {
        Reach::Host => json!({
            "destination": "/sys", "type": "none", "source": "/sys",
            "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
        }),
        _ => mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    };
    vec![
        mount("/proc", "proc", &[]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        sys,
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ]
}
