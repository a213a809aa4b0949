//! Pure state: identities, events, ledgers, snapshots and the questions asked of them. Time is a
//! parameter; nothing here does I/O.

mod detail;
mod errno;
mod event;
mod failure;
mod fill;
mod histogram;
mod identity;
mod ledger;
mod names;
mod overview;
mod probe;
mod processes;
mod query;
mod scope;
mod snapshot;
mod timing;

pub use detail::{Detail, Latency};
pub use errno::errno_name;
pub use event::{Event, EventDraft, EventRow};
pub use failure::{Failure, Subject};
pub use fill::{MapFill, MapKind, fullest};
pub use histogram::{Distribution, Histograms, Series};
pub use identity::{Ancestor, Container, Executable, Identity, Owner};
pub use ledger::{Aggregates, Books, Ledger};
pub use names::{Names, ObservedName};
pub use overview::{Measure, Overview, OverviewRow, PANELS, Panel, PanelKind, TRACE, Trace};
pub use probe::{ProbeRow, Status};
pub use processes::{LINGER_NS, Lookup, ProcFacts, Processes, started};
pub use query::{Query, Sort, View};
pub use scope::{Narrow, Scope};
pub use snapshot::{Coverage, HostFacts, More, MoreFact, Note, Reach, Snapshot, Totals};
pub use timing::Timing;
