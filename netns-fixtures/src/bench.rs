//! `cargo bench-net`: netup against everybody else, whole processes, side by side in one run.
//!
//! Every contender gets a host of its own in the laboratory, all alike, and fresh containers. They
//! take turns call by call, so that whatever the machine does meanwhile hits all of them alike.
//! docs/benchmarks.md says what each row does.

mod bars;
mod chain;
mod clients;
mod contender;
mod crowd;
mod growth;
mod installed;
mod netavark;
mod options;
mod plugins;
mod proof;
mod race;
mod report;
mod samples;
mod scaling;
mod script;
mod settle;
mod startup;
mod stopwatch;
mod subject;
mod table;
mod weight;
mod world;

use bars::Bar;
use netns_fixtures::{enter, tools};
use options::{Mode, Options};
use report::Report;
use std::{env, fs::File, io, process::ExitCode};
use subject::Subject;

/// Measures, or weighs one program for a run that measures.
pub fn run() -> io::Result<ExitCode> {
    match options::parse(env::args_os().skip(2))? {
        Mode::Measure(options) => measure(&options),
        Mode::Clients(options) => clients_alone(&options),
        Mode::Startup(options) => startup_alone(&options),
        Mode::Weigh(words) => weight::weigh_in_this_process(&words),
        Mode::Help => {
            println!("{}", options::USAGE);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn clients_alone(options: &Options) -> io::Result<ExitCode> {
    let subject = Subject::netup()?;
    tools::require(&["ip", "containerd", "ctr", "podman", "runc", "nsenter", "unshare"])?;
    let json = options.json.as_ref().map(File::create).transpose()?;
    enter::isolate()?;
    let clients = clients::run(subject, options.rounds)?;
    clients::print(&clients);
    if let Some(file) = json {
        serde_json::to_writer_pretty(file, &clients)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn startup_alone(options: &Options) -> io::Result<ExitCode> {
    let [netup, runner] = [Subject::netup()?, Subject::netup_run()?];
    tools::require(&["ip", "nft", "unshare", "bwrap"])?;
    let json = options.json.as_ref().map(File::create).transpose()?;
    enter::isolate()?;
    let startup = startup::run(&netup.path, &runner.path, options.rounds)?;
    let bars = startup.bars();
    startup::print(&startup);
    table::bars(&bars);
    if let Some(file) = json {
        serde_json::to_writer_pretty(file, &startup)?;
    }
    Ok(verdict(options, &bars))
}

fn measure(options: &Options) -> io::Result<ExitCode> {
    // All of this needs the world outside, so it comes before the namespaces.
    let [subject, runner] = [Subject::netup()?, Subject::netup_run()?];
    if options.install {
        installed::install_missing()?;
    }
    tools::require(&["ip", "nft", "nsenter", "sysctl", "unshare", "bwrap"])?;
    let json = options.json.as_ref().map(File::create).transpose()?;
    enter::isolate()?;
    let report = Report::make(subject, runner, options.rounds)?;
    table::print(&report);
    if let Some(file) = json {
        serde_json::to_writer_pretty(file, &report)?;
    }
    Ok(verdict(options, &report.bars))
}

fn verdict(options: &Options, bars: &[Bar]) -> ExitCode {
    let missed = options.strict && !bars.iter().all(|bar| bar.passed);
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
