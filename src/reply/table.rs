//! Text for people: aligned, one fact per line, nothing that is not so.

mod facts;
mod grid;

use std::time::Duration;

use netup::ident::AttachmentId;
use netup::{
    Attachment, Change, Checked, Collected, Detached, Finding, Health, Outcome, Reloaded, State,
    Status,
};

use super::paint::{Ink, Paint};
use crate::install::{Fate, Installation, Plugin};

/// What `up` did, and what now exists.
pub fn outcome(outcome: &Outcome, paint: Paint) -> String {
    let verdict = match outcome.result {
        Change::Created => paint.ink(Ink::Green, "created"),
        Change::Unchanged => paint.ink(Ink::Dim, "unchanged"),
        Change::Replaced => paint.ink(Ink::Yellow, "replaced"),
    };
    let name = paint.ink(Ink::Bold, &outcome.attachment.id.to_string());
    let took = paint.ink(Ink::Dim, &format!("({})", time(outcome.elapsed)));
    let facts = facts::brief(&outcome.attachment);
    format!("{name} {verdict} {took}\n{}", facts::aligned(&facts, paint))
}

/// The same facts and more of everything that `show` was asked for.
pub fn details(all: &[Status], paint: Paint) -> String {
    let one = |status: &Status| {
        let name = paint.ink(Ink::Bold, &status.attachment.id.to_string());
        let facts = facts::all(&status.attachment);
        format!("{name} {}\n{}", state(status.state, 0, paint), facts::aligned(&facts, paint))
    };
    all.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// One row each.
pub fn list(all: &[Status], paint: Paint) -> String {
    grid::list(all, paint)
}

/// An attachment on one line.
pub fn summary(attachment: &Attachment) -> String {
    let mut words = vec![attachment.id.to_string(), attachment.host_ifname.to_string()];
    words.extend(attachment.addresses.iter().map(ToString::to_string));
    words.extend(attachment.publish.iter().map(ToString::to_string));
    words.join(" ")
}

/// Lines to paste, and nothing else.
pub fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// One line per attachment that is gone.
pub fn detached(gone: &[Detached], paint: Paint) -> String {
    if gone.is_empty() {
        return "nothing to remove\n".to_owned();
    }
    let one = |gone: &Detached| {
        let took = paint.ink(Ink::Dim, &format!("({})", time(gone.elapsed)));
        format!("{} removed {took}\n", paint.ink(Ink::Bold, &gone.id.to_string()))
    };
    gone.iter().map(one).collect()
}

/// `ok`, or what drifted.
pub fn checked(all: &[Checked], paint: Paint) -> String {
    if all.iter().all(|checked| checked.drift.is_empty()) {
        return format!("{}, {}\n", paint.ink(Ink::Green, "ok"), attachments(all.len()));
    }
    all.iter().map(|checked| verdict(checked, paint)).collect()
}

fn verdict(checked: &Checked, paint: Paint) -> String {
    let name = paint.ink(Ink::Bold, &checked.id.to_string());
    let word = match (checked.drift.is_empty(), checked.repaired) {
        (true, _) => paint.ink(Ink::Green, "ok"),
        (false, true) => paint.ink(Ink::Yellow, "repaired"),
        (false, false) => paint.ink(Ink::Red, "drifted"),
    };
    let drift = checked.drift.iter().map(|line| format!("  {}\n", one_line(line)));
    format!("{name} {word}\n{}", drift.collect::<String>())
}

/// What `gc` cleared and what it could not.
pub fn collected(collected: &Collected, paint: Paint) -> String {
    let names =
        |ids: &[AttachmentId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut text = match collected.removed.as_slice() {
        [] if collected.failed.is_empty() => "nothing to remove\n".to_owned(),
        [] => String::new(),
        removed => format!("removed {}: {}\n", attachments(removed.len()), names(removed)),
    };
    for (id, error) in &collected.failed {
        let word = paint.ink(Ink::Red, "not removed");
        text += &format!("{id} {word}: {}\n", one_line(&error.to_string()));
    }
    text
}

/// What `reload` put back.
pub fn reloaded(reloaded: &Reloaded) -> String {
    let Reloaded { attachments: count, elements } = reloaded;
    let s = if *elements == 1 { "" } else { "s" };
    format!("rules and {elements} element{s} of {} put back\n", attachments(*count))
}

/// One line per thing that `doctor` looked at, with the remedy below.
pub fn findings(findings: &[Finding], paint: Paint) -> String {
    let width = findings.iter().map(|f| f.subject.chars().count()).max().unwrap_or(0);
    findings.iter().map(|finding| diagnosis(finding, width, paint)).collect()
}

/// One line per plugin.
pub fn installation(installation: &Installation, paint: Paint) -> String {
    let one = |plugin: &Plugin| {
        let (ink, word) = match plugin.result {
            Fate::Installed => (Ink::Green, "installed"),
            Fate::Updated => (Ink::Green, "updated"),
            Fate::Unchanged => (Ink::Dim, "unchanged"),
            Fate::Replaced => (Ink::Yellow, "replaced another"),
            Fate::Removed => (Ink::Green, "removed"),
            Fate::Restored => (Ink::Yellow, "removed, and the other is back"),
            Fate::Absent => (Ink::Dim, "is not there"),
            Fate::Foreign => (Ink::Dim, "is another's, and stays"),
        };
        let path = installation.dir.join(plugin.name);
        format!("{} {}\n", one_line(&path.to_string_lossy()), paint.ink(ink, word))
    };
    installation.plugins.iter().map(one).collect()
}

fn diagnosis(finding: &Finding, width: usize, paint: Paint) -> String {
    let mark = match finding.health {
        Health::Ok => paint.ink(Ink::Green, "✔"),
        Health::Warning => paint.ink(Ink::Yellow, "!"),
        Health::Failure => paint.ink(Ink::Red, "✘"),
    };
    let line = format!("{mark} {:width$}  {}\n", finding.subject, one_line(&finding.found));
    match &finding.remedy {
        Some(remedy) => {
            let arrow = format!("{:>1$}", "→", width + 5);
            format!("{line}{} {}\n", paint.ink(Ink::Dim, &arrow), one_line(remedy))
        }
        None => line,
    }
}

fn state(state: State, width: usize, paint: Paint) -> String {
    let (ink, word) = match state {
        State::Up => (Ink::Green, "up"),
        State::Dead => (Ink::Red, "dead"),
        State::Incomplete => (Ink::Yellow, "incomplete"),
    };
    paint.ink(ink, &format!("{word:width$}"))
}

fn attachments(count: usize) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} attachment{s}")
}

/// A duration, no finer than it repeats.
fn time(elapsed: Duration) -> String {
    let us = elapsed.as_micros();
    match us {
        ..100 => format!("{us} µs"),
        100..9_950 => format!("{:.1} ms", elapsed.as_secs_f64() * 1e3),
        9_950..999_500 => format!("{:.0} ms", elapsed.as_secs_f64() * 1e3),
        _ => format!("{:.1} s", elapsed.as_secs_f64()),
    }
}

/// Text of foreign origin, such as a path, on one line and without power over the terminal.
pub fn one_line(text: &str) -> String {
    let escaped = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests;
