//! The runner as a process, called by root or by somebody else.

use super::{Root, Seen, User};
use crate::{
    Node,
    blame::Blame,
    cell::program_path,
    program::{self, Ended, Started},
    tools,
};
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// A run takes milliseconds; an import of a distribution, seconds.
const DEADLINE: Duration = Duration::from_secs(60);

/// Who calls the runner, where, and with which folders.
#[derive(Debug, Clone)]
pub struct Runner {
    program: PathBuf,
    host: Node,
    state: PathBuf,
    store: PathBuf,
    user: Option<User>,
}

impl Runner {
    pub(super) fn new(program: &Path, host: &Node, folder: &Path, user: Option<User>) -> Self {
        let folder = user.as_ref().map_or(folder, |user| &user.home);
        let [state, store] = ["state", "store"].map(|name| folder.join(name));
        Self { program: program.into(), host: host.clone(), state, store, user }
    }

    /// The same on another host.
    #[must_use]
    pub fn on(&self, host: &Node) -> Self {
        Self { host: host.clone(), ..self.clone() }
    }

    /// The same with its images elsewhere, for example on Btrfs.
    #[must_use]
    pub fn storing_in(&self, store: impl Into<PathBuf>) -> Self {
        Self { store: store.into(), ..self.clone() }
    }

    /// `NETUP_RUN_STATE`.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// `NETUP_RUN_STORE`.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// The runner with these words, not started. Of the test's own environment it sees nothing.
    pub fn command(&self, words: &[&str]) -> io::Result<Command> {
        let mut command = match &self.user {
            None => self.host.command(&self.program),
            Some(user) => {
                let mut command = self.host.command(tools::find("setpriv")?);
                command.args(user.words()).arg(&self.program);
                command
            }
        };
        let place = self.user.as_ref().map_or(Path::new("/"), |user| &user.home);
        command.env_clear().envs(self.variables()).current_dir(place).args(words);
        Ok(command)
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its whole environment.
    pub fn variables(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![
            ("PATH", program_path().into()),
            ("NETUP_RUN_STATE", self.state.clone().into()),
            ("NETUP_RUN_STORE", self.store.clone().into()),
            ("NETUP_STATE_DIR", self.state.with_file_name("netup").into()),
        ];
        match &self.user {
            None => variables.push(("HOME", "/root".into())),
            Some(user) => variables.extend([
                ("HOME", user.home.clone().into()),
                ("USER", user.name.clone().into()),
                ("XDG_RUNTIME_DIR", user.runtime.clone().into()),
            ]),
        }
        variables
    }

    /// Runs it to its end.
    pub fn run(&self, words: &[&str]) -> io::Result<Ended> {
        self.run_with(words, b"")
    }

    /// Runs it to its end, with this on its standard input.
    pub fn run_with(&self, words: &[&str], input: &[u8]) -> io::Result<Ended> {
        program::run(self.command(words)?, input, DEADLINE)
    }

    /// Starts it. It is ended when the result goes out of scope.
    pub fn start(&self, words: &[&str]) -> io::Result<Started> {
        program::start(self.command(words)?, b"")
    }

    /// Runs the probe in a container of this root and returns what it saw. The runner itself must
    /// succeed, with one exception that the probe's own `exit` makes.
    pub fn probe(&self, options: &[&str], root: &Root, words: &[&str]) -> io::Result<Seen> {
        let ended = self.run_probe(options, root, words)?;
        let stderr = ended.stderr.clone();
        ended.success().map(|stdout| Seen::new(stdout, stderr))
    }

    /// The same, however it ends.
    pub fn run_probe(&self, options: &[&str], root: &Root, words: &[&str]) -> io::Result<Ended> {
        let call = root.probe_call(options, words)?;
        self.run(&call.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The same, started only.
    pub fn start_probe(
        &self,
        options: &[&str],
        root: &Root,
        words: &[&str],
    ) -> io::Result<Started> {
        let call = root.probe_call(options, words)?;
        self.start(&call.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Makes a folder that belongs to the caller.
    pub fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.state.with_file_name(name);
        fs::create_dir_all(&path).blame(path.display())?;
        self.user.as_ref().map_or(Ok(()), |user| user.own(&path))?;
        Ok(path)
    }
}
