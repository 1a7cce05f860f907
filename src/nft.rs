//! The nft program: only for the static rules, once per boot, and to read them back for a check.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// nft answers within milliseconds, unless others change rules all the time: then it reads them
/// anew. One that hangs must not hang the caller.
const DEADLINE: Duration = Duration::from_secs(60);
/// Where Debian and others keep it, which need not be on an ordinary user's PATH.
const FURTHER_FOLDERS: &str = "/usr/sbin:/sbin:/usr/local/sbin";

/// Loads a script into the calling thread's network namespace, in one transaction.
pub fn load(script: &str) -> Result<()> {
    run(&["-f", "-"], script).map(drop)
}

/// The table `inet netup` as nft's JSON.
pub fn list_json(table: &str) -> Result<String> {
    run(&["-j", "list", "table", "inet", table], "")
}

fn run(arguments: &[&str], input: &str) -> Result<String> {
    let operation = || format!("nft {}", arguments.join(" "));
    let failed = |e: std::io::Error| Error::io(operation(), &e).with_kind(ErrorKind::Nft);
    let mut child = Command::new(find()?)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // Both outputs are read beside the wait: a full pipe would make nft wait for us.
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(failed)?;
    }
    let success = wait(&mut child).map_err(failed)?;
    let (stdout, stderr) = (collect(stdout), collect(stderr));
    match success {
        Some(true) => Ok(stdout),
        Some(false) => Err(refused(&operation(), &stderr)),
        None => Err(Error::new(
            ErrorKind::Nft,
            format!("{} did not end within {DEADLINE:?}", operation()),
        )),
    }
}

fn refused(operation: &str, stderr: &str) -> Error {
    let first = stderr.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no message");
    let error = Error::new(ErrorKind::Nft, format!("{operation} failed: {first}"));
    if stderr.contains("Operation not permitted") {
        return error.with_kind(ErrorKind::NotPermitted).hint("run as root, or with CAP_NET_ADMIN");
    }
    error.hint("netup doctor tells which feature of nf_tables the kernel lacks")
}

fn find() -> Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders =
        path.split(':').chain(FURTHER_FOLDERS.split(':')).filter(|folder| !folder.is_empty());
    let mut programs = folders.map(|folder| PathBuf::from(folder).join("nft"));
    programs.find(|program| program.is_file()).ok_or_else(|| {
        Error::new(ErrorKind::MissingTool, "the program nft is not installed")
            .hint("install the package nftables (apt-get install nftables)")
    })
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read up to a failure is still worth showing.
        if let Some(mut pipe) = pipe {
            drop(pipe.read_to_end(&mut bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn collect(reader: thread::JoinHandle<String>) -> String {
    reader.join().unwrap_or_default()
}

/// Whether the child succeeded; `None` if it had to be killed.
fn wait(child: &mut Child) -> std::io::Result<Option<bool>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if start.elapsed() > DEADLINE {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_micros(200));
    }
}
