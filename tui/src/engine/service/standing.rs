//! What the console says of its own measuring: which programs there are, what is not measured, and why.

use std::collections::BTreeMap;

use super::Console;
use crate::engine::collector::{Attachment, Collector};
use crate::families::Family;
use crate::fmt;
use crate::model::{Coverage, Ledger, Note, PanelKind, ProbeRow, Query, Status, View, fullest};

impl Console {
    /// Every program there is, with the books of its family: those of families that were never attached can be attached
    /// by hand.
    pub(super) fn probe_rows(&self, books: &BTreeMap<Family, Ledger>) -> Vec<ProbeRow> {
        // Counted while somebody looks.
        let full: BTreeMap<Family, f64> = Family::ALL
            .iter()
            .filter(|_| self.query.view == View::Probes)
            .filter_map(|&family| Some((family, fullest(self.collector.fills(family).iter())?)))
            .collect();
        let all =
            Family::ALL.iter().flat_map(|&family| family.programs().iter().map(move |one| (family, one)));
        (0..)
            .zip(all)
            .map(|(index, (family, program))| {
                let state =
                    self.collector.programs().find(|state| state.standing.program.name == program.name);
                let status = match (state, self.collector.attachment(family)) {
                    (_, Attachment::Failed(reason)) => Status::Failed { reason },
                    (_, Attachment::Attaching) => Status::Attaching,
                    (Some(state), _) => state.standing.status.clone(),
                    (None, _) => Status::Detached,
                };
                // What was never attached has seen nothing, which is not the same as that nothing happened.
                let ledger = state.and_then(|_| books.get(&family).copied());
                let info = state.and_then(|state| state.info).filter(|info| info.runs > 0);
                ProbeRow {
                    index,
                    family: family.stem(),
                    program: program.name,
                    status,
                    runs: info.map(|info| info.runs),
                    ns_per_run: info.map(|info| info.run_time_ns as f64 / info.runs as f64),
                    cpu_share: self.collector.program_share(program.name),
                    missed: state.and_then(|state| state.info).and_then(|info| info.recursion_misses),
                    seen: ledger.map(|ledger| ledger.seen),
                    lost: ledger.map(|ledger| ledger.lost),
                    ledger,
                    map_bytes: self.collector.map_bytes(family),
                    fill: full.get(&family).copied(),
                }
            })
            .collect()
    }

    pub(super) fn coverage(&self) -> Coverage {
        let view = self.query.view;
        let shown = |family: &&Family| view.shows(**family);
        let mut degraded = false;
        for &family in Family::ALL.iter().filter(shown) {
            match self.collector.attachment(family) {
                Attachment::Detached if self.query.leaves_out(family) => {
                    let name = family.stem();
                    return Coverage::Absent(format!(
                        "{name} was detached by hand: press 8, and a on one of its programs"
                    ));
                }
                Attachment::Attaching => return Coverage::Attaching,
                Attachment::Failed(reason) => return Coverage::Absent(reason),
                Attachment::Detached => {}
                Attachment::Attached { .. } => {
                    if let Some(reason) = self.collector.broken(family) {
                        return Coverage::Absent(reason);
                    }
                    let mut states = self.collector.programs().filter(|p| p.family == family);
                    degraded |= states.any(|p| p.standing.status.word() != "live");
                }
            }
        }
        if degraded { Coverage::Degraded } else { Coverage::Live }
    }

    pub(super) fn notes(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        for &family in Family::ALL {
            if let Attachment::Failed(reason) = self.collector.attachment(family) {
                notes.push(Note { severe: true, text: reason });
            }
        }
        if self.totals.lost > 0 {
            let lost = fmt::grouped(self.totals.lost);
            let text = format!("{lost} events were lost on the way: the stream has gaps, see Probes");
            notes.push(Note { severe: true, text });
        }
        let programs = || self.collector.programs();
        let unsupported: Vec<_> = programs()
            .filter(|p| p.standing.status.word() == "unsupported")
            .map(|p| p.standing.program.name)
            .collect();
        if !unsupported.is_empty() {
            notes.push(Note {
                severe: true,
                text: format!("not attached: {}; Probes says why", unsupported.join(", ")),
            });
        }
        for (state, what) in [(false, "detached"), (true, "attached")] {
            let hand = self.query.hand.iter().filter(|(_, attached)| **attached == state);
            let names: Vec<_> = hand.map(|(family, _)| family.stem()).collect();
            if !names.is_empty() {
                let text =
                    format!("{what} by hand: {}; a in Probes leaves it to the views", names.join(", "));
                notes.push(Note { severe: !state, text });
            }
        }
        let on_demand = Family::ALL.iter().filter(|family| family.on_demand());
        let unmeasured =
            on_demand.filter(|family| self.collector.attachment(**family) == Attachment::Detached);
        if self.query.view == View::Processes && unmeasured.count() > 0 {
            notes.push(Note {
                severe: false,
                text: "calls into the kernel are not measured: press 4 to measure".to_owned(),
            });
        }
        let degraded: Vec<_> = programs()
            .filter(|p| p.standing.status.word() == "degraded")
            .map(|p| p.standing.program.name)
            .collect();
        if !degraded.is_empty() {
            notes.push(Note {
                severe: false,
                text: format!("by a later choice of hook: {}; Probes says why", degraded.join(", ")),
            });
        }
        notes
    }
}

/// Why a panel has nothing to rank, if it has not, and what to do.
pub(super) fn unmeasured(kind: &PanelKind, collector: &Collector, query: &Query) -> Option<String> {
    let Some(family) = Family::from_stem(kind.family) else {
        return Some("Not measured by this build of fluoro.".to_owned());
    };
    match collector.attachment(family) {
        Attachment::Detached if query.leaves_out(family) => {
            Some("Detached by hand: a in Probes (8) attaches.".to_owned())
        }
        Attachment::Attaching => Some("Attaching …".to_owned()),
        Attachment::Detached => Some(format!("Press {} to measure.", kind.digit)),
        Attachment::Failed(reason) => Some(reason),
        Attachment::Attached { .. } => collector.broken(family),
    }
}
