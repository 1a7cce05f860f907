//! Limits that the kernel enforces and the figures of it: on a kernel whose controllers are all of
//! cgroup v2, in an emulated machine.
#![cfg(target_arch = "x86_64")]

use std::path::Path;
use std::time::Duration;

use netns_fixtures::vm::{Kernel, Vm};
use serde_json::Value;

/// Of one machine: half a minute, unless others are busy too.
const DEADLINE: Duration = Duration::from_secs(300);

/// What came by the serial line of a machine that ran this script.
fn run(script: &str) -> String {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let kernel = Kernel::in_folder(&target.join("kernels"), ".ci/kernel").unwrap();
    let vm = Vm::new(&kernel).unwrap();
    let vm = vm.with_program("netup-run", Path::new(env!("CARGO_BIN_EXE_netup-run"))).unwrap();
    let vm = vm.with_file("test", script);
    let console = vm.run(include_str!("limits/machine.sh"), DEADLINE);
    console.unwrap_or_else(|error| panic!("{error}"))
}

/// What the machine told under a key.
fn told(console: &str, key: &str) -> Value {
    let found = console.lines().find_map(|line| line.strip_prefix(&format!("@{key} ")));
    let found = found.unwrap_or_else(|| panic!("no {key} in {console}"));
    serde_json::from_str(found).unwrap()
}

#[test]
fn limits_hold_and_figures_tell_of_them() {
    let console = run(include_str!("limits/limits.sh"));

    let stats = told(&console, "stats");
    assert_eq!(
        stats["missing"].as_array().unwrap().iter().filter(|m| m["figure"] != "io").count(),
        0,
        "{stats}"
    );
    assert_eq!(stats["memory"]["max"], 64 << 20);
    assert!((1..64 << 20).contains(&stats["memory"]["current"].as_u64().unwrap()), "{stats}");
    assert!(stats["memory"]["peak"].as_u64() >= stats["memory"]["current"].as_u64(), "{stats}");
    assert_eq!(
        (&stats["pids"]["max"], &stats["cpu_limit"]["millicpus"]),
        (&20.into(), &200.into())
    );
    assert!(stats["pids"]["current"].as_u64().unwrap() >= 2, "{stats}");

    // A loop that wants all of the processor gets a fifth of it, here measured over some seconds.
    let later = told(&console, "later");
    let spent = |stats: &Value| stats["cpu"]["usage_us"].as_u64().unwrap();
    let elapsed = told(&console, "elapsed").as_u64().unwrap() * 1_000_000;
    let share = (spent(&later) - spent(&stats)) as f64 / elapsed as f64;
    assert!((0.05..0.35).contains(&share), "it got {share} of the processor");
    let throttled = |stats: &Value| stats["cpu_limit"]["throttled_us"].as_u64().unwrap();
    assert!(throttled(&later) > throttled(&stats), "{later}");
    assert!(later["cpu_pressure"]["some"]["total_us"].as_u64().unwrap() > 0, "{later}");

    // Without a limit there are figures as well, and no limits in them.
    let free = told(&console, "free");
    assert!(free["memory"]["current"].as_u64().unwrap() > 0, "{free}");
    assert_eq!((&free["memory"]["max"], &free["pids"]["max"]), (&Value::Null, &Value::Null));
}
