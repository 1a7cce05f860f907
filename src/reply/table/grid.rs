//! The listing: columns as wide as their widest cell.

use netup::Status;

use super::one_line;
use crate::reply::paint::{Ink, Paint};

const HEADERS: [&str; 7] = ["ID", "IFNAME", "TARGET", "STATE", "HOST-LINK", "ADDRESSES", "PUBLISH"];
const STATE: usize = 3;

/// A header, and a row per attachment.
pub fn list(all: &[Status], paint: Paint) -> String {
    let rows: Vec<[String; 7]> = all.iter().map(cells).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADERS[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; 7] = std::array::from_fn(width);
    let header = HEADERS.map(str::to_owned);
    let mut text = line(&header, &widths, |_, cell| paint.ink(Ink::Bold, &cell));
    for (status, row) in all.iter().zip(&rows) {
        let coloured = |column, cell| match column {
            STATE => super::state(status.state, widths[STATE], paint),
            _ => cell,
        };
        text += &line(row, &widths, coloured);
    }
    text
}

fn cells(status: &Status) -> [String; 7] {
    let attachment = &status.attachment;
    [
        attachment.id.container.to_string(),
        attachment.id.ifname.to_string(),
        attachment.target.to_string(),
        super::state(status.state, 0, Paint::never()),
        attachment.host_ifname.to_string(),
        joined(&attachment.addresses),
        joined(&attachment.publish),
    ]
    .map(|cell| one_line(&cell))
}

fn joined<T: ToString>(values: &[T]) -> String {
    match values {
        [] => "-".to_owned(),
        _ => values.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    }
}

fn line(
    cells: &[String; 7],
    widths: &[usize; 7],
    finish: impl Fn(usize, String) -> String,
) -> String {
    let last = cells.len() - 1;
    let cell = |(i, cell): (usize, &String)| {
        let width = if i == last { 0 } else { widths[i] };
        finish(i, format!("{cell:width$}"))
    };
    cells.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ") + "\n"
}
