//! One call of a plugin from beginning to end.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::panic;
use std::path::Path;
use std::process::{self, ExitCode};

use serde_json::{Value, json};

use crate::cni::Call;
use crate::cni::conf::{Conf, Received};
use crate::cni::env::{self, Env};
use crate::cni::failure::Failure;
use crate::cni::registry;
use crate::cni::types::Type;
use crate::cni::verb::Verb;
use crate::cni::version::Version;

/// Serves the call that the environment and standard input hold, as the plugin of this type.
pub fn serve(plugin: &'static str) -> ExitCode {
    if std::env::var_os(env::COMMAND).is_none_or(|command| command.is_empty()) {
        return introduce(plugin);
    }
    answer_even_a_panic();
    // Until the configuration is read, nobody knows what the caller speaks.
    let mut version = Version::NEWEST;
    match answer(plugin, &mut version) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = write(&failure.to_json(version));
            ExitCode::FAILURE
        }
    }
}

/// What a person sees who starts a plugin by hand, and programs read the version from: the text
/// after the plus sign is ours, what is before it says which reference release this stands in for.
fn introduce(plugin: &str) -> ExitCode {
    let text = format!(
        "CNI {plugin} plugin v1.9.1+netup.{}\nCNI protocol versions supported: {}\n",
        env!("CARGO_PKG_VERSION"),
        Version::list(plugin)
    );
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// A mistake of ours is told like any other failure, and in the manner of a runtime's other
/// failures: a document and exit status 1.
fn answer_even_a_panic() {
    panic::set_hook(Box::new(|panic| {
        let _ = writeln!(io::stderr(), "netup: {panic}");
        let failure = Failure::new(Failure::INTERNAL, "a mistake of netup")
            .details(panic.to_string().lines().collect::<Vec<_>>().join(" "));
        let _ = write(&failure.to_json(Version::NEWEST));
        process::exit(1);
    }));
}

fn answer(plugin: &'static str, version: &mut Version) -> Result<(), Failure> {
    let env = Env::read()?;
    if env.verb() == Some(Verb::Version) {
        return tell(&versions(plugin));
    }
    let received = Received::read(io::stdin().lock())?;
    if let Some(own) = received.version().ok().and_then(Version::parse) {
        *version = own;
    }
    received.name()?;
    let verb = env
        .verb()
        .ok_or_else(|| Failure::environment(format!("unknown CNI_COMMAND: {}", env.command)))?;
    *version = agreed(plugin, verb, received.version()?)?;
    let conf = conf(verb, received, *version)?;
    let kind = registry::of(plugin).ok_or_else(|| {
        Failure::new(Failure::UNSUPPORTED_FIELD, format!("plugin type {plugin} is not served"))
    })?;
    carry_out(kind, verb, Call { plugin, env, conf })
}

fn versions(plugin: &str) -> Value {
    let spoken: Vec<&str> = Version::spoken_by(plugin).map(Version::as_str).collect();
    json!({ "cniVersion": Version::NEWEST.as_str(), "supportedVersions": spoken })
}

/// The configuration's version, if the plugin speaks it and it knows the verb.
fn agreed(plugin: &str, verb: Verb, text: &str) -> Result<Version, Failure> {
    let spoken = Version::parse(text)
        .filter(|version| Version::spoken_by(plugin).any(|spoken| spoken == *version));
    let Some(version) = spoken else {
        let list = Version::list(plugin);
        return Err(Failure::new(Failure::INCOMPATIBLE_VERSION, "incompatible CNI versions")
            .details(format!("config is {text:?}, plugin supports [{list}]")));
    };
    match version.allows(verb) {
        true => Ok(version),
        false => Err(Failure::new(
            Failure::INCOMPATIBLE_VERSION,
            format!("config version does not allow {verb}"),
        )
        .details(format!("config is of version {version}"))),
    }
}

/// A DEL goes on without a `prevResult` that cannot be read: what it would have said can be found
/// in other ways, and a container that cannot be taken down is worse.
fn conf(verb: Verb, received: Received, version: Version) -> Result<Conf, Failure> {
    match verb {
        Verb::Del if !received.has_readable_prev_result(version) => {
            note("the prevResult cannot be read and is passed over");
            received.without_prev_result().of_version(version)
        }
        _ => received.of_version(version),
    }
}

fn carry_out(kind: &dyn Type, verb: Verb, call: Call) -> Result<(), Failure> {
    match verb {
        Verb::Add => crate::held(|| add(kind, &call)),
        Verb::Del => crate::held(|| del(kind, call)),
        Verb::Check => kind.check(&call),
        Verb::Status => kind.status(&call),
        Verb::Gc => crate::held(|| kind.gc(&call)),
        Verb::Version => tell(&versions(call.plugin)),
    }
}

/// An ADD whose answer cannot be given is taken back: the caller will not know what to take down.
fn add(kind: &dyn Type, call: &Call) -> Result<(), Failure> {
    if is_own_netns(&call.env) {
        return Err(own_netns());
    }
    let made = kind.add(call)?;
    let told = made.to_document(call.conf.version).and_then(|document| tell(&document));
    told.map_err(|failure| match kind.del(call) {
        Ok(()) => failure,
        Err(undo) => {
            let msg = format!("{}; undo also failed: {}", failure.msg, undo.msg);
            Failure { msg, ..failure }
        }
    })
}

/// Where the container is said to be in the plugin's own namespace, nothing in there is touched: it
/// is the host's. All else that belongs to the attachment goes, and the caller hears of it.
fn del(kind: &dyn Type, mut call: Call) -> Result<(), Failure> {
    if !is_own_netns(&call.env) {
        return kind.del(&call);
    }
    call.env.netns = String::new();
    kind.del(&call)?;
    Err(own_netns())
}

fn own_netns() -> Failure {
    Failure::new(
        Failure::OWN_NETNS,
        "plugin's netns and netns from CNI_NETNS should not be the same",
    )
    .details("set CNI_NETNS_OVERRIDE=1 if they may be")
}

/// Whether the container is in the namespace that this process is in. A path that cannot be looked
/// at is another matter.
fn is_own_netns(env: &Env) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let own = || identity(Path::new("/proc/self/ns/net"));
    !env.netns_override && identity(Path::new(&env.netns)).is_some_and(|of| Some(of) == own())
}

/// The one document on standard output.
fn tell(document: &Value) -> Result<(), Failure> {
    write(&format!("{document}\n"))
        .map_err(|e| Failure::new(Failure::IO, format!("write the answer to standard output: {e}")))
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A line for the runtime's log.
fn note(line: &str) {
    let _ = writeln!(io::stderr(), "netup: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_agreed_on_before_the_verb_is() {
        assert_eq!(agreed("bridge", Verb::Add, "").unwrap(), Version::V0_1_0);
        assert_eq!(agreed("bridge", Verb::Gc, "1.1.0").unwrap(), Version::V1_1_0);
        for (plugin, verb, text, says) in [
            ("bridge", Verb::Add, "1.2.0", "incompatible CNI versions"),
            ("bridge", Verb::Gc, "nonsense", "incompatible CNI versions"),
            ("firewall", Verb::Check, "0.3.1", "incompatible CNI versions"),
            ("bandwidth", Verb::Del, "", "incompatible CNI versions"),
            ("bridge", Verb::Check, "0.3.1", "config version does not allow CHECK"),
            ("bridge", Verb::Gc, "1.0.0", "config version does not allow GC"),
            ("bridge", Verb::Status, "1.0.0", "config version does not allow STATUS"),
        ] {
            let failure = agreed(plugin, verb, text).unwrap_err();
            assert_eq!((failure.code, failure.msg.as_str()), (1, says), "{plugin} {verb} {text}");
        }
    }

    #[test]
    fn the_own_namespace_is_known_under_any_name() {
        let env = |netns: &str| Env { netns: netns.to_owned(), ..Env::default() };
        let by_pid = format!("/proc/{}/ns/net", process::id());
        assert!(is_own_netns(&env("/proc/self/ns/net")));
        assert!(is_own_netns(&env(&by_pid)));
        assert!(!is_own_netns(&Env { netns_override: true, ..env(&by_pid) }));
        for other in ["", "/nonexistent", "/proc/self/ns/mnt", "/dev/null"] {
            assert!(!is_own_netns(&env(other)), "{other}");
        }
    }
}
