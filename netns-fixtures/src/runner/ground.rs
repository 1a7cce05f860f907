//! Where a test runs containers: a host with an uplink, folders, users.

use super::{Root, Runner, User, user};
use crate::{Dump, Lab, Node, blame::Blame};
use nix::mount::{MsFlags, mount};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How long what is taken back by others, such as the kernel, may take.
const PATIENCE: Duration = Duration::from_secs(5);

static TURNS: RwLock<()> = RwLock::new(());

/// A host between the outside world and its containers, and a folder that goes with the process.
#[derive(Debug)]
pub struct Ground {
    folder: PathBuf,
    program: PathBuf,
    host: Node,
    outside: Node,
    // Ends last.
    _lab: Lab,
    _turn: Turn,
}

#[derive(Debug)]
#[expect(dead_code, reason = "what counts is that they are held")]
enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Ground {
    /// For the runner at `program`, beside other tests.
    pub fn new(program: impl AsRef<Path>) -> io::Result<Self> {
        let turn = Turn::Shared(TURNS.read().unwrap_or_else(PoisonError::into_inner));
        Self::make(program.as_ref(), turn)
    }

    /// The same, while no other test of this process has one.
    pub fn alone(program: impl AsRef<Path>) -> io::Result<Self> {
        let turn = Turn::Alone(TURNS.write().unwrap_or_else(PoisonError::into_inner));
        Self::make(program.as_ref(), turn)
    }

    fn make(program: &Path, turn: Turn) -> io::Result<Self> {
        let base = base()?;
        user::introduce(base)?;
        static SERIAL: AtomicU32 = AtomicU32::new(1);
        let folder = base.join(SERIAL.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&folder).blame(folder.display())?;
        let program = installed(program, base)?;
        let lab = Lab::new();
        let (host, outside) = (lab.host("host")?, lab.host("outside")?);
        lab.internet(&outside, &host)?;
        Ok(Self { folder, program, host, outside, _lab: lab, _turn: turn })
    }

    /// Where the runner runs.
    pub fn host(&self) -> &Node {
        &self.host
    }

    /// The rest of the world, which knows no way to any container.
    pub fn outside(&self) -> &Node {
        &self.outside
    }

    /// A folder of the test's own, on a tmpfs that honours devices and set-user-ID.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The runner as root calls it.
    pub fn runner(&self) -> Runner {
        Runner::new(&self.program, &self.host, &self.folder, None)
    }

    /// The runner as somebody else calls it.
    pub fn runner_of(&self, user: &User) -> Runner {
        Runner::new(&self.program, &self.host, &self.folder, Some(user.clone()))
    }

    /// An ordinary user with id ranges of [`super::user::RANGE`].
    pub fn user(&self) -> io::Result<User> {
        User::with_ranges(&self.folder)
    }

    /// An ordinary user to whom /etc/subuid gives nothing.
    pub fn user_without_ranges(&self) -> io::Result<User> {
        User::without_ranges(&self.folder)
    }

    /// A root file system with busybox, made at the first call.
    pub fn busybox(&self) -> io::Result<Root> {
        let path = self.folder.join("busybox");
        if path.is_dir() { Ok(Root::existing(path)) } else { Root::busybox(path) }
    }

    /// A root file system with the probe alone, made at the first call.
    pub fn minimal(&self) -> io::Result<Root> {
        let path = self.folder.join("minimal");
        if path.is_dir() { Ok(Root::existing(path)) } else { Root::minimal(path) }
    }

    /// What the host is like, to be compared by [`Ground::expect_unchanged`]: its network, the mount
    /// table, control groups, processes, and what `runner` keeps.
    pub fn dump(&self, runner: &Runner) -> io::Result<Dump> {
        let dump = Dump::of(&self.host)?.with_mounts()?.with_cgroups()?.with_processes()?;
        dump.with_files(runner.state())?.with_names(runner.store())
    }

    /// Panics unless the host becomes what it was within some seconds: the kernel takes back links
    /// and namespaces on its own time.
    #[track_caller]
    pub fn expect_unchanged(&self, runner: &Runner, before: &Dump) {
        let started = Instant::now();
        loop {
            let after = self.dump(runner).expect("the host's state");
            if *before == after {
                return;
            }
            let late = started.elapsed() > PATIENCE;
            assert!(!late, "the host is not what it was:\n{}", before.changes(&after));
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Ground {
    /// A runner that a test killed leaves a control group, which is not in our folder.
    fn drop(&mut self) {
        self.runner().run(&["gc"]).ok();
    }
}

/// One tmpfs per process, without the restrictions that the laboratory's /run has.
fn base() -> io::Result<&'static Path> {
    static BASE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = BASE.get_or_init(|| make_base().map_err(|error| error.to_string()));
    made.as_deref().map_err(|error| io::Error::other(error.as_str()))
}

/// A copy that everybody may run: the target folder may be one that an ordinary user cannot even
/// look into. One per process is enough.
fn installed(program: &Path, base: &Path) -> io::Result<PathBuf> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let place = base.join(program.file_name().unwrap_or_default());
    if !place.exists() {
        fs::copy(program, &place).blame(program.display())?;
    }
    Ok(place)
}

fn make_base() -> io::Result<PathBuf> {
    let base = PathBuf::from("/run/ground");
    fs::create_dir(&base).blame("create /run/ground; is the process isolated?")?;
    mount(Some("tmpfs"), &base, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .blame("mount a tmpfs on /run/ground")?;
    Ok(base)
}
