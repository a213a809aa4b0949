//! What else is known of the thing whose details are open: where it comes from, how long things took it, what it did.

use std::sync::Arc;

use crate::columns::Sheet;
use crate::model::{Distribution, Scope, View};
use crate::records::Outside;

/// Beside the facts of the row itself.
#[derive(Clone)]
pub struct Detail {
    /// Whose it is; rows of a view that knows no processes have no detail.
    pub subject: Scope,
    /// Parent, its parent, and so on.
    pub ancestry: Vec<(Outside, u64)>,
    /// Since the families were attached.
    pub charts: Vec<Latency>,
    /// The subject's rows in each view that has some, with how many there are.
    pub lists: Vec<(View, Arc<dyn Sheet>)>,
}

/// How long things of one kind took one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latency {
    pub what: &'static str,
    pub durations: Distribution,
}
