//! The models behind one door: records in, events and rows out. Knows no thread, no ring and no screen, so recorded
//! and synthetic sources go the same way as live ones.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::world::World;
use crate::families::flow::model::FlowModel;
use crate::families::process::model::ProcessModel;
use crate::families::{Family, flow, process};
use crate::model::{Event, EventDraft, Processes};
use crate::records::{self, BootTime, WallOffset};

pub struct Core {
    pub world: World,
    pub processes: Processes,
    pub process: ProcessModel,
    pub flow: FlowModel,
    staged_process: Vec<records::process::Record>,
    staged_flow: Vec<records::flow::Record>,
    drafts: Vec<EventDraft>,
    events: u64,
}

impl Core {
    pub fn new(world: World) -> Self {
        Self {
            world,
            processes: Processes::default(),
            process: ProcessModel::default(),
            flow: FlowModel::default(),
            staged_process: Vec::new(),
            staged_flow: Vec::new(),
            drafts: Vec::new(),
            events: 0,
        }
    }

    /// Decodes one record and keeps it until [`Self::feed_staged`]. False: it is malformed.
    pub fn stage(&mut self, family: Family, bytes: &[u8]) -> bool {
        match family {
            Family::Process => {
                records::process::Record::decode(bytes).map(|record| self.staged_process.push(record)).is_ok()
            }
            Family::Flow => records::flow::Record::decode(bytes).map(|record| self.staged_flow.push(record)).is_ok(),
        }
    }

    /// Feeds what was staged, in the order in which it happened.
    pub fn feed_staged(&mut self, family: Family) {
        let now = self.world.now();
        match family {
            Family::Process => {
                self.staged_process.sort_by_key(|record| record.at);
                for record in self.staged_process.drain(..) {
                    let draft = self.process.apply(&record, &mut self.processes, &mut self.world, now);
                    self.drafts.extend(draft);
                }
            }
            Family::Flow => {
                self.staged_flow.sort_by_key(|record| record.at);
                for record in self.staged_flow.drain(..) {
                    self.flow.apply(&record, &mut self.processes, &mut self.world, now, &mut self.drafts);
                }
            }
        }
    }

    /// Releases openings that have waited long enough for their owner.
    pub fn flush(&mut self) {
        let now = self.world.now();
        self.flow.flush(now, &mut self.drafts);
    }

    /// Releases everything that is held back.
    pub fn finish(&mut self) {
        self.flow.finish(&mut self.drafts);
    }

    /// What exists already: processes, and with `sockets` connections and who holds them. After attaching, so that
    /// nothing falls between.
    pub fn prime(&mut self, sockets: bool) {
        let now = self.world.now();
        let facts = self.world.processes();
        self.process.prime(facts, &mut self.processes, &mut self.world, now);
        if sockets {
            let held = self.world.sockets(true);
            self.flow.prime(&held, &mut self.processes, &mut self.world, now);
        }
    }

    /// Reads the totals of all live connections from the kernel's socket tables.
    pub fn sweep(&mut self) {
        let now = self.world.now();
        let sockets = self.world.sockets(false);
        self.flow.sweep(&sockets, &mut self.processes, &mut self.world, now);
    }

    /// Ends an interval: rates are computed, what ended long ago is dropped.
    pub fn tick(&mut self, interval: Duration) {
        let now = self.world.now();
        self.world.refresh();
        self.process.tick(now, interval);
        self.flow.tick(now, interval);
        self.processes.expire(now);
    }

    pub fn offset(&self) -> WallOffset {
        self.world.offset()
    }

    pub fn now(&self) -> BootTime {
        self.world.now()
    }

    pub fn take_events(&mut self) -> Vec<Event> {
        let offset = self.world.offset();
        let events = &mut self.events;
        self.drafts
            .drain(..)
            .map(|draft| {
                *events += 1;
                Event {
                    seq: *events,
                    name: draft.name,
                    family: draft.family,
                    at: draft.at,
                    wall: offset.wall(draft.at),
                    facts: draft.facts,
                }
            })
            .collect()
    }

    pub fn process_rows(&mut self) -> Vec<Arc<process::model::ProcessRow>> {
        self.process.rows(&self.processes, self.world.offset())
    }

    pub fn flow_rows(&mut self) -> Vec<Arc<flow::model::FlowRow>> {
        self.flow.rows()
    }
}
