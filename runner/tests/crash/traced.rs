//! A run under ptrace(2), in which one process is killed at a chosen system call.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use netns_fixtures::Node;
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What is promised of every end.
const PROMISED: Duration = Duration::from_secs(1);
/// After this something hangs for certain.
const HANGS: Duration = Duration::from_secs(20);

/// A process of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// netup-run itself.
    Runner,
    /// The container's PID 1.
    First,
    /// What becomes the command.
    Command,
    /// Another child of the runner's, on the host.
    Helper,
    /// Whatever one of those starts, or the command.
    Other,
}

/// Who is killed when whose system calls have come to which number.
#[derive(Debug, Clone, Copy)]
pub struct Blow {
    /// Whose calls are counted.
    pub counted: Role,
    /// The call, from 1, before which it falls.
    pub at: usize,
    /// Who is killed.
    pub victim: Role,
}

/// What became of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The call before which the blow fell. `None` if the process had no so many calls.
    pub before: Option<String>,
    /// How the runner ended.
    pub runner: WaitStatus,
    /// How long all of its processes took to end after the blow.
    pub took: Duration,
    /// Whether the victim was there to be killed.
    pub struck: bool,
}

impl Outcome {
    /// Whether it took longer than is promised.
    pub fn is_late(&self) -> bool {
        self.took > PROMISED
    }
}

/// Starts a command of the laboratory stopped, so that nothing is missed, and goes on with it.
pub fn run(host: &Node, command: &Command, blow: Blow) -> Outcome {
    let mut stopped = host.command("/bin/sh");
    stopped.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]);
    stopped.arg(command.get_program()).args(command.get_args()).env_clear();
    stopped.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    stopped.current_dir(command.get_current_dir().unwrap_or(Path::new("/")));
    stopped.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Waited for below, as all others.
    #[expect(clippy::zombie_processes, reason = "waited for by waitpid below")]
    let child = stopped.spawn().expect("a start");
    let pid = Pid::from_raw(child.id().cast_signed());
    while state(pid) != Some('T') {
        thread::yield_now();
    }
    Tracer::new(pid, blow).follow()
}

fn state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whether it has come to its end: `PF_EXITING` of linux/sched.h.
fn is_ending(pid: Pid) -> bool {
    const EXITING: u64 = 4;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' '));
    let flags = fields.and_then(|mut fields| fields.nth(6)).and_then(|flags| flags.parse().ok());
    flags.is_none_or(|flags: u64| flags & EXITING != 0)
}

fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
    Some(Pid::from_raw(parent))
}

/// Of the events that tell of a new process.
const FIRST_EVENT: i32 = libc::PTRACE_EVENT_FORK;
const LAST_EVENT: i32 = libc::PTRACE_EVENT_CLONE;

struct Tracer {
    blow: Blow,
    roles: HashMap<Pid, Role>,
    runner: Pid,
    ended: Option<WaitStatus>,
    /// Nothing before netup-run itself counts.
    counts: bool,
    calls: usize,
    before: Option<String>,
    fallen: Option<Instant>,
    struck: bool,
    /// New processes of which it is not known yet what they become.
    unknown: HashSet<Pid>,
    /// Held until the victim is gone.
    held: Option<Pid>,
}

impl Tracer {
    fn new(runner: Pid, blow: Blow) -> Self {
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(runner, options).expect("PTRACE_SEIZE");
        kill(runner, Signal::SIGCONT).expect("SIGCONT");
        Self {
            blow,
            roles: HashMap::from([(runner, Role::Runner)]),
            runner,
            ended: None,
            counts: false,
            calls: 0,
            before: None,
            fallen: None,
            struck: false,
            unknown: HashSet::new(),
            held: None,
        }
    }

    /// Until every process is gone.
    fn follow(mut self) -> Outcome {
        let mut idle = Instant::now();
        loop {
            // Other tests of this process wait for children of their own.
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD | WaitPidFlag::WNOHANG;
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::StillAlive) => {
                    assert!(idle.elapsed() < HANGS, "{}", self.hanging());
                    match idle.elapsed() < Duration::from_millis(2) {
                        true => thread::yield_now(),
                        false => thread::sleep(Duration::from_micros(200)),
                    }
                    continue;
                }
                Ok(status) => self.handle(status),
                Err(Errno::ECHILD) => break,
                Err(errno) => panic!("waitpid: {errno}"),
            }
            idle = Instant::now();
        }
        Outcome {
            before: self.before,
            runner: self.ended.expect("the runner's end"),
            took: self.fallen.map_or(Duration::ZERO, |fallen| fallen.elapsed()),
            struck: self.struck,
        }
    }

    fn handle(&mut self, status: WaitStatus) {
        match status {
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _) => self.gone(pid, status),
            WaitStatus::PtraceSyscall(pid) => self.at_call(pid),
            WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC) => self.executed(pid),
            WaitStatus::PtraceEvent(pid, _, FIRST_EVENT..=LAST_EVENT) => {
                self.made(pid);
            }
            WaitStatus::PtraceEvent(pid, _, _) => self.stopped(pid),
            WaitStatus::Stopped(pid, signal) => self.resume(pid, Some(signal)),
            other => panic!("what is {other:?}"),
        }
    }

    fn gone(&mut self, pid: Pid, status: WaitStatus) {
        if pid == self.runner {
            self.ended = Some(status);
        }
        let role = self.roles.remove(&pid);
        self.unknown.remove(&pid);
        if role == Some(Role::First) {
            // They die with it, once they are let go.
            for orphan in self.unknown.drain() {
                ptrace::cont(orphan, None).ok();
            }
        }
        if role == Some(self.blow.victim)
            && self.fallen.is_some()
            && let Some(held) = self.held.take()
        {
            ptrace::cont(held, None).ok();
        }
    }

    /// The first process's one child becomes the command.
    fn made(&mut self, parent: Pid) {
        let child = ptrace::getevent(parent).ok().and_then(|pid| i32::try_from(pid).ok());
        if self.role(parent) == Role::First
            && let Some(child) = child.map(Pid::from_raw)
        {
            self.roles.insert(child, Role::Command);
            if self.unknown.remove(&child) {
                self.resume(child, None);
            }
        }
        self.resume(parent, None);
    }

    /// A new process and its parent's news of it come in any order.
    fn stopped(&mut self, pid: Pid) {
        if !self.roles.contains_key(&pid) && self.is_of_first(pid) {
            self.unknown.insert(pid);
            return;
        }
        self.resume(pid, None);
    }

    fn is_of_first(&self, pid: Pid) -> bool {
        let parent = parent(pid).and_then(|parent| self.roles.get(&parent));
        parent == Some(&Role::First)
    }

    fn executed(&mut self, pid: Pid) {
        match self.role(pid) {
            Role::Runner => {
                let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
                let name = program.file_name().unwrap_or_default().to_string_lossy();
                self.counts |= name.contains("netup-run");
            }
            // From here on it is the command.
            Role::Command => drop(self.roles.insert(pid, Role::Other)),
            Role::First | Role::Helper | Role::Other => {}
        }
        self.resume(pid, None);
    }

    fn at_call(&mut self, pid: Pid) {
        let enters = ptrace::syscall_info(pid).is_ok_and(|info| info.op == ENTRY);
        let call = enters.then(|| Call::of(pid)).flatten().filter(Call::counts);
        let Some(call) = call.filter(|_| self.fallen.is_none()) else {
            return self.resume(pid, None);
        };
        self.calls += 1;
        match self.calls == self.blow.at {
            true => self.strike(pid, &call),
            false => self.resume(pid, None),
        }
    }

    fn strike(&mut self, at: Pid, call: &Call) {
        self.before = Some(format!("{} of {at}", call.text));
        let victim = self.roles.iter().find(|(_, role)| **role == self.blow.victim);
        self.fallen = Some(Instant::now());
        let same = (self.blow.counted == self.blow.victim).then_some(at);
        let Some(victim) = same.or(victim.map(|(pid, _)| *pid)) else {
            return self.resume(at, None);
        };
        // One that has come to its own end cannot be killed any more.
        self.struck = !is_ending(victim) && kill(victim, Signal::SIGKILL).is_ok();
        if self.struck && victim != at {
            self.held = Some(at);
        } else {
            self.resume(at, None);
        }
    }

    /// One that was killed meanwhile cannot be resumed, and is heard of again.
    fn resume(&mut self, pid: Pid, signal: Option<Signal>) {
        let counted = self.role(pid) == self.blow.counted
            && self.fallen.is_none()
            && (self.counts || self.blow.counted != Role::Runner);
        let go_on = if counted { ptrace::syscall(pid, signal) } else { ptrace::cont(pid, signal) };
        assert!(matches!(go_on, Ok(()) | Err(Errno::ESRCH)), "{pid}: {go_on:?}");
    }

    fn role(&mut self, pid: Pid) -> Role {
        if let Some(role) = self.roles.get(&pid) {
            return *role;
        }
        let role = self.role_of_new(pid).unwrap_or(Role::Other);
        self.roles.insert(pid, role);
        role
    }

    /// The first of a PID namespace is the container's.
    fn role_of_new(&self, pid: Pid) -> Option<Role> {
        let own = fs::read_link("/proc/self/ns/pid").ok()?;
        let contained = fs::read_link(format!("/proc/{pid}/ns/pid")).ok()? != own;
        let is_of_runner = self.roles.get(&parent(pid)?) == Some(&Role::Runner);
        is_of_runner.then_some(if contained { Role::First } else { Role::Helper })
    }

    fn hanging(&self) -> String {
        let about = |(pid, role): (&Pid, &Role)| {
            let file = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
            format!("{role:?} {pid}: {:?} {:?}", file("stat"), file("syscall"))
        };
        let all: Vec<_> = self.roles.iter().map(about).collect();
        format!("after {:?} at {:?} these hang: {all:#?}", self.blow, self.before)
    }
}

/// `PTRACE_SYSCALL_INFO_ENTRY`.
const ENTRY: u8 = 1;

/// A system call that is about to be made.
struct Call {
    number: i64,
    first: u64,
    text: String,
}

impl Call {
    /// `/proc/PID/syscall`: the number, then arguments in hexadecimal.
    fn of(pid: Pid) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
        let mut words = text.split_whitespace();
        let number = words.next()?.parse().ok()?;
        let first = words.next().and_then(|word| word.strip_prefix("0x"));
        let first = first.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0);
        Some(Self { number, first, text: text.trim_end().to_owned() })
    }

    /// A blow before a call that changes nothing is the same as one before the next. Reading,
    /// looking, memory, mounts that are not attached, and the process's own signals change nothing.
    fn counts(&self) -> bool {
        /// Drops one capability after the other.
        const PR_CAPBSET_DROP: u64 = 24;
        let drops = self.number == libc::SYS_prctl && self.first == PR_CAPBSET_DROP;
        !drops && !QUIET.contains(&self.number)
    }
}

const QUIET: [i64; 47] = [
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_statfs,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getrandom,
    libc::SYS_getcwd,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_geteuid,
    libc::SYS_getuid,
    libc::SYS_futex,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_set_tid_address,
    libc::SYS_openat2,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_getegid,
    libc::SYS_getgid,
    libc::SYS_getsid,
    libc::SYS_ppoll,
    libc::SYS_prlimit64,
    libc::SYS_fcntl,
    libc::SYS_getpgid,
];
