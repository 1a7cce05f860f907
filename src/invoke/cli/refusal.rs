//! clap's multi-line refusals as one line with cause and remedy.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use netup::Error;

use super::words::Arranged;

/// The refusal as our own error.
pub fn one_line(refusal: &clap::Error, arranged: &Arranged) -> Error {
    match own(refusal) {
        Some(error) => error,
        None => Error::invalid(cause(refusal)).hint(remedy(refusal, arranged)),
    }
}

/// A value that one of our own types refused: that has its cause and remedy already.
fn own(refusal: &clap::Error) -> Option<Error> {
    let source = std::error::Error::source(refusal)?;
    let error = source.downcast_ref::<Error>()?;
    let again = Error::new(error.kind(), error.message());
    Some(match error.remedy() {
        Some(remedy) => again.hint(remedy),
        None => again,
    })
}

fn cause(refusal: &clap::Error) -> String {
    let argument = said(refusal, ContextKind::InvalidArg);
    let value = said(refusal, ContextKind::InvalidValue);
    match refusal.kind() {
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            format!("option {argument} is unknown")
        }
        ErrorKind::UnknownArgument => format!("{argument:?} is one word too many"),
        ErrorKind::InvalidSubcommand => {
            format!("there is no command {:?}", said(refusal, ContextKind::InvalidSubcommand))
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "nothing is asked for".to_owned()
        }
        ErrorKind::MissingRequiredArgument => format!("{argument} is missing"),
        ErrorKind::InvalidValue if value.is_empty() => format!("{argument} needs a value"),
        ErrorKind::InvalidValue => format!("{argument} cannot be {value:?}"),
        ErrorKind::TooManyValues => format!("{argument} takes no value"),
        ErrorKind::ArgumentConflict => conflict(refusal, &argument),
        ErrorKind::InvalidUtf8 => "an argument is not valid UTF-8".to_owned(),
        // clap adds kinds between releases; its own first line is better than nothing.
        _ => first_line(refusal),
    }
}

fn conflict(refusal: &clap::Error, argument: &str) -> String {
    match said(refusal, ContextKind::PriorArg) {
        prior if prior == argument => format!("{argument} is given twice"),
        prior => format!("{argument} and {prior} contradict each other"),
    }
}

fn remedy(refusal: &clap::Error, arranged: &Arranged) -> String {
    let help = match arranged.verb() {
        Some(verb) if verb != "help" => format!("netup {verb} --help"),
        _ => "netup --help".to_owned(),
    };
    let suggested = said(refusal, ContextKind::SuggestedArg);
    let possible = said(refusal, ContextKind::ValidValue);
    match refusal.kind() {
        ErrorKind::UnknownArgument if !suggested.is_empty() => format!("did you mean {suggested}?"),
        ErrorKind::InvalidValue if !possible.is_empty() => format!("use one of {possible}"),
        ErrorKind::MissingSubcommand => {
            "write netup TARGET ADDRESS, or see netup --help".to_owned()
        }
        _ => format!("see {help}"),
    }
}

/// What clap noted under this heading, without the brackets of its notation.
fn said(refusal: &clap::Error, kind: ContextKind) -> String {
    match refusal.get(kind) {
        Some(ContextValue::String(text)) => bare(text),
        Some(ContextValue::Strings(texts)) => {
            texts.iter().map(|text| bare(text)).collect::<Vec<_>>().join(", ")
        }
        _ => String::new(),
    }
}

/// `--mtu <BYTES>` is `--mtu`, `<TARGET>` is `TARGET`.
fn bare(notation: &str) -> String {
    match notation.split_once(" <") {
        Some((option, _)) => option.to_owned(),
        None => notation.trim_matches(['<', '>', '.']).to_owned(),
    }
}

fn first_line(refusal: &clap::Error) -> String {
    let text = refusal.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}
