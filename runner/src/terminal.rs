//! The container's terminal: made inside, played by the runner outside.
//!
//! It is one of the container's own devpts, so that nothing in the container can reach the caller's
//! terminal. The master travels to the runner, which copies between it and its own standard input
//! and output.

mod flow;
mod raw;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, openat};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{SpecialCodeIndex, Winsize, isatty, tcgetattr, tcgetwinsize, tcsetwinsize};

use crate::error::{Error, Result};
use crate::sys::pty::{self, Pair};
use flow::Flow;
use raw::Raw;

/// The size of a terminal where there is none to take it from: the VT100's.
const USUAL_SIZE: Winsize = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };

/// Makes the container's terminal, and puts it at `/dev/console` as well.
///
/// To be called inside, with the container's `/dev`, which is a file system of our own making.
pub fn open(dev: impl AsFd) -> Result<Pair> {
    let pair = pty::open(dev.as_fd()).map_err(|errno| {
        Error::kernel("open a terminal at /dev/pts/ptmx of the container", errno)
    })?;
    put_at_console(dev, &pair.slave)
        .map_err(|errno| Error::kernel("mount the terminal at /dev/console", errno))?;
    Ok(pair)
}

fn put_at_console(dev: impl AsFd, slave: &OwnedFd) -> rustix::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let console = openat(dev, "console", flags, Mode::from_raw_mode(0o600))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(slave, "", flags)?;
    let by_descriptor =
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&tree, "", &console, "", by_descriptor)
}

/// Gives a new terminal the size of the caller's, or 80 by 24 if there is none. To be called before the
/// command is started, for it may ask at once.
pub fn size_as_callers(master: impl AsFd) -> Result<()> {
    let callers = [stdin(), stdout(), stderr()].into_iter().find_map(|fd| tcgetwinsize(fd).ok());
    let size = callers.filter(|size| size.ws_row > 0 && size.ws_col > 0).unwrap_or(USUAL_SIZE);
    tcsetwinsize(master, size).map_err(|errno| Error::kernel("set the terminal's size", errno))
}

/// The runner's side of the container's terminal.
#[derive(Debug)]
pub struct Terminal {
    master: OwnedFd,
    raw: Option<Raw>,
    /// Keys.
    input: Flow,
    /// What is to be seen.
    output: Flow,
}

impl Terminal {
    /// Takes over the master side. If it is `interactive`, standard input is read; and if that is a
    /// terminal, it is made raw until this is dropped, so that every key reaches the container.
    pub fn new(master: OwnedFd, interactive: bool) -> Result<Self> {
        let failed = |errno| Error::kernel("take over the container's terminal", errno);
        size_as_callers(&master)?;
        let flags = fcntl_getfl(&master).map_err(failed)?;
        fcntl_setfl(&master, flags | OFlags::NONBLOCK).map_err(failed)?;
        let raw = if interactive && isatty(stdin()) { Some(Raw::enter()?) } else { None };
        let input = if interactive { Flow::new() } else { Flow::ended() };
        Ok(Self { master, raw, input, output: Flow::new() })
    }

    /// The caller's terminal has another size, perhaps.
    pub fn resize(&self) {
        // A matter of looks, and the container may be gone.
        size_as_callers(&self.master).ok();
    }

    /// The caller's terminal as it was, while the runner is stopped.
    pub fn suspend(&self) {
        if let Some(raw) = &self.raw {
            raw.leave();
        }
    }

    /// Raw again, whatever became of it meanwhile.
    pub fn resume(&self) -> Result<()> {
        self.raw.as_ref().map_or(Ok(()), Raw::again)?;
        self.resize();
        Ok(())
    }

    /// What to wait for before the next [`copy`](Self::copy).
    pub fn waits_for(&self) -> impl Iterator<Item = PollFd<'_>> {
        let keys = self.input.wants_more().then(|| (stdin(), PollFlags::IN));
        let screen = self.output.has_some().then(|| (stdout(), PollFlags::OUT));
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, self.output.wants_more());
        flags.set(PollFlags::OUT, self.input.has_some());
        let master = (!flags.is_empty()).then(|| (self.master.as_fd(), flags));
        let all = [keys, screen, master].into_iter().flatten();
        all.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags))
    }

    /// Copies what can be copied at once.
    pub fn copy(&mut self) {
        if self.input.wants_more() && is_ready(stdin(), PollFlags::IN) {
            self.input.fill(stdin());
            if self.input.has_ended() {
                self.say_end_of_input();
            }
        }
        self.input.drain(self.master.as_fd());
        self.show();
    }

    /// Copies what is left after the end of the container, as far as that goes without waiting. Whether
    /// that was all.
    pub fn finish(&mut self) -> bool {
        loop {
            self.show();
            if self.output.has_some() {
                return false;
            }
            self.output.fill(self.master.as_fd());
            // Dry: the kernel hands over what is on its way before it says so (n_tty_read).
            if !self.output.has_some() {
                return true;
            }
        }
    }

    fn show(&mut self) {
        if self.output.wants_more() {
            self.output.fill(self.master.as_fd());
        }
        // Standard output is the caller's open file, so it is not made non-blocking. What is ready takes
        // a piece of this size at least (PIPE_BUF, pipe(7)).
        if self.output.has_some() && is_ready(stdout(), PollFlags::OUT) {
            self.output.drain(stdout());
        }
    }

    /// A terminal has no end of input, only a key for it: to the kernel where it edits lines, and to
    /// programs that do it themselves. Within a line the first press ends the line only.
    fn say_end_of_input(&mut self) {
        let Ok(attributes) = tcgetattr(&self.master) else { return };
        let key = attributes.special_codes[SpecialCodeIndex::VEOF];
        let within_line = self.input.last().is_some_and(|byte| byte != b'\n');
        self.input.put(&[key; 2][usize::from(!within_line)..]);
    }
}

fn is_ready(fd: BorrowedFd<'_>, flags: PollFlags) -> bool {
    let at_once = Timespec::default();
    let mut one = [PollFd::from_borrowed_fd(fd, flags)];
    poll(&mut one, Some(&at_once)).is_ok_and(|ready| ready > 0)
}
