//! What the probe told.

/// The probe's lines, and what the runner said beside them.
#[derive(Debug, Clone)]
pub struct Seen {
    stdout: String,
    stderr: String,
}

impl Seen {
    pub(super) fn new(stdout: String, stderr: String) -> Self {
        Self { stdout, stderr }
    }

    /// All that was printed.
    pub fn text(&self) -> &str {
        &self.stdout
    }

    /// What the runner said on its standard error.
    pub fn complaints(&self) -> &str {
        &self.stderr
    }

    /// The lines.
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    /// What follows `key` and a space on the first line that begins so. A missing one fails the test.
    #[track_caller]
    pub fn value(&self, key: &str) -> &str {
        let begins = |line: &str| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(' '));
        let line = self.stdout.lines().find(|line| begins(line));
        let Some(line) = line else { panic!("no line of {key} in {}", self.stdout) };
        line[key.len() + 1..].trim_end()
    }

    /// Whether a line is this, from its first to its last letter.
    pub fn has_line(&self, line: &str) -> bool {
        self.stdout.lines().any(|own| own.trim_end() == line)
    }

    /// A capability set of `ids`, by the name in /proc: `CapEff` and so on.
    #[track_caller]
    pub fn capabilities(&self, set: &str) -> u64 {
        let digits = self.value(set);
        u64::from_str_radix(digits, 16).unwrap_or_else(|error| panic!("{set} {digits}: {error}"))
    }

    /// The mount points of `cat /proc/self/mountinfo`, with the type of each.
    pub fn mounts(&self) -> Vec<(&str, &str)> {
        self.stdout.lines().filter_map(mount).collect()
    }

    /// The flags of the uppermost mount at a place, of `cat /proc/self/mountinfo`. None there fails
    /// the test.
    #[track_caller]
    pub fn mount_flags(&self, at: &str) -> Vec<&str> {
        let fields = self.stdout.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mut flags =
            fields.filter(|fields| fields.get(4) == Some(&at)).filter_map(|f| f.get(5).copied());
        let Some(flags) = flags.next_back() else {
            panic!("nothing is mounted at {at}: {}", self.stdout)
        };
        flags.split(',').collect()
    }
}

fn mount(line: &str) -> Option<(&str, &str)> {
    let (front, back) = line.split_once(" - ")?;
    Some((front.split(' ').nth(4)?, back.split(' ').next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> Seen {
        Seen::new(text.to_owned(), String::new())
    }

    #[test]
    fn values_follow_their_keys() {
        let seen = seen("pid 1\nppid 0\nCapEff 00000000000000ff\n/a/b errno 13\n");
        assert_eq!((seen.value("pid"), seen.value("/a/b")), ("1", "errno 13"));
        assert_eq!(seen.capabilities("CapEff"), 0xff);
    }

    #[test]
    fn mounts_are_read_from_the_kernels_table() {
        let seen = seen("25 1 0:5 / /proc rw,nosuid shared:3 - proc proc rw\n");
        assert_eq!(seen.mounts(), [("/proc", "proc")]);
        assert_eq!(seen.mount_flags("/proc"), ["rw", "nosuid"]);
    }
}
