//! One JSON document per call, on one line. The keys are documented in `docs/json.md`, which a test
//! below holds against what is written here.

use netup::ident::AttachmentId;
use netup::{Collected, Error};
use serde::Serialize;

/// The document of anything that serialises itself.
pub fn document<T: Serialize + ?Sized>(facts: &T) -> String {
    let text = serde_json::to_string(facts);
    text.expect("text keys and plain values always serialise") + "\n"
}

/// The document of `gc`, whose failures are errors in full.
pub fn collected(collected: &Collected) -> String {
    let failed = collected.failed.iter().map(|(id, error)| Failed { id, error: error.into() });
    document(&CollectedFacts { removed: &collected.removed, failed: failed.collect() })
}

/// The document of `reload --remove`.
pub fn ruleset_removed() -> String {
    document(&Removed { removed: true })
}

/// The document on standard error.
pub fn error(error: &Error) -> String {
    document(&Refused { error: error.into() })
}

#[derive(Serialize)]
struct CollectedFacts<'a> {
    removed: &'a [AttachmentId],
    failed: Vec<Failed<'a>>,
}

#[derive(Serialize)]
struct Failed<'a> {
    #[serde(flatten)]
    id: &'a AttachmentId,
    error: ErrorFacts<'a>,
}

#[derive(Serialize)]
struct Removed {
    removed: bool,
}

#[derive(Serialize)]
struct Refused<'a> {
    error: ErrorFacts<'a>,
}

#[derive(Serialize)]
struct ErrorFacts<'a> {
    kind: &'static str,
    message: String,
    remedy: Option<&'a str>,
    exit_code: u8,
}

impl<'a> From<&'a Error> for ErrorFacts<'a> {
    fn from(error: &'a Error) -> Self {
        Self {
            kind: error.kind().as_str(),
            message: error.message(),
            remedy: error.remedy(),
            exit_code: error.kind().exit_code(),
        }
    }
}

#[cfg(test)]
mod tests;
