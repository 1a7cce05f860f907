//! A terminal with the runner on it: the test types and looks.

#![allow(dead_code, reason = "each test file needs its part of this")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

const PATIENCE: Duration = Duration::from_secs(30);

/// A program on a terminal of its own, in its foreground.
pub struct OnTerminal {
    keyboard: File,
    /// Kept, so that the mode can be read after the program is gone.
    terminal: File,
    child: Child,
    seen: Vec<u8>,
}

impl OnTerminal {
    /// Starts it on a terminal of this many rows and columns.
    pub fn start(program: &Command, rows: u16, columns: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let keyboard = openpt(flags).unwrap();
        unlockpt(&keyboard).unwrap();
        let terminal = File::from(ioctl_tiocgptpeer(&keyboard, flags).unwrap());
        tcsetwinsize(&keyboard, size(rows, columns)).unwrap();
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(program.get_program()).args(program.get_args());
        for (key, value) in program.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        let copy = || terminal.try_clone().unwrap();
        let child = command.stdin(copy()).stdout(copy()).stderr(copy()).spawn().unwrap();
        Self { keyboard: File::from(keyboard), terminal, child, seen: Vec::new() }
    }

    /// Presses these keys.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this has been shown, and gives all that has been shown so far.
    #[track_caller]
    pub fn await_text(&mut self, text: &str) -> String {
        let started = Instant::now();
        loop {
            let shown = String::from_utf8_lossy(&self.seen).into_owned();
            if shown.contains(text) {
                return shown;
            }
            assert!(started.elapsed() < PATIENCE, "{text:?} is not shown: {shown:?}");
            self.look();
        }
    }

    fn look(&mut self) {
        let mut buffer = [0; 65536];
        let mut ready = [PollFd::new(self.keyboard.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(20_u8)).unwrap() > 0 {
            let length = self.keyboard.read(&mut buffer).unwrap();
            self.seen.extend_from_slice(&buffer[..length]);
        }
    }

    /// Whether the terminal edits lines, echoes, or sends signals.
    pub fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.keyboard, size(rows, columns)).unwrap();
    }

    /// The process that was started, which waits for the program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end; its exit code and all that was shown.
    #[track_caller]
    pub fn finish(&mut self) -> (Option<i32>, String) {
        let started = Instant::now();
        let status: ExitStatus = loop {
            self.look();
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            let shown = String::from_utf8_lossy(&self.seen);
            assert!(started.elapsed() < PATIENCE, "it does not end: {shown:?}");
        };
        while self.look_again() {}
        (status.code(), String::from_utf8_lossy(&self.seen).into_owned())
    }

    fn look_again(&mut self) -> bool {
        let before = self.seen.len();
        self.look();
        self.seen.len() > before
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
