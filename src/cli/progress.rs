//! A bar on standard error while something long goes on; nothing where that is no terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Instant;

/// Cells of the bar.
const CELLS: usize = 30;

/// What is drawn over and over on one line.
pub struct Bar {
    is_terminal: bool,
    is_drawn: bool,
    started: Instant,
}

impl Bar {
    /// Nothing is drawn yet.
    pub fn new() -> Self {
        Self { is_terminal: is_seen(), is_drawn: false, started: Instant::now() }
    }

    /// Draws how far it is, and `words` beside it.
    pub fn show(&mut self, done: u64, whole: u64, words: &str) {
        if !self.is_terminal {
            return;
        }
        self.is_drawn = true;
        let text = drawn(done, whole, self.started.elapsed().as_secs(), words);
        put(&format!("\r{text}\x1b[K"));
    }

    /// Takes the line back.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            put("\r\x1b[K");
        }
    }
}

/// Whether somebody sees a bar.
pub fn is_seen() -> bool {
    io::stderr().is_terminal()
}

/// A terminal that is gone is no reason to stop.
fn put(text: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

fn drawn(done: u64, whole: u64, elapsed_s: u64, words: &str) -> String {
    let whole = whole.max(1);
    let done = done.min(whole);
    let share = done as f64 / whole as f64;
    let cells = (share * CELLS as f64) as usize;
    let left = match elapsed_s {
        0 => String::new(),
        _ if done == 0 => String::new(),
        elapsed_s => format!(", about {} s left", (elapsed_s as f64 * (1.0 - share) / share).ceil()),
    };
    format!("[{}{}] {:3.0} %  {words}{left}", "#".repeat(cells), " ".repeat(CELLS - cells), (share * 100.0).floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows_and_the_time_left_shrinks_with_it() {
        let empty = format!("[{}]   0 %  none", " ".repeat(CELLS));
        assert_eq!(drawn(0, 10, 30, "none"), empty);
        assert_eq!(
            drawn(1, 2, 30, "half"),
            format!("[{}{}]  50 %  half, about 30 s left", "#".repeat(15), " ".repeat(15))
        );
        assert_eq!(drawn(7, 7, 3, "all"), format!("[{}] 100 %  all, about 0 s left", "#".repeat(CELLS)));
        assert!(drawn(9, 0, 0, "more than all").contains("100 %"));
    }
}
