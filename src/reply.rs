//! What goes out: facts on standard output, everything else on standard error.
//!
//! Text is laid out in [`table`], documents in [`json`]; both only build strings. Here they are
//! chosen between and written.

mod json;
mod paint;
mod table;

#[cfg(test)]
mod samples;

use std::io::{self, IsTerminal, Write};

use netup::{
    Checked, Collected, Detached, Error, Finding, Outcome, Progress, Reloaded, Result, Status,
};

use crate::install::Installation;
use crate::invoke::{Form, Manner, Page};
use paint::{Ink, Paint};

/// Answers one caller.
pub struct Reply {
    form: Form,
    /// Colours of standard output and of standard error: each may be a terminal or not.
    out: Paint,
    err: Paint,
}

impl Reply {
    /// Answers in this manner.
    pub fn new(manner: Manner) -> Self {
        Self {
            form: manner.form,
            out: Paint::choose(manner.color, io::stdout().is_terminal()),
            err: Paint::choose(manner.color, io::stderr().is_terminal()),
        }
    }

    pub fn attached(&self, outcome: &Outcome) -> Result<()> {
        self.answer(|| table::outcome(outcome, self.out), || json::document(outcome))
    }

    pub fn planned(&self, lines: &[String]) -> Result<()> {
        self.answer(|| table::lines(lines), || json::document(lines))
    }

    pub fn detached(&self, gone: &[Detached]) -> Result<()> {
        self.answer(|| table::detached(gone, self.out), || json::document(gone))
    }

    pub fn listed(&self, all: &[Status]) -> Result<()> {
        self.answer(|| table::list(all, self.out), || json::document(all))
    }

    pub fn shown(&self, all: &[Status]) -> Result<()> {
        self.answer(|| table::details(all, self.out), || json::document(all))
    }

    pub fn checked(&self, all: &[Checked]) -> Result<()> {
        self.answer(|| table::checked(all, self.out), || json::document(all))
    }

    pub fn collected(&self, collected: &Collected) -> Result<()> {
        self.answer(|| table::collected(collected, self.out), || json::collected(collected))
    }

    pub fn reloaded(&self, reloaded: &Reloaded) -> Result<()> {
        self.answer(|| table::reloaded(reloaded), || json::document(reloaded))
    }

    pub fn ruleset_removed(&self) -> Result<()> {
        self.answer(|| "the ruleset is gone\n".to_owned(), json::ruleset_removed)
    }

    pub fn findings(&self, findings: &[Finding]) -> Result<()> {
        self.answer(|| table::findings(findings, self.out), || json::document(findings))
    }

    pub fn installed(&self, installation: &Installation) -> Result<()> {
        self.answer(|| table::installation(installation, self.out), || json::document(installation))
    }

    /// Help and the like: the same in every form.
    pub fn page(&self, page: &Page) -> Result<()> {
        print(if self.out.is_on() { &page.coloured } else { &page.plain })
    }

    /// A step that was just applied. That nobody reads it any more is no reason to fail.
    pub fn step(&self, progress: &Progress) {
        for line in progress.lines() {
            self.note(&format!("+ {line}"));
        }
    }

    /// What is about to be taken down.
    pub fn about_to_remove(&self, all: &[Status]) {
        for status in all {
            self.note(&format!("- {}", table::summary(&status.attachment)));
        }
    }

    /// The one line on standard error.
    pub fn error(&self, error: &Error) {
        let line = match self.form {
            Form::Text => {
                let name = self.err.ink(Ink::Red, "netup:");
                format!("{name} {}\n", table::one_line(&error.to_string()))
            }
            Form::Json => json::error(error),
        };
        let _ = io::stderr().write_all(line.as_bytes());
    }

    fn note(&self, line: &str) {
        let line = self.err.ink(Ink::Dim, &table::one_line(line)) + "\n";
        let _ = io::stderr().write_all(line.as_bytes());
    }

    fn answer(&self, text: impl FnOnce() -> String, json: impl FnOnce() -> String) -> Result<()> {
        match self.form {
            Form::Text => print(&text()),
            Form::Json => print(&json()),
        }
    }
}

/// Writes to standard output. A reader that has gone (`netup ls | head -1`) has read what it
/// wanted; a full disk is an error.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::io("write to standard output", &e))
        }
        _ => Ok(()),
    }
}
