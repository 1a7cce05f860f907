//! The short form: `netup TARGET ADDRESS…` becomes `netup up TARGET ADDRESS…`, and an option
//! before the command (`netup --json ls`) moves behind it.
//!
//! Which options take a value, and which words are commands, is asked of the definition that clap
//! parses with, so that the two cannot disagree.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command, Subcommand};

use super::grammar::Verb;

/// A command line whose second word is a command, or which asks for the top-level help.
pub struct Arranged {
    pub words: Vec<OsString>,
    /// Whether `up` was added.
    pub verb_supplied: bool,
}

impl Arranged {
    /// The command, for a hint at its help.
    pub fn verb(&self) -> Option<&str> {
        self.words.get(1)?.to_str().filter(|word| !word.starts_with('-'))
    }
}

/// Options with a value that `up` lacks.
const OF_OTHERS: [&str; 2] = ["dir", "names"];

/// Brings the command to the front. `up` is the definition of the command of that name: its options
/// and [`OF_OTHERS`] include those of all others that take a value.
pub fn arrange(up: &Command, mut words: Vec<OsString>) -> Arranged {
    let at = first_plain(up, &words);
    if let Some(at) = at.filter(|at| is_verb(&words[*at])) {
        words[1..=at].rotate_right(1);
        return Arranged { words, verb_supplied: false };
    }
    let verb_supplied = at.is_some() || !(words.len() < 2 || asks_about_netup(&words));
    if verb_supplied {
        words.insert(1, "up".into());
    }
    Arranged { words, verb_supplied }
}

/// The first word that is no option and no option's value; `--` counts, for a target follows it.
fn first_plain(up: &Command, words: &[OsString]) -> Option<usize> {
    let mut at = 1;
    while let Some(word) = words.get(at) {
        if word == "--" || !word.as_encoded_bytes().starts_with(b"-") {
            return Some(at);
        }
        at += if awaits_value(up, word) { 2 } else { 1 };
    }
    None
}

fn is_verb(word: &OsStr) -> bool {
    // `help` is clap's own.
    word == "help" || word.to_str().is_some_and(Verb::has_subcommand)
}

fn asks_about_netup(words: &[OsString]) -> bool {
    words.iter().any(|w| ["-h", "--help", "-V", "--version"].iter().any(|asking| w == asking))
}

/// Whether the next word is this option's value.
fn awaits_value(up: &Command, option: &OsStr) -> bool {
    let Some(option) = option.to_str() else {
        return false;
    };
    match option.strip_prefix("--") {
        Some(long) => {
            OF_OTHERS.contains(&long) || valued(up).any(|arg| arg.get_long() == Some(long))
        }
        None => cluster_awaits_value(up, &option[1..]),
    }
}

/// `-qp` awaits one, `-p80:80` brings its own.
fn cluster_awaits_value(up: &Command, letters: &str) -> bool {
    let takes_one = |letter| valued(up).any(|arg| arg.get_short() == Some(letter));
    letters.find(takes_one).is_some_and(|at| at + 1 == letters.len())
}

fn valued(up: &Command) -> impl Iterator<Item = &Arg> {
    up.get_arguments().filter(|arg| arg.get_action().takes_values())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::grammar::{Cli, up};
    use super::*;

    fn arranged(line: &str) -> String {
        let words = line.split_whitespace().map(OsString::from).collect();
        let words = arrange(&up(), words).words;
        words.join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn a_line_without_a_command_means_up() {
        let table = [
            ("netup 1 10.0.0.2/24", "netup up 1 10.0.0.2/24"),
            ("netup --nat 1 10.0.0.2/24", "netup up --nat 1 10.0.0.2/24"),
            ("netup --id ls 1 10.0.0.2/24", "netup up --id ls 1 10.0.0.2/24"),
            ("netup --id=ls 1 10.0.0.2/24", "netup up --id=ls 1 10.0.0.2/24"),
            ("netup -p 80:80 1 10.0.0.2/24", "netup up -p 80:80 1 10.0.0.2/24"),
            ("netup -p80:80 down", "netup down -p80:80"),
            ("netup -qp ls 1", "netup up -qp ls 1"),
            ("netup -- ls 10.0.0.2/24", "netup up -- ls 10.0.0.2/24"),
            ("netup --nat", "netup up --nat"),
            ("netup 1 --help", "netup up 1 --help"),
        ];
        for (line, expected) in table {
            assert_eq!(arranged(line), expected, "{line}");
        }
    }

    #[test]
    fn a_command_comes_to_the_front() {
        let table = [
            ("netup ls", "netup ls"),
            ("netup up ls 10.0.0.2/24", "netup up ls 10.0.0.2/24"),
            ("netup --json ls", "netup ls --json"),
            ("netup --color never -q down web", "netup down --color never -q web"),
            ("netup --dir up install-cni", "netup install-cni --dir up"),
            ("netup help up", "netup help up"),
        ];
        for (line, expected) in table {
            assert_eq!(arranged(line), expected, "{line}");
        }
    }

    #[test]
    fn questions_about_netup_itself_stay() {
        for line in
            ["netup", "netup -h", "netup --help", "netup -V", "netup --color always --version"]
        {
            assert_eq!(arranged(line), line);
        }
        assert_eq!(arranged(""), "");
    }

    #[test]
    fn the_options_of_up_include_those_of_every_command() {
        let up = up();
        let known: Vec<&str> = valued(&up).filter_map(Arg::get_long).chain(OF_OTHERS).collect();
        for arg in Cli::command().get_subcommands().flat_map(Command::get_arguments) {
            let long = arg.get_long().filter(|_| arg.get_action().takes_values());
            assert!(long.is_none_or(|long| known.contains(&long)), "{long:?}");
        }
    }
}
