//! `cargo lab`: a shell on the host of a small world.

use netns_fixtures::{Lab, enter, tools};
use std::{
    env, io,
    process::{ExitCode, ExitStatus},
};

/// Opens the shell and takes the world down when it ends.
pub fn run() -> io::Result<ExitCode> {
    tools::require(&["ip", "nft"])?;
    enter::isolate()?;
    let lab = Lab::new();
    let (outside, host) = (lab.host("outside")?, lab.host("host")?);
    lab.internet(&outside, &host)?;
    let container = lab.container("container")?;
    eprintln!(
        "You are on a host; 198.51.100.1 and 2001:db8:1::1 are outside ({}).",
        outside.path().display()
    );
    eprintln!("A container is process {}. All of it is gone when you leave.", container.pid());
    let shell = env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let status = host.command(shell).env("CONTAINER", container.pid().to_string()).status()?;
    Ok(exit_code(status))
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}
