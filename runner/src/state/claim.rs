//! Who has a name: the holder of the record's lock. The kernel gives it back when the holder dies,
//! however it does.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::{Error, ErrorKind, Result};
use crate::name::ContainerName;
use crate::state::record::{self, Record};
use crate::state::{FOLDER_VARIABLE, State};
use crate::sys::ofd_lock::{self, Range};

/// What a runner holds for as long as its container lives.
const RUNNER: Range = Range { start: 0, len: 1 };
/// What is held besides by whoever clears away what a dead runner left: it is busy for a moment
/// only, so one who wants the name waits.
const CLEARING: Range = Range { start: 1, len: 1 };
const BOTH: Range = Range { start: 0, len: 2 };

/// How long a clearing may take: it waits for killed processes to be gone.
const PATIENCE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(1);

/// Who holds a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A runner: the container is alive.
    Runner,
    /// Somebody who clears away what a dead runner left.
    Clearing,
    /// Nobody: its runner is dead.
    Nobody,
}

/// The sole right to a name, with the record that goes with it. Dropped without
/// [`forget`](Claim::forget), it leaves its record to be cleared like a dead runner's.
#[derive(Debug)]
#[must_use = "the name is free again when this is dropped"]
pub struct Claim {
    file: File,
    path: PathBuf,
    name: ContainerName,
    /// Bytes of whole lines.
    length: u64,
    forgotten: bool,
}

impl State {
    /// Takes a name, or makes one up. What a dead runner left under it goes to `clear` first, while
    /// everybody else is kept out.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) if a container of that name runs; what `clear` returns.
    pub fn claim(
        &self,
        name: Option<&ContainerName>,
        clear: impl FnOnce(&Record) -> Result<()>,
    ) -> Result<Claim> {
        let Some(name) = name else { return self.claim_any() };
        let Some(mut claim) = self.take(name)? else { return Err(taken(name)) };
        if claim.length > 0 {
            claim.renew(clear)?;
        }
        Ok(claim)
    }

    /// Takes what a dead runner left, to clear it away; `None` if somebody was faster.
    ///
    /// # Errors
    /// If the record cannot be opened.
    pub fn take_over(&self, name: &ContainerName) -> Result<Option<Claim>> {
        let Some(file) = self.open_existing(name)? else { return Ok(None) };
        self.lock(file, BOTH, name).map(|claim| match claim {
            Attempt::Taken(claim) => Some(claim),
            Attempt::Held(_) | Attempt::Removed => None,
        })
    }

    /// Who holds a record, and what it says; `None` if there is none.
    pub(super) fn look(&self, name: &ContainerName) -> Result<Option<(Holder, Option<Record>)>> {
        let Some(mut file) = self.open_existing(name)? else { return Ok(None) };
        let holder = holder(&file, &self.path(name))?;
        let record = read(&mut file, &self.path(name))?;
        Ok(Some((holder, record)))
    }

    fn claim_any(&self) -> Result<Claim> {
        loop {
            let name = made_up()?;
            match self.lock(self.open_or_create(&name)?, RUNNER, &name)? {
                Attempt::Taken(claim) if claim.length == 0 => return Ok(claim),
                // One chance in 2^48.
                Attempt::Taken(_) | Attempt::Held(_) | Attempt::Removed => {}
            }
        }
    }

    /// Takes a name; `None` if a runner has it.
    fn take(&self, name: &ContainerName) -> Result<Option<Claim>> {
        let started = Instant::now();
        loop {
            match self.lock(self.open_or_create(name)?, RUNNER, name)? {
                Attempt::Taken(claim) => return Ok(Some(claim)),
                Attempt::Held(Holder::Runner) => return Ok(None),
                Attempt::Held(Holder::Clearing) if started.elapsed() > PATIENCE => {
                    return Err(never_cleared(name));
                }
                Attempt::Held(Holder::Clearing) => thread::sleep(TICK),
                Attempt::Held(Holder::Nobody) | Attempt::Removed => {}
            }
        }
    }

    fn lock(&self, file: File, range: Range, name: &ContainerName) -> Result<Attempt> {
        let path = self.path(name);
        if !locked(&file, range, &path)? {
            return holder(&file, &path).map(Attempt::Held);
        }
        let about = file.metadata().map_err(|e| failed("look at", &path, &e))?;
        // The former holder may have removed it between our open and our lock.
        if about.nlink() == 0 {
            return Ok(Attempt::Removed);
        }
        own(&about, &path)?;
        let name = name.clone();
        Ok(Attempt::Taken(Claim { file, path, name, length: about.len(), forgotten: false }))
    }

    fn open_or_create(&self, name: &ContainerName) -> Result<File> {
        self.refuse_others_folder()?;
        let path = self.path(name);
        let open = || record_options().create(true).mode(0o600).open(&path);
        let opened = match open() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.create()?;
                open()
            }
            opened => opened,
        };
        opened.map_err(|e| failed("create", &path, &e).hint(state_hint()))
    }

    fn open_existing(&self, name: &ContainerName) -> Result<Option<File>> {
        let path = self.path(name);
        match record_options().open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("open", &path, &e)),
        }
    }
}

enum Attempt {
    Taken(Claim),
    Held(Holder),
    Removed,
}

impl Claim {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &ContainerName {
        &self.name
    }

    /// The folder that the record is in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// What the record says; `None` before the first [`write`](Claim::write).
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn record(&mut self) -> Result<Option<Record>> {
        read(&mut self.file, &self.path)
    }

    /// Records what there is, or is about to be: to be called before anything is made that outlives
    /// this process, and again when it is known what was made.
    ///
    /// # Errors
    /// If the file cannot be written; the former record then stands.
    pub fn write(&mut self, record: &Record) -> Result<()> {
        let attempt = record::line(record)
            .map_err(io::Error::from)
            .and_then(|line| self.file.write_all(&line).map(|()| line.len() as u64));
        match attempt {
            Ok(written) => {
                self.length += written;
                Ok(())
            }
            Err(error) => {
                // On a full disk half a line is in the way of the next one.
                self.file.set_len(self.length).ok();
                Err(failed("write", &self.path, &error))
            }
        }
    }

    /// Removes the record and gives the name back, once nothing is left of the container.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn forget(mut self) -> Result<()> {
        // Once it is removed, the path may be somebody else's.
        self.forgotten = true;
        self.remove()
    }

    fn renew(&mut self, clear: impl FnOnce(&Record) -> Result<()>) -> Result<()> {
        // From here on others wait instead of taking this for a running container.
        if !locked(&self.file, CLEARING, &self.path)? {
            return Err(taken(&self.name));
        }
        if let Some(record) = self.record()? {
            clear(&record)
                .map_err(|e| e.context(format!("clear away the former container {}", self.name)))?;
        }
        self.file.set_len(0).map_err(|e| failed("empty", &self.path, &e))?;
        self.length = 0;
        ofd_lock::unlock(self.file.as_fd(), CLEARING)
            .map_err(|errno| Error::kernel(format!("unlock {}", self.path.display()), errno))
    }

    fn remove(&self) -> Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", &self.path, &e)),
            _ => Ok(()),
        }
    }
}

impl Drop for Claim {
    /// Where nothing was recorded, nothing was made.
    fn drop(&mut self) {
        if self.length == 0 && !self.forgotten {
            self.remove().ok();
        }
    }
}

fn record_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // O_NONBLOCK: a FIFO that somebody put there must not make us wait.
    options.read(true).append(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}

/// A record tells what to remove and whom to kill, so nobody else's is believed. An empty file tells
/// nothing.
fn own(about: &Metadata, path: &Path) -> Result<()> {
    if about.is_file() && about.len() == 0 {
        return Ok(());
    }
    let ours = rustix::process::geteuid().as_raw();
    if about.is_file() && about.uid() == ours {
        return Ok(());
    }
    let whose = format!("{} is no file of user {ours}", path.display());
    Err(Error::new(ErrorKind::State, whose).hint(state_hint()))
}

fn state_hint() -> String {
    format!("set {FOLDER_VARIABLE} to a folder of your own")
}

fn holder(file: &File, path: &Path) -> Result<Holder> {
    let held = ofd_lock::held(file.as_fd(), BOTH)
        .map_err(|errno| Error::kernel(format!("ask for the lock of {}", path.display()), errno))?;
    Ok(match held {
        None => Holder::Nobody,
        // Adjacent ranges of one holder are one to the kernel.
        Some(RUNNER) => Holder::Runner,
        Some(_) => Holder::Clearing,
    })
}

fn locked(file: &File, range: Range, path: &Path) -> Result<bool> {
    ofd_lock::try_lock(file.as_fd(), range)
        .map_err(|errno| Error::kernel(format!("lock {}", path.display()), errno))
}

fn read(file: &mut File, path: &Path) -> Result<Option<Record>> {
    let about = file.metadata().map_err(|e| failed("look at", path, &e))?;
    own(&about, path)?;
    let mut content = Vec::new();
    io::Seek::rewind(file)
        .and_then(|()| file.read_to_end(&mut content))
        .map_err(|e| failed("read", path, &e))?;
    Ok(record::last(&content))
}

fn made_up() -> Result<ContainerName> {
    let mut bytes = [0_u8; 6];
    getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|errno| Error::kernel("getrandom", errno))?;
    bytes.map(|byte| format!("{byte:02x}")).concat().parse()
}

fn failed(verb: &str, path: &Path, error: &io::Error) -> Error {
    Error::state(format!("{verb} {}", path.display()), error)
}

fn taken(name: &ContainerName) -> Error {
    Error::new(ErrorKind::Conflict, format!("a container {name} is running already"))
        .hint("choose another --name, or see netup-run ps")
}

fn never_cleared(name: &ContainerName) -> Error {
    let what = format!("what is left of {name} has been cleared away for {} s", PATIENCE.as_secs());
    Error::new(ErrorKind::State, what).hint("look for a netup-run process that hangs")
}
