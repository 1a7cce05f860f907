//! A network configuration executed as libcni does it: one process per plugin, the call in its
//! environment, its configuration on standard input with what belongs to the network put into it.

use crate::{Node, cell::program_path, program};
use serde_json::{Map, Value, json};
use std::{
    env, fmt, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// How long a plugin may take on a machine that is busy with other things.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a runtime would connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// `CNI_CONTAINERID`.
    pub id: String,
    /// `CNI_NETNS`, which may be empty or lead nowhere.
    pub netns: PathBuf,
    /// `CNI_IFNAME`.
    pub ifname: String,
}

impl Attachment {
    /// `eth0` of a node.
    pub fn of(id: &str, node: &Node) -> Self {
        Self { id: id.into(), netns: node.path().into(), ifname: "eth0".into() }
    }

    /// The same with another path, as seen when the namespace is gone.
    #[must_use]
    pub fn at(&self, netns: impl Into<PathBuf>) -> Self {
        Self { netns: netns.into(), ..self.clone() }
    }

    /// The same container's other interface.
    #[must_use]
    pub fn named(&self, ifname: &str) -> Self {
        Self { ifname: ifname.into(), ..self.clone() }
    }
}

/// A network: plugins in order, each from a folder of its own.
#[derive(Debug, Clone)]
pub struct Chain {
    host: Node,
    conf: Value,
    folders: Vec<PathBuf>,
    /// Where delegates are looked for, in place of each plugin's own folder.
    search: Option<PathBuf>,
    /// What the runtime can tell, by capability.
    offers: Map<String, Value>,
    args: String,
}

/// A plugin that failed.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Its type.
    pub plugin: String,
    /// The error that it answered with; null if it is none.
    pub error: Value,
    /// All that it said.
    pub ended: Box<program::Ended>,
}

impl Chain {
    /// The network of a configuration list, on a host, all plugins from one folder.
    pub fn new(host: &Node, conf: Value, folder: impl AsRef<Path>) -> Self {
        let count = conf["plugins"].as_array().map_or(0, Vec::len);
        let folders = vec![folder.as_ref().to_owned(); count];
        Self {
            host: host.clone(),
            conf,
            folders,
            search: None,
            offers: Map::new(),
            args: String::new(),
        }
    }

    /// The plugins from other folders, in order.
    #[must_use]
    pub fn from<P: AsRef<Path>>(mut self, folders: impl IntoIterator<Item = P>) -> Self {
        self.folders = folders.into_iter().map(|folder| folder.as_ref().to_owned()).collect();
        self
    }

    /// All of them from another folder.
    #[must_use]
    pub fn all_from(&self, folder: impl AsRef<Path>) -> Self {
        let folders = vec![folder.as_ref().to_owned(); self.folders.len()];
        Self { folders, ..self.clone() }
    }

    /// Delegates are looked for here.
    #[must_use]
    pub fn searching(mut self, folder: impl AsRef<Path>) -> Self {
        self.search = Some(folder.as_ref().to_owned());
        self
    }

    /// The runtime tells this to plugins that declare the capability.
    #[must_use]
    pub fn offering(mut self, capability: &str, value: Value) -> Self {
        self.offers.insert(capability.into(), value);
        self
    }

    /// With another value in the configuration list, by JSON pointer; the last part may be new.
    #[must_use]
    pub fn edited(mut self, pointer: &str, value: Value) -> Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap_or(("", pointer));
        if let Some(parent) = self.conf.pointer_mut(parent) {
            match key.parse::<usize>() {
                Ok(index) if parent.is_array() => parent[index] = value,
                _ => parent[key] = value,
            }
        }
        self
    }

    /// `CNI_ARGS`.
    #[must_use]
    pub fn with_args(mut self, args: &str) -> Self {
        self.args = args.into();
        self
    }

    /// Where it is executed.
    pub fn host(&self) -> &Node {
        &self.host
    }

    /// The result of the last plugin. The first that fails ends it, and nothing is taken back.
    pub fn add(&self, at: &Attachment) -> Result<Value, Refused> {
        let mut result = Value::Null;
        for index in 0..self.folders.len() {
            let ended = self.call(index, "ADD", at, &self.document(index, &result))?;
            result = serde_json::from_str(&ended.stdout)
                .map_err(|error| self.refused(index, ended, &format!("no result: {error}")))?;
        }
        Ok(result)
    }

    /// In reverse, with the ADD's result if it is known. The first that fails ends it.
    pub fn del(&self, at: &Attachment, previous: Option<&Value>) -> Result<(), Refused> {
        let previous = previous.filter(|_| self.version() >= (0, 4)).unwrap_or(&Value::Null);
        (0..self.folders.len())
            .rev()
            .try_for_each(|index| self.silent(index, "DEL", at, &self.document(index, previous)))
    }

    /// With the ADD's result.
    pub fn check(&self, at: &Attachment, previous: &Value) -> Result<(), Refused> {
        (0..self.folders.len())
            .try_for_each(|index| self.silent(index, "CHECK", at, &self.document(index, previous)))
    }

    /// Goes on past a plugin that fails, and tells the first that did.
    pub fn gc(&self, valid: &[Attachment]) -> Result<(), Refused> {
        let entry = |at: &Attachment| json!({ "containerID": at.id, "ifname": at.ifname });
        let valid: Vec<Value> = valid.iter().map(entry).collect();
        let call = |index| {
            let mut document = self.document(index, &Value::Null);
            document["cni.dev/valid-attachments"] = json!(valid);
            document["cni.dev/attachments"] = json!(valid);
            self.silent(index, "GC", &nobody(), &document)
        };
        let outcomes: Vec<_> = (0..self.folders.len()).map(call).collect();
        outcomes.into_iter().collect()
    }

    /// Whether an ADD could be served.
    pub fn status(&self) -> Result<(), Refused> {
        let null = Value::Null;
        (0..self.folders.len()).try_for_each(|index| {
            self.silent(index, "STATUS", &nobody(), &self.document(index, &null))
        })
    }

    /// One plugin's process for an ADD, not started, and its input.
    pub fn prepared(
        &self,
        index: usize,
        verb: &str,
        at: &Attachment,
        previous: &Value,
    ) -> (Command, Vec<u8>) {
        let document = self.document(index, previous);
        (self.command(index, verb, at), document.to_string().into_bytes())
    }

    /// Where the plugin of a type is taken from.
    pub fn folder(&self, plugin: &str) -> Option<&Path> {
        let index = (0..self.folders.len()).find(|&index| self.plugin(index) == plugin)?;
        self.folders.get(index).map(PathBuf::as_path)
    }

    /// How many plugins there are.
    pub fn len(&self) -> usize {
        self.folders.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.folders.is_empty()
    }

    /// What a plugin reads.
    pub fn document(&self, index: usize, previous: &Value) -> Value {
        let mut document = self.conf["plugins"][index].clone();
        for key in ["name", "cniVersion"] {
            if let Some(value) = self.conf.get(key) {
                document[key] = value.clone();
            }
        }
        if let Some(told) = self.told(&document) {
            document["runtimeConfig"] = told;
        }
        if !previous.is_null() {
            document["prevResult"] = previous.clone();
        }
        document
    }

    /// What the runtime can tell, as far as the plugin has declared that it wants it.
    fn told(&self, document: &Value) -> Option<Value> {
        let wanted = |key: &str| document["capabilities"][key] == true;
        let told: Map<_, _> =
            self.offers.clone().into_iter().filter(|(key, _)| wanted(key)).collect();
        (!told.is_empty()).then_some(Value::Object(told))
    }

    fn version(&self) -> (u32, u32) {
        let text = self.conf["cniVersion"].as_str().unwrap_or("0.1.0");
        let mut numbers = text.split('.').map(|number| number.parse().unwrap_or_default());
        (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
    }

    fn command(&self, index: usize, verb: &str, at: &Attachment) -> Command {
        let folder = &self.folders[index];
        let mut command = self.host.command(folder.join(self.plugin(index)));
        command.env_clear().env("PATH", program_path());
        command.env("CNI_COMMAND", verb).env("CNI_CONTAINERID", &at.id);
        command.env("CNI_NETNS", &at.netns).env("CNI_IFNAME", &at.ifname);
        command.env("CNI_PATH", self.search.as_ref().unwrap_or(folder)).env("CNI_ARGS", &self.args);
        // A backtrace is worth more than a clean environment.
        command.envs(env::vars().filter(|(key, _)| key == "RUST_BACKTRACE"));
        command
    }

    fn plugin(&self, index: usize) -> &str {
        self.conf["plugins"][index]["type"].as_str().unwrap_or_default()
    }

    fn silent(
        &self,
        index: usize,
        verb: &str,
        at: &Attachment,
        document: &Value,
    ) -> Result<(), Refused> {
        let ended = self.call(index, verb, at, document)?;
        if ended.stdout.trim().is_empty() {
            return Ok(());
        }
        Err(self.refused(index, ended, "it printed something"))
    }

    fn call(
        &self,
        index: usize,
        verb: &str,
        at: &Attachment,
        document: &Value,
    ) -> Result<program::Ended, Refused> {
        let input = document.to_string();
        match program::run(self.command(index, verb, at), input.as_bytes(), DEADLINE) {
            Ok(ended) if ended.is_success() => Ok(ended),
            Ok(ended) => Err(self.refused(index, ended, verb)),
            Err(error) => Err(self.refused(index, unstarted(&error), verb)),
        }
    }

    fn refused(&self, index: usize, mut ended: program::Ended, why: &str) -> Refused {
        let error = serde_json::from_str(&ended.stdout).unwrap_or(Value::Null);
        ended.stderr.insert_str(0, &format!("[{why}] "));
        Refused { plugin: self.plugin(index).to_owned(), error, ended: Box::new(ended) }
    }
}

/// GC and STATUS are about no container.
fn nobody() -> Attachment {
    Attachment { id: String::new(), netns: PathBuf::new(), ifname: String::new() }
}

fn unstarted(error: &io::Error) -> program::Ended {
    program::Ended { code: None, stdout: String::new(), stderr: error.to_string() }
}

impl Refused {
    /// The error's number.
    pub fn code(&self) -> Option<u64> {
        self.error["code"].as_u64()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.plugin, self.ended)
    }
}
