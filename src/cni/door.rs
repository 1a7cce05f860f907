//! How a runtime that starts a plugin is told from a person at a terminal.
//!
//! A runtime passes no arguments: the file's name says which plugin it wants, the environment the
//! rest. So a standard plugin's name always means the plugin; under any other name it takes
//! `CNI_COMMAND` and the absence of arguments, since a person may have that variable exported.

use std::env;
use std::ffi::OsString;
use std::path::Path;

use crate::cni::env::COMMAND;
use crate::cni::registry;

/// The plugin type that is asked for; `None` if the command line is meant.
pub fn plugin(words: &[OsString]) -> Option<&'static str> {
    let has_command = env::var_os(COMMAND).is_some_and(|command| !command.is_empty());
    choose(words, has_command)
}

fn choose(words: &[OsString], has_command: bool) -> Option<&'static str> {
    let name = words.first().and_then(|word| Path::new(word).file_name()?.to_str());
    let standard = name.and_then(registry::standard_name);
    standard.or_else(|| (has_command && words.len() <= 1).then_some(registry::OWN_NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(line: &str, has_command: bool) -> Option<&'static str> {
        choose(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>(), has_command)
    }

    #[test]
    fn runtimes_and_people_are_told_apart() {
        for (line, has_command, expected) in [
            ("/opt/cni/bin/bridge", true, Some("bridge")),
            ("/opt/cni/bin/bridge", false, Some("bridge")),
            ("host-local", false, Some("host-local")),
            ("bridge --help", false, Some("bridge")),
            ("/opt/cni/bin/netup", true, Some("netup")),
            ("/opt/cni/bin/netup", false, None),
            ("netup ls", true, None),
            ("netup 4711 10.0.0.2/24", true, None),
            ("netup", false, None),
            ("/usr/bin/bridges", false, None),
            ("/bridge/netup", false, None),
            ("/bridge/", false, Some("bridge")),
            ("", true, Some("netup")),
            ("", false, None),
        ] {
            assert_eq!(chosen(line, has_command), expected, "{line:?} {has_command}");
        }
    }
}
