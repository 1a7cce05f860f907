//! How far an import has come, told to whoever wants to know.

use std::fmt;

use indicatif::{ProgressBar, ProgressStyle};

/// Is told how an import proceeds.
pub trait Progress {
    /// It begins. The number of bytes to be read is given where it is known.
    fn begin(&mut self, total: Option<u64>);
    /// So many bytes more have been read.
    fn advance(&mut self, bytes: u64);
    /// It has ended, well or not.
    fn end(&mut self);
}

/// Nobody wants to know.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&mut self, _total: Option<u64>) {}
    fn advance(&mut self, _bytes: u64) {}
    fn end(&mut self) {}
}

/// A bar on standard error, gone when all is read. It is drawn by the calls alone, without a
/// thread, and not at all where standard error is no terminal.
#[derive(Default)]
pub struct Bar(Option<ProgressBar>);

impl fmt::Debug for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bar").field(&self.0.is_some()).finish()
    }
}

const SIZED: &str = "{bytes}/{total_bytes} {wide_bar} {bytes_per_sec} {eta}";
const UNSIZED: &str = "{spinner} {bytes} {bytes_per_sec}";

impl Progress for Bar {
    fn begin(&mut self, total: Option<u64>) {
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), SIZED),
            None => (ProgressBar::no_length(), UNSIZED),
        };
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.0 = Some(bar);
    }

    fn advance(&mut self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes);
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}
