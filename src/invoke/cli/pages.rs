//! Completion scripts and manual pages, from the same definition that parses. Built only on demand:
//! the command tree in full costs much of the time of a whole `netup up`.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use netup::{Error, Result};

use super::grammar::Cli;
use crate::invoke::Page;

/// The completion script of one shell.
pub fn completions(shell: Shell) -> Result<Page> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "netup", &mut script);
    text(script)
}

/// The manual page of the whole.
pub fn manual() -> Result<Page> {
    let mut roff = Vec::new();
    render(&whole(), &mut roff).map_err(|e| Error::io("render the manual page", &e))?;
    text(roff)
}

/// Writes `netup.1` and a page per command.
pub fn write_manual(dir: &Path) -> Result<()> {
    let within = |e: io::Error| Error::io(format!("write manual pages into {}", dir.display()), &e);
    let netup = whole();
    fs::create_dir_all(dir).map_err(within)?;
    for command in netup.get_subcommands().chain([&netup]) {
        let file = Man::new(command.clone()).get_filename();
        let mut page = fs::File::create(dir.join(file)).map_err(within)?;
        render(command, &mut page).map_err(within)?;
    }
    Ok(())
}

fn whole() -> Command {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Gives the commands their full names (`netup-up`) and the global options.
    command.build();
    command
}

fn render(command: &Command, out: &mut dyn Write) -> io::Result<()> {
    let man = Man::new(command.clone());
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(out)?;
    }
    match command.get_after_long_help() {
        Some(notes) => render_notes(&notes.to_string(), out),
        None => Ok(()),
    }
}

/// The notes as they stand (`.nf`): clap_mangen would fill the lines, and the examples lose shape.
fn render_notes(notes: &str, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, ".SH NOTES\n.nf")?;
    for line in notes.lines() {
        // `\&` keeps a leading dot or quote from being a request.
        writeln!(out, "\\&{}", line.replace('\\', "\\e").replace('-', "\\-"))?;
    }
    writeln!(out, ".fi")
}

fn text(bytes: Vec<u8>) -> Result<Page> {
    let text = String::from_utf8(bytes);
    text.map(Page::plain).map_err(|e| Error::invalid(format!("the page is not UTF-8 ({e})")))
}
