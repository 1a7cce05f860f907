//! Kernels other than the machine's own: a script runs as the first process of an emulated machine
//! that has nothing but the memory, the programs it is given, and a serial line.
//!
//! Software emulation, so that it works wherever the tests do: such a machine boots in seconds.

mod archive;
mod package;

use crate::{program, tools};
use archive::Archive;
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

pub use package::Kernel;

/// What the last line says before the script's status.
const VERDICT: &str = "the script has ended with status ";

/// A machine that has not been started.
#[derive(Debug)]
pub struct Vm {
    kernel: PathBuf,
    archive: Archive,
}

impl Vm {
    /// A machine with a kernel, its modules for networks, and busybox's commands.
    pub fn new(kernel: &Kernel) -> io::Result<Self> {
        let mut archive = Archive::default();
        for folder in ["proc", "sys", "dev", "tmp", "run", "var", "etc", "root"] {
            archive.folder(Path::new(folder));
        }
        archive.link(Path::new("var/run"), "/run");
        archive.file(Path::new("busybox"), &fs::read(tools::find("busybox")?)?, true);
        archive.file(Path::new("init"), INIT.as_bytes(), true);
        for (path, content) in kernel.modules()? {
            archive.file(&path, &content, false);
        }
        Ok(Self { kernel: kernel.image()?, archive })
    }

    /// Gives it a program under a name, with the libraries that it needs.
    pub fn with_program(mut self, name: &str, program: &Path) -> io::Result<Self> {
        self.archive.file(&Path::new("bin").join(name), &stripped(program)?, true);
        for library in libraries(program)? {
            self.archive.file(
                library.strip_prefix("/").unwrap_or(&library),
                &fs::read(&library)?,
                true,
            );
        }
        Ok(self)
    }

    /// Gives it one of the machine's tools.
    pub fn with_tool(self, tool: &str) -> io::Result<Self> {
        self.with_program(tool, &tools::find(tool)?)
    }

    /// Gives it a file.
    pub fn with_file(mut self, path: &str, content: &str) -> Self {
        self.archive.file(Path::new(path), content.as_bytes(), false);
        self
    }

    /// Runs a script to its end, of which each line must succeed, and returns what came by the serial
    /// line. If it fails, or is not done by the deadline, that is the error.
    pub fn run(mut self, script: &str, deadline: Duration) -> io::Result<String> {
        self.archive.file(Path::new("script"), script.as_bytes(), false);
        let initramfs = tempfile::NamedTempFile::new()?;
        fs::write(initramfs.path(), self.archive.finish())?;
        let mut command = Command::new(tools::find("qemu-system-x86_64")?);
        command.args(["-accel", "tcg", "-smp", "1", "-m", "1024", "-nodefaults", "-no-reboot"]);
        command.args(["-display", "none", "-serial", "stdio", "-monitor", "none"]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(initramfs.path());
        command.args(["-append", "console=ttyS0 quiet panic=-1 reboot=t random.trust_cpu=on"]);
        let console = program::run(command, b"", deadline)?.success()?.replace('\r', "");
        match console.contains(&format!("{VERDICT}0\n")) {
            true => Ok(console),
            false => Err(io::Error::other(format!("the machine said:\n{console}"))),
        }
    }
}

/// Without the symbols, which are most of it.
fn stripped(program: &Path) -> io::Result<Vec<u8>> {
    let smaller = tempfile::NamedTempFile::new()?;
    let mut command = Command::new(tools::find("strip")?);
    command.arg("-o").arg(smaller.path()).arg(program);
    program::run(command, b"", Duration::from_secs(60))?.success()?;
    fs::read(smaller.path())
}

/// The shared libraries of a program and its loader; none of a static one.
fn libraries(program: &Path) -> io::Result<Vec<PathBuf>> {
    let mut command = Command::new(tools::find("ldd")?);
    command.arg(program);
    let ended = program::run(command, b"", Duration::from_secs(60))?;
    let words = ended.stdout.split_whitespace().filter(|word| word.starts_with('/'));
    let paths = words.filter(|word| !word.ends_with(':')).map(PathBuf::from);
    Ok(paths.collect())
}

/// A shell that stops at the first command that fails and tells which it was.
const INIT: &str = r#"#!/busybox sh
/busybox mkdir -p /bin /sbin
/busybox --install -s /sbin
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
depmod
ip link set lo up
sh -ex /script
echo "the script has ended with status $?"
reboot -f
"#;
