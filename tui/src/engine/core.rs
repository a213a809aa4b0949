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

    /// Feeds what happened up to `until`, in the order in which it happened, identities first. What is younger waits:
    /// an older record may still be on its way in another CPU's ring.
    pub fn feed_staged(&mut self, until: BootTime) {
        self.staged_process.sort_by_key(|record| record.at);
        let due = self.staged_process.partition_point(|record| record.at <= until);
        for record in self.staged_process.drain(..due) {
            self.drafts.push(self.process.apply(&record, &mut self.processes, &mut self.world));
        }
        self.staged_flow.sort_by_key(|record| record.at);
        let due = self.staged_flow.partition_point(|record| record.at <= until);
        for record in self.staged_flow.drain(..due) {
            self.flow.apply(&record, &mut self.processes, &mut self.world, &mut self.drafts);
        }
    }

    /// Records wait for their turn.
    pub fn has_staged(&self) -> bool {
        !self.staged_process.is_empty() || !self.staged_flow.is_empty()
    }

    /// Releases openings that have waited long enough for their owner.
    pub fn flush(&mut self) {
        let now = self.world.now();
        self.flow.flush(now, &mut self.drafts);
    }

    /// Feeds and releases everything that is held back.
    pub fn finish(&mut self) {
        self.feed_staged(BootTime(u64::MAX));
        self.flow.finish(&mut self.drafts);
    }

    /// What exists already: processes, and with `sockets` connections and who holds them. After attaching, so that
    /// nothing falls between.
    pub fn prime(&mut self, sockets: bool) {
        let facts = self.world.processes();
        self.process.prime(facts, &mut self.processes, &mut self.world);
        if sockets && let Some(held) = self.world.sockets(true) {
            self.flow.prime(&held, &self.processes);
        }
    }

    /// Reads the totals of all live connections from the kernel's socket tables.
    pub fn sweep(&mut self) {
        let began = self.world.now();
        if let Some(sockets) = self.world.sockets(false) {
            self.flow.sweep(&sockets, &self.processes);
            self.flow.end_unswept(began, self.world.now());
        }
    }

    /// Marks processes as ended whose exit was lost.
    pub fn sweep_processes(&mut self) {
        let now = self.world.now();
        let alive = self.world.pids().into_iter().map(crate::records::Tgid).collect();
        self.processes.sweep(&alive, now);
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

    pub fn process_rows(&self) -> Vec<Arc<process::model::ProcessRow>> {
        self.process.rows(&self.processes, self.world.now())
    }

    pub fn flow_rows(&self, since: Option<BootTime>) -> Vec<Arc<flow::model::FlowRow>> {
        self.flow.rows(since)
    }
}
