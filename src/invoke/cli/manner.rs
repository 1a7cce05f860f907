//! `--json` and `--color`, read from the bare words, since a line that clap refuses is answered in
//! the form that it asks for too.

use std::ffi::{OsStr, OsString};

use crate::invoke::{Color, Form, Manner};

/// In which form the caller wants the reply, whatever else the line says.
pub fn manner(words: &[OsString]) -> Manner {
    let options = || words.iter().take_while(|word| *word != "--");
    let form = if options().any(|word| word == "--json") { Form::Json } else { Form::Text };
    let mut color = Color::Auto;
    for (at, word) in options().enumerate() {
        let inline = word.to_str().and_then(|word| word.strip_prefix("--color="));
        let next = || words.get(at + 1).and_then(|next| next.to_str());
        let value = if word == OsStr::new("--color") { next() } else { inline };
        color = value.map_or(color, parse);
    }
    Manner { form, color }
}

/// An unknown value is refused by clap; here it only decides how that refusal looks.
fn parse(value: &str) -> Color {
    match value {
        "always" => Color::Always,
        "never" => Color::Never,
        _ => Color::Auto,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> (Form, Color) {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let manner = manner(&words);
        (manner.form, manner.color)
    }

    #[test]
    fn it_is_known_of_any_line() {
        assert_eq!(of("netup"), (Form::Text, Color::Auto));
        assert_eq!(of("netup --nonsense --json"), (Form::Json, Color::Auto));
        assert_eq!(of("netup ls --color never"), (Form::Text, Color::Never));
        assert_eq!(of("netup ls --color=always"), (Form::Text, Color::Always));
        assert_eq!(of("netup ls --color"), (Form::Text, Color::Auto));
        assert_eq!(of("netup up -- --json"), (Form::Text, Color::Auto));
    }
}
