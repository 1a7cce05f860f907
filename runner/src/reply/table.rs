//! Columns as wide as their widest cell.

/// A header and the rows.
pub fn table<const N: usize>(
    headers: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let header = headers.map(str::to_owned);
    let rows: Vec<[String; N]> =
        std::iter::once(header).chain(rows.map(|row| row.map(|cell| printable(&cell)))).collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    rows.iter().map(|row| line(row, &widths)).collect()
}

fn line<const N: usize>(row: &[String; N], widths: &[usize; N]) -> String {
    let cells: Vec<String> =
        row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
    format!("{}\n", cells.join("  ").trim_end())
}

/// What a container calls itself must not move the cursor of whoever looks at it: control characters
/// are shown as Rust writes them.
#[must_use]
pub fn printable(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["a".to_owned(), "x".to_owned()], ["längere".to_owned(), "y".to_owned()]];
        let expected = "NAME     VALUE\na        x\nlängere  y\n";
        assert_eq!(table(["NAME", "VALUE"], rows.into_iter()), expected);
    }

    #[test]
    fn nothing_can_be_smuggled_onto_the_terminal() {
        let row = ["\u{1b}]0;pwned\u{7}\n\u{9b}2J".to_owned()];
        assert_eq!(table(["C"], [row].into_iter()), "C\n\\u{1b}]0;pwned\\u{7}\\n\\u{9b}2J\n");
    }
}
