//! The last things that happened, for whoever has to find out why.

use std::collections::VecDeque;

const KEPT: usize = 200;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Trace(VecDeque<String>);

impl Trace {
    pub(crate) fn note(&mut self, now: u64, what: &str) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(format!("{:>8}.{:03} {what}", now / 1000, now % 1000));
    }

    pub(crate) fn text(&self) -> String {
        let lines: Vec<&str> = self.0.iter().map(String::as_str).collect();
        lines.join("\n")
    }
}
