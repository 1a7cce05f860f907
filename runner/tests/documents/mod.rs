//! Documents that can be followed: what is in their `console` blocks is done, and its output compared.
//!
//! A line that begins with a prompt is a command: `root#` on the host, `user$` an ordinary user there,
//! `elsewhere$` on another machine. A backslash at its end continues it. The lines after it are all
//! that it says, on both outputs. In them `…` stands for anything within a line, and alone on a line
//! for any number of lines; several blanks count as one. A command must succeed.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use netns_fixtures::Node;
use netns_fixtures::runner::{Ground, Runner, User};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// A command of a document takes milliseconds; packing and unpacking, a second.
const DEADLINE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(2);
/// No program prints it.
const END: char = '\u{1}';

/// The fenced blocks of a language, each with the number of its first line.
pub fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let (mut block, mut found) = (None::<(usize, String)>, Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        match &mut block {
            None if line == format!("```{language}") => block = Some((number + 1, String::new())),
            None => {}
            Some(_) if line == "```" => found.extend(block.take()),
            Some((_, block)) => writeln!(block, "{line}").unwrap(),
        }
    }
    found
}

/// Who types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Root on the host.
    Root,
    /// An ordinary user on the host.
    User,
    /// Somebody on another machine.
    Elsewhere,
}

const PROMPTS: [(&str, Who); 3] =
    [("root# ", Who::Root), ("user$ ", Who::User), ("elsewhere$ ", Who::Elsewhere)];

/// A command of a document, and what it says there.
#[derive(Debug)]
pub struct Told {
    line: usize,
    who: Who,
    /// As typed.
    pub command: String,
    output: Vec<String>,
}

/// The commands of a document, in order.
#[track_caller]
pub fn commands(text: &str) -> Vec<Told> {
    let mut all: Vec<Told> = Vec::new();
    for (first, block) in blocks(text, "console") {
        let mut own: Vec<Told> = Vec::new();
        for (line, words) in (first..).zip(block.lines()) {
            let prompt = PROMPTS.iter().find_map(|(prompt, who)| {
                words.strip_prefix(prompt).map(|command| (*who, command.to_owned()))
            });
            match (prompt, own.last_mut()) {
                (Some((who, command)), _) => {
                    own.push(Told { line, who, command, output: Vec::new() });
                }
                (None, Some(last)) if last.is_continued() => {
                    last.command += &format!("\n{words}");
                }
                (None, Some(last)) => last.output.push(words.to_owned()),
                (None, None) => panic!("line {line} answers nobody: {words}"),
            }
        }
        all.extend(own);
    }
    all
}

impl Told {
    fn is_continued(&self) -> bool {
        self.output.is_empty() && self.command.ends_with('\\')
    }

    /// Whether it may be asked again: a reader comes to it later than a program does, when what was
    /// started before it is ready.
    fn only_looks(&self) -> bool {
        let looking = ["wget ", "ping ", "netup-run ps", "netup-run stats"];
        looking.iter().any(|start| self.command.starts_with(start))
    }
}

/// Where the commands of a document are typed: a shell for each of who types.
pub struct Desk<'a> {
    ground: &'a Ground,
    user: User,
    shells: Vec<(Who, Shell)>,
}

impl<'a> Desk<'a> {
    /// Nothing is typed yet.
    #[track_caller]
    pub fn new(ground: &'a Ground) -> Self {
        Self { ground, user: ground.user().expect("a user"), shells: Vec::new() }
    }

    /// Does what a document tells, from its first to its last command.
    #[track_caller]
    pub fn follow(&mut self, document: &str, all: &[Told]) {
        for told in all {
            let (started, mut heard) = (Instant::now(), Vec::new());
            loop {
                let (status, said) = self.type_in(told);
                if status == 0 && agrees(&told.output, &said.lines().collect::<Vec<_>>()) {
                    break;
                }
                // What went on in the background may have ended with a complaint.
                heard.push(format!("ends with {status} and says\n{said}"));
                heard.dedup();
                let again = told.only_looks() && started.elapsed() < DEADLINE;
                assert!(again, "{document}:{}: {}\n{}", told.line, told.command, heard.concat());
                thread::sleep(TICK * 50);
            }
        }
    }

    /// The status and all that is said.
    fn type_in(&mut self, told: &Told) -> (i32, String) {
        let known = self.shells.iter().position(|(who, _)| *who == told.who);
        let at = known.unwrap_or_else(|| {
            self.shells.push((told.who, self.shell(told.who)));
            self.shells.len() - 1
        });
        let (status, said) = self.shells[at].1.obey(&told.command);
        (status, self.in_usual_places(told.who, &said))
    }

    fn runner(&self, who: Who) -> Runner {
        match who {
            Who::Root | Who::Elsewhere => self.ground.runner(),
            Who::User => self.ground.runner_of(&self.user),
        }
    }

    fn shell(&self, who: Who) -> Shell {
        let runner = self.runner(who);
        let node: &Node =
            if who == Who::Elsewhere { self.ground.outside() } else { self.ground.host() };
        let mut command = node.command("setpriv");
        if who == Who::User {
            let id = self.user.id.to_string();
            command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
        }
        command.args(["--", "/bin/sh"]).env_clear().envs(runner.variables());
        let folder = runner.program().parent().expect("a folder").display().to_string();
        let path = runner.variables().into_iter().find(|(key, _)| *key == "PATH");
        let path = path.map(|(_, path)| path.to_string_lossy().into_owned()).unwrap_or_default();
        command.env("PATH", format!("{folder}:{path}"));
        command.current_dir(runner.folder("work").expect("a folder to work in"));
        Shell::start(command)
    }

    /// A document names the places that a reader's machine has.
    fn in_usual_places(&self, who: Who, said: &str) -> String {
        let runner = self.runner(who);
        let (store, state) = match who {
            Who::User => ("/home/user/.local/share/netup-run", "/run/user/1000/netup-run"),
            Who::Root | Who::Elsewhere => ("/var/lib/netup-run", "/run/netup-run"),
        };
        let said = said.replace(&runner.store().display().to_string(), store);
        said.replace(&runner.state().display().to_string(), state)
    }
}

/// Whether a command said what the document says that it says.
fn agrees(told: &[String], said: &[&str]) -> bool {
    match (told.split_first(), said.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((first, rest)), _) if first == "…" => {
            (0..=said.len()).any(|skipped| agrees(rest, &said[skipped..]))
        }
        (Some(_), None) => false,
        (Some((first, rest)), Some((line, others))) => {
            line_agrees(first, line) && agrees(rest, others)
        }
    }
}

fn line_agrees(told: &str, said: &str) -> bool {
    let [told, said] = [told, said].map(one_blank_each);
    let said = said.trim_end();
    let Some((start, rest)) = told.split_once('…') else { return told == said };
    let Some(mut left) = said.strip_prefix(start) else { return false };
    let mut parts = rest.split('…').collect::<Vec<_>>();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(end)
}

/// Columns are as wide as what is in them.
fn one_blank_each(line: &str) -> String {
    line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A shell that reads commands as they come. It is ended when this goes out of scope.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: File,
    read: u64,
}

impl Shell {
    fn start(mut command: Command) -> Self {
        // A file and no pipe: what goes on in the background holds it too.
        let place = tempfile::NamedTempFile::new().expect("a file");
        let end = || File::options().append(true).open(place.path()).expect("the file's end");
        command.stdin(Stdio::piped()).stdout(end()).stderr(end()).process_group(0);
        let output = place.reopen().expect("the file again");
        let mut child = command.spawn().expect("a shell");
        let input = child.stdin.take().expect("its input");
        Self { child, input, output, read: 0 }
    }

    #[track_caller]
    fn obey(&mut self, command: &str) -> (i32, String) {
        let script = format!("{{ {command}\n}} </dev/null\nprintf '\\001%d\\n' $?\n");
        self.input.write_all(script.as_bytes()).expect("a shell that listens");
        let started = Instant::now();
        loop {
            if let Some(answer) = self.answer() {
                return answer;
            }
            let said = self.said();
            assert!(started.elapsed() < DEADLINE, "{command} does not end: {said}");
            thread::sleep(TICK);
        }
    }

    fn said(&mut self) -> String {
        let mut bytes = Vec::new();
        self.output.seek(SeekFrom::Start(self.read)).expect("a position");
        self.output.read_to_end(&mut bytes).expect("the output");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn answer(&mut self) -> Option<(i32, String)> {
        let said = self.said();
        let (text, status) = said.split_once(END)?;
        let (status, _) = status.split_once('\n')?;
        self.read += said.len() as u64;
        Some((status.parse().expect("a status"), text.to_owned()))
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // With what it has left in the background.
        let group = i32::try_from(self.child.id()).expect("a process id");
        killpg(Pid::from_raw(group), Signal::SIGKILL).ok();
        self.child.wait().ok();
    }
}
