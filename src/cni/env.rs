//! What the runtime says in the environment.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use netup::ident::IFNAME_MAX;

use crate::cni::failure::Failure;
use crate::cni::verb::Verb;

/// The variable that says what to do. Without it the caller is no runtime.
pub const COMMAND: &str = "CNI_COMMAND";
const CONTAINER_ID: &str = "CNI_CONTAINERID";
const NETNS: &str = "CNI_NETNS";
const IFNAME: &str = "CNI_IFNAME";
const ARGS: &str = "CNI_ARGS";
const PATH: &str = "CNI_PATH";
const NETNS_OVERRIDE: &str = "CNI_NETNS_OVERRIDE";

/// The environment of one call, as given. An absent variable is empty.
#[derive(Debug, Clone, Default)]
pub struct Env {
    /// `CNI_COMMAND`.
    pub command: String,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`.
    pub netns: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_ARGS`.
    pub args: String,
    /// `CNI_PATH`, split.
    pub path: Vec<PathBuf>,
    /// `CNI_NETNS_OVERRIDE`: whether the container may be in the plugin's own namespace.
    pub netns_override: bool,
}

impl Env {
    /// Reads the environment and validates what the verb needs of it.
    pub fn read() -> Result<Self, Failure> {
        Self::from(|name| env::var_os(name))
    }

    /// The variables are looked at in this order, so that of two mistakes the same one is told as
    /// by the reference plugins: a wrong value at once, what is missing at the end and all of it.
    fn from(look_up: impl Fn(&str) -> Option<OsString>) -> Result<Self, Failure> {
        let raw = |name: &str| look_up(name).unwrap_or_default();
        let command = text(COMMAND, raw(COMMAND))?;
        let verb = Verb::parse(&command);
        if verb == Some(Verb::Version) {
            return Ok(Self { command, ..Self::default() });
        }
        let container_id = text(CONTAINER_ID, raw(CONTAINER_ID))?;
        if concerns_attachment(verb) {
            container_id_is_valid(&container_id)?;
        }
        let netns = text(NETNS, raw(NETNS))?;
        let ifname = text(IFNAME, raw(IFNAME))?;
        if concerns_attachment(verb) {
            ifname_is_valid(&ifname)?;
        }
        let args = text(ARGS, raw(ARGS))?;
        let path = raw(PATH);
        let is_empty = |name: &str| match name {
            COMMAND => command.is_empty(),
            CONTAINER_ID => container_id.is_empty(),
            NETNS => netns.is_empty(),
            IFNAME => ifname.is_empty(),
            _ => path.is_empty(),
        };
        all_there(required(verb), is_empty)?;
        Ok(Self {
            netns_override: is_set(&text(NETNS_OVERRIDE, raw(NETNS_OVERRIDE))?),
            path: folders(&path),
            command,
            container_id,
            netns,
            ifname,
            args,
        })
    }

    /// What is asked for; `None` if that is no verb.
    pub fn verb(&self) -> Option<Verb> {
        Verb::parse(&self.command)
    }
}

fn concerns_attachment(verb: Option<Verb>) -> bool {
    matches!(verb, Some(Verb::Add | Verb::Del | Verb::Check))
}

fn required(verb: Option<Verb>) -> &'static [&'static str] {
    match verb {
        Some(Verb::Add | Verb::Check) => &[COMMAND, CONTAINER_ID, NETNS, IFNAME, PATH],
        Some(Verb::Del) => &[COMMAND, CONTAINER_ID, IFNAME, PATH],
        Some(Verb::Status | Verb::Gc) => &[COMMAND, PATH],
        Some(Verb::Version) | None => &[COMMAND],
    }
}

fn all_there(required: &[&str], is_empty: impl Fn(&str) -> bool) -> Result<(), Failure> {
    let missing: Vec<&str> = required.iter().copied().filter(|name| is_empty(name)).collect();
    match missing.as_slice() {
        [] => Ok(()),
        missing => Err(Failure::environment(format!(
            "required env variables [{}] missing",
            missing.join(",")
        ))),
    }
}

fn text(name: &str, value: OsString) -> Result<String, Failure> {
    value.into_string().map_err(|value| {
        Failure::environment(format!("{name} is not valid UTF-8"))
            .details(value.to_string_lossy().into_owned())
    })
}

fn container_id_is_valid(id: &str) -> Result<(), Failure> {
    let is_valid = id.is_empty() || is_identifier(id);
    is_valid.then_some(()).ok_or_else(|| {
        Failure::environment(format!("invalid characters in {CONTAINER_ID}")).details(id)
    })
}

/// Whether the text is what the specification allows as the id of a container or the name of a
/// network: letters, digits, `_`, `.` and `-`, beginning with a letter or digit.
pub fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn ifname_is_valid(name: &str) -> Result<(), Failure> {
    let wrong = |why: &str| {
        Err(Failure::environment(format!("{IFNAME} {name:?} {why}"))
            .details(format!("an interface's name has at most {IFNAME_MAX} bytes")))
    };
    match name {
        _ if name.len() > IFNAME_MAX => wrong("is too long"),
        "." | ".." => wrong("is the name of a folder"),
        _ if name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) => {
            wrong("contains '/', ':' or white space")
        }
        _ => Ok(()),
    }
}

fn folders(path: &OsString) -> Vec<PathBuf> {
    let folders = env::split_paths(path);
    folders.filter(|folder| !folder.as_os_str().is_empty()).collect()
}

fn is_set(text: &str) -> bool {
    text == "1" || text.eq_ignore_ascii_case("true")
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;
    use std::path::Path;

    use super::*;

    const GOOD: [(&str, &str); 6] = [
        (COMMAND, "ADD"),
        (CONTAINER_ID, "web-1"),
        (NETNS, "/run/netns/web"),
        (IFNAME, "eth0"),
        (PATH, "/opt/cni/bin:/usr/lib/cni"),
        (NETNS_OVERRIDE, "True"),
    ];

    fn with(changes: &[(&str, &str)]) -> Result<Env, Failure> {
        Env::from(|name| {
            let all = changes.iter().chain(&GOOD);
            all.clone().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn everything_is_read() {
        let env = with(&[(ARGS, "MAC=x")]).unwrap();
        assert_eq!(env.verb(), Some(Verb::Add));
        assert_eq!(
            (env.container_id, env.netns, env.ifname, env.args),
            ("web-1".into(), "/run/netns/web".into(), "eth0".into(), "MAC=x".into())
        );
        assert_eq!(env.path, [Path::new("/opt/cni/bin"), Path::new("/usr/lib/cni")]);
        assert!(env.netns_override);
    }

    #[test]
    fn the_first_mistake_in_the_order_of_the_variables_is_told() {
        let table: [(&[(&str, &str)], &str); 10] = [
            (&[(COMMAND, "")], "required env variables [CNI_COMMAND] missing"),
            (
                &[(CONTAINER_ID, ""), (NETNS, ""), (IFNAME, ""), (PATH, "")],
                "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH] missing",
            ),
            (&[(NETNS, ""), (CONTAINER_ID, "a/b")], "invalid characters in CNI_CONTAINERID"),
            (&[(IFNAME, "a/b"), (CONTAINER_ID, "-a")], "invalid characters in CNI_CONTAINERID"),
            (&[(IFNAME, "a:b"), (NETNS, "")], "CNI_IFNAME \"a:b\" contains"),
            (&[(IFNAME, "sixteen-bytes-xy")], "is too long"),
            (&[(IFNAME, "..")], "is the name of a folder"),
            (&[(IFNAME, "a\u{2003}b")], "white space"),
            (&[(COMMAND, "GC"), (PATH, "")], "required env variables [CNI_PATH] missing"),
            (&[(COMMAND, "CHECK"), (NETNS, "")], "required env variables [CNI_NETNS] missing"),
        ];
        for (changes, says) in table {
            let failure = with(changes).unwrap_err();
            assert_eq!(failure.code, Failure::ENVIRONMENT, "{changes:?}");
            assert!(failure.msg.contains(says), "{changes:?}: {}", failure.msg);
        }
    }

    #[test]
    fn verbs_need_no_more_than_they_use() {
        for changes in [
            &[(COMMAND, "DEL"), (NETNS, "")][..],
            &[(COMMAND, "STATUS"), (CONTAINER_ID, "a/b"), (IFNAME, "a/b"), (NETNS, "")],
            &[(COMMAND, "VERSION"), (PATH, ""), (CONTAINER_ID, "")],
            &[(COMMAND, "NONSENSE"), (PATH, ""), (CONTAINER_ID, "/"), (IFNAME, "/")],
        ] {
            with(changes).unwrap();
        }
    }

    #[test]
    fn bytes_that_are_no_text() {
        for broken in [COMMAND, CONTAINER_ID, NETNS, IFNAME, ARGS, NETNS_OVERRIDE] {
            let failure = Env::from(|name| {
                let good = GOOD.iter().find(|(key, _)| *key == name);
                match name == broken {
                    true => Some(OsString::from_vec(vec![b'a', 0xff])),
                    false => good.map(|(_, value)| value.into()),
                }
            });
            assert_eq!(failure.unwrap_err().code, Failure::ENVIRONMENT, "{broken}");
        }
    }
}
