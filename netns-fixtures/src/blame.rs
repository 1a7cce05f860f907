//! Errors that say what was attempted.

use std::{fmt::Display, io};

/// Puts the attempted action in front of an error and keeps its kind.
pub(crate) trait Blame<T> {
    fn blame(self, what: impl Display) -> io::Result<T>;
}

impl<T, E: Into<io::Error>> Blame<T> for Result<T, E> {
    fn blame(self, what: impl Display) -> io::Result<T> {
        self.map_err(|error| {
            let error = error.into();
            io::Error::new(error.kind(), format!("{what}: {error}"))
        })
    }
}
