//! A picture of what exists, from what `netup ls --json` says.

use serde::Deserialize;
use std::io;

/// The keys of a listing that the picture shows.
#[derive(Deserialize)]
struct Attachment {
    target: String,
    ifname: String,
    host_ifname: String,
    addresses: Vec<String>,
    gateways: Vec<String>,
    nat: bool,
    publish: Vec<String>,
}

/// Draws a listing; `names` tells what to call the processes.
pub fn of(listing: &str, names: &[(&str, u32)]) -> io::Result<String> {
    let unexpected = |error| io::Error::other(format!("netup ls --json: {error}: {listing:?}"));
    let attachments: Vec<Attachment> = serde_json::from_str(listing).map_err(unexpected)?;
    let columns: Vec<Column> =
        attachments.iter().map(|attachment| Column::of(attachment, names)).collect();
    let host: Vec<String> =
        attachments.iter().flat_map(|attachment| on_host(attachment, names)).collect();
    Ok(picture(&host, &columns))
}

fn name<'a>(attachment: &Attachment, names: &[(&'a str, u32)]) -> &'a str {
    let known = names.iter().find(|(_, pid)| attachment.target == pid.to_string());
    known.map_or("container", |(name, _)| name)
}

/// What the host does for a container.
fn on_host(attachment: &Attachment, names: &[(&str, u32)]) -> Vec<String> {
    let name = name(attachment, names);
    let ports = attachment.publish.iter().map(|port| format!("publishes {port} for {name}"));
    let nat =
        attachment.nat.then(|| format!("masquerades {name}: {}", attachment.addresses.join(" ")));
    ports.chain(nat).collect()
}

/// A container's box, and the link above it.
struct Column {
    link: String,
    lines: Vec<String>,
    width: usize,
}

impl Column {
    fn of(attachment: &Attachment, names: &[(&str, u32)]) -> Self {
        let mut lines = vec![attachment.ifname.clone()];
        lines.extend(attachment.addresses.iter().cloned());
        lines.extend(attachment.gateways.iter().map(|gateway| format!("by {gateway}")));
        lines.push(format!("{}, process {}", name(attachment, names), attachment.target));
        let link = attachment.host_ifname.clone();
        let widest = lines.iter().chain([&link]).map(|line| width(line)).max();
        Self { link, lines, width: widest.unwrap_or_default() + 4 }
    }

    fn row(&self, row: usize) -> String {
        let last = self.lines.len() + 1;
        match row {
            0 => edge(self.width, '┌', '┴', '┐'),
            row if row < last => format!("│{}│", centered(&self.lines[row - 1], self.width - 2)),
            row if row == last => edge(self.width, '└', '─', '┘'),
            _ => " ".repeat(self.width),
        }
    }
}

fn picture(host: &[String], columns: &[Column]) -> String {
    let links = beside(columns.iter().map(|column| centered(&column.link, column.width)));
    let inner =
        host.iter().map(|line| width(line) + 2).chain([width(&links)]).max().unwrap_or_default();
    let boxed = |line: &str| format!("│{}│", centered(line, inner));
    let mut rows =
        vec![centered("outside 198.51.100.1, 2001:db8:1::1", inner + 2), centered("│", inner + 2)];
    rows.push(edge(inner + 2, '┌', '┴', '┐'));
    rows.push(boxed("host 198.51.100.2, 2001:db8:1::2"));
    rows.extend(host.iter().map(|line| boxed(line)));
    rows.push(boxed(&links));
    let bars = centered(&beside(columns.iter().map(|column| centered("│", column.width))), inner);
    rows.push(format!("└{}┘", bars.replace(' ', "─").replace('│', "┬")));
    let below = columns.iter().map(|column| column.lines.len() + 2).max().unwrap_or_default();
    rows.extend((0..below).map(|row| {
        let row = beside(columns.iter().map(|column| column.row(row)));
        format!(" {}", centered(&row, inner))
    }));
    rows.iter().map(|row| format!("{}\n", row.trim_end())).collect()
}

fn beside(cells: impl Iterator<Item = String>) -> String {
    cells.collect::<Vec<_>>().join("  ")
}

/// A line with something else in the middle and at the ends.
fn edge(width: usize, left: char, middle: char, right: char) -> String {
    let line = centered("x", width - 2).replace(' ', "─");
    format!("{left}{}{right}", line.replace('x', &middle.to_string()))
}

fn centered(text: &str, room: usize) -> String {
    let free = room.saturating_sub(width(text));
    let before = free / 2;
    format!("{}{text}{}", " ".repeat(before), " ".repeat(free - before))
}

/// All characters that occur here take one cell.
fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = r#"[
        {"target": "41", "ifname": "eth0", "host_ifname": "nuaa", "addresses": ["10.0.0.2/24", "fd00::2/64"],
         "gateways": ["10.0.0.1", "fd00::1"], "nat": true, "publish": ["8080:80/tcp"], "mtu": null},
        {"target": "42", "ifname": "eth0", "host_ifname": "nubb", "addresses": ["10.0.0.3/24"],
         "gateways": ["10.0.0.1"], "nat": false, "publish": []}]"#;

    #[test]
    fn the_picture_joins_up() {
        let picture = of(LISTING, &[("web", 41), ("worker", 42)]).unwrap();
        let rows: Vec<Vec<char>> = picture.lines().map(|row| row.chars().collect()).collect();
        let below = |y: usize, x: usize| rows.get(y + 1).and_then(|row| row.get(x));
        for (y, row) in rows.iter().enumerate() {
            for (x, _) in row.iter().enumerate().filter(|(_, mark)| **mark == '┬') {
                assert_eq!(below(y, x), Some(&'┴'), "{picture}");
            }
        }
        assert!(
            picture.contains("publishes 8080:80/tcp for web")
                && picture.contains("worker, process 42")
        );
    }
}
