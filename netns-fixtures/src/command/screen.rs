//! What the demo prints: heads, commands, and checks with a mark. Colour only where it is seen.

use std::{
    env,
    fmt::Display,
    io::{self, IsTerminal},
};

const GREEN: &str = "32";
const RED: &str = "31";
const BOLD: &str = "1";
const DIM: &str = "2";

/// The terminal, and the tally of checks.
pub struct Screen {
    colour: bool,
    passed: u32,
    failed: u32,
}

impl Screen {
    /// Colours a terminal, unless NO_COLOR says otherwise (<https://no-color.org>).
    pub fn new() -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: io::stdout().is_terminal() && !refused, passed: 0, failed: 0 }
    }

    /// Begins a part.
    pub fn head(&self, title: &str) {
        println!("\n{}", self.painted(BOLD, title));
    }

    /// A command as one would type it.
    pub fn command(&self, line: &str) {
        println!("  {} {}", self.painted(DIM, "$"), self.painted(BOLD, line));
    }

    /// Text that belongs to the part.
    pub fn text(&self, text: impl Display) {
        text.to_string().lines().for_each(|line| println!("  {line}"));
    }

    /// A measured figure beside the point.
    pub fn note(&self, text: &str) {
        println!("  {}", self.painted(DIM, text));
    }

    /// One check: the fact that was measured, or what is wrong.
    pub fn check(&mut self, what: &str, outcome: io::Result<String>) {
        let (mark, fact) = match outcome {
            Ok(fact) => (self.painted(GREEN, "✓"), self.painted(DIM, &fact)),
            Err(error) => (self.painted(RED, "✗"), self.painted(RED, &error.to_string())),
        };
        if mark.contains('✓') {
            self.passed += 1
        } else {
            self.failed += 1
        }
        println!("  {mark} {what:<44} {fact}");
    }

    /// How many checks passed.
    pub fn passed(&self) -> u32 {
        self.passed
    }

    /// How many checks failed.
    pub fn failed(&self) -> u32 {
        self.failed
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
