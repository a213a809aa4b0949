//! The books of a family. They must balance (DESIGN: the ledger).

/// Events: one candidate output line each.
/// `seen = submitted + muted + filtered + lost + error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ledger {
    pub seen: u64,
    pub submitted: u64,
    pub muted: u64,
    pub filtered: u64,
    pub lost: u64,
    pub error: u64,
    /// Runs that the kernel skipped; `None` where it does not say.
    pub missed: Option<u64>,
    pub aggregates: Aggregates,
}

/// A family's books with what is counted beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Books {
    /// `missed` is not told here.
    pub ledger: Ledger,
    /// Records lost that are no events, but tell whose one is.
    pub supplements_lost: u64,
}

/// What is folded into maps. `seen = counted + filtered + untracked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Aggregates {
    pub seen: u64,
    pub counted: u64,
    pub filtered: u64,
    pub untracked: u64,
}

impl Ledger {
    pub const fn balances(&self) -> bool {
        self.seen == self.submitted + self.muted + self.filtered + self.lost + self.error
            && self.aggregates.seen
                == self.aggregates.counted + self.aggregates.filtered + self.aggregates.untracked
    }

    /// What user space refused after it was submitted moves to `filtered`.
    pub fn refuse(&mut self, lines: u64) {
        let moved = lines.min(self.submitted);
        self.submitted -= moved;
        self.filtered += moved;
    }

    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.seen += other.seen;
        self.submitted += other.submitted;
        self.muted += other.muted;
        self.filtered += other.filtered;
        self.lost += other.lost;
        self.error += other.error;
        self.missed = match (self.missed, other.missed) {
            (None, m) | (m, None) => m,
            (Some(a), Some(b)) => Some(a + b),
        };
        self.aggregates.seen += other.aggregates.seen;
        self.aggregates.counted += other.aggregates.counted;
        self.aggregates.filtered += other.aggregates.filtered;
        self.aggregates.untracked += other.aggregates.untracked;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusing_moves_lines_and_keeps_the_balance() {
        let mut ledger = Ledger { seen: 10, submitted: 7, lost: 3, ..Ledger::default() };
        assert!(ledger.balances());
        ledger.refuse(5);
        assert_eq!((ledger.submitted, ledger.filtered), (2, 5));
        assert!(ledger.balances());
    }
}
