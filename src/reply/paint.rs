//! Colours, which may be off.

use std::env;
use std::ffi::OsString;

use crate::invoke::Color;

/// A colour, or a weight, of text.
#[derive(Debug, Clone, Copy)]
pub enum Ink {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
}

impl Ink {
    /// The parameter of the escape sequence "select graphic rendition" (ECMA-48, 8.3.117).
    fn parameter(self) -> u8 {
        match self {
            Self::Bold => 1,
            Self::Dim => 2,
            Self::Red => 31,
            Self::Green => 32,
            Self::Yellow => 33,
        }
    }
}

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    /// Decides for a stream.
    pub fn choose(color: Color, is_terminal: bool) -> Self {
        Self::decide(color, is_terminal, env::var_os("NO_COLOR"), env::var_os("TERM"))
    }

    fn decide(
        color: Color,
        is_terminal: bool,
        no_color: Option<OsString>,
        term: Option<OsString>,
    ) -> Self {
        match color {
            Color::Always => Self(true),
            Color::Never => Self(false),
            Color::Auto => {
                // https://no-color.org: set and not empty.
                let forbidden = no_color.is_some_and(|value| !value.is_empty());
                Self(is_terminal && !forbidden && term.is_none_or(|term| term != "dumb"))
            }
        }
    }

    /// No colours, for text that is measured.
    pub const fn never() -> Self {
        Self(false)
    }

    #[cfg(test)]
    pub const fn always() -> Self {
        Self(true)
    }

    pub fn is_on(self) -> bool {
        self.0
    }

    /// The text in this ink. Pad before: the escape sequences have length but no width.
    pub fn ink(self, ink: Ink, text: &str) -> String {
        match self.0 && !text.is_empty() {
            true => format!("\x1b[{}m{text}\x1b[0m", ink.parameter()),
            false => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(color: Color, is_terminal: bool, no_color: Option<&str>, term: Option<&str>) -> bool {
        Paint::decide(color, is_terminal, no_color.map(Into::into), term.map(Into::into)).is_on()
    }

    #[test]
    fn only_on_a_terminal_that_wants_it() {
        assert!(decide(Color::Auto, true, None, Some("xterm")));
        assert!(decide(Color::Auto, true, Some(""), None));
        assert!(!decide(Color::Auto, false, None, Some("xterm")));
        assert!(!decide(Color::Auto, true, Some("1"), None));
        assert!(!decide(Color::Auto, true, None, Some("dumb")));
    }

    #[test]
    fn the_option_overrides() {
        assert!(decide(Color::Always, false, Some("1"), Some("dumb")));
        assert!(!decide(Color::Never, true, None, None));
        assert_eq!(Paint(true).ink(Ink::Red, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(Paint::never().ink(Ink::Red, "x"), "x");
    }
}
