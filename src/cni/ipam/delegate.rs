//! A foreign IPAM plugin: a process with the same environment and the same standard input.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use serde::Deserialize;

use crate::cni::Call;
use crate::cni::any_case;
use crate::cni::failure::Failure;
use crate::cni::verb::Verb;

/// The delegate failed without saying how in the protocol's words.
const FAILED: u32 = 115;

/// How often a program is tried that somebody is writing to, and how long that lasts at most: one
/// that is being installed is soon complete.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// What a plugin says when it fails.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    code: u32,
    msg: String,
    details: String,
}

/// Runs the program for a verb; returns what it printed. It has no deadline, as it may wait for a
/// server that may take its time; who waits for us may end us.
pub fn run(program: &Path, verb: Verb, call: &Call) -> Result<Vec<u8>, Failure> {
    let failed =
        |e: io::Error| Failure::new(Failure::IO, format!("run {}: {e}", program.display()));
    let _interruptible = Interruptible::begin();
    let mut command = Command::new(program);
    command.env("CNI_COMMAND", verb.as_str());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = spawn(&mut command).map_err(failed)?;
    let output = converse(child, &call.conf.text).map_err(failed)?;
    // Its log is part of ours. Nothing can be done about a closed standard error.
    drop(io::stderr().write_all(&output.stderr));
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(failure(program, &output)),
    }
}

/// While this lives, the signals that stop a program do, here and in the delegate, though they are
/// held back during a change.
struct Interruptible(Option<SigSet>);

impl Interruptible {
    fn begin() -> Self {
        let stopping = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        Self(stopping.thread_swap_mask(SigmaskHow::SIG_UNBLOCK).ok())
    }
}

impl Drop for Interruptible {
    fn drop(&mut self) {
        if let Some(before) = self.0 {
            // It was this thread's mask before, so it is valid.
            let _ = before.thread_set_mask();
        }
    }
}

fn spawn(command: &mut Command) -> io::Result<Child> {
    for _ in 1..TRIES {
        match command.spawn() {
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy => thread::sleep(PAUSE),
            other => return other,
        }
    }
    command.spawn()
}

/// Writes beside reading: either pipe may be full while the other is waited for.
fn converse(mut child: Child, input: &[u8]) -> io::Result<Output> {
    let stdin = child.stdin.take();
    thread::scope(|scope| {
        // One that does not read its input may have its reasons; what it answers counts.
        let write = move || stdin.is_some_and(|mut stdin| stdin.write_all(input).is_ok());
        thread::Builder::new().spawn_scoped(scope, write)?;
        child.wait_with_output()
    })
}

fn failure(program: &Path, output: &Output) -> Failure {
    let name = program.display();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.stdout.trim_ascii().is_empty() {
        let why = match stderr.trim() {
            "" => format!("{name} failed with no error message: {}", output.status),
            stderr => format!("netplugin failed: {stderr}"),
        };
        return Failure::new(FAILED, why).details(name.to_string());
    }
    let told = serde_json::from_slice(&output.stdout).ok();
    match told.and_then(|told| any_case::decode::<Told>(&told).ok()) {
        Some(Told { code, msg, details }) => Failure { code, msg, details },
        None => Failure::new(
            FAILED,
            format!("{name} failed: {}", String::from_utf8_lossy(&output.stdout).trim()),
        )
        .details(stderr.trim()),
    }
}
