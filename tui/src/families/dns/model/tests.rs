#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::columns::{Facts as _, Value};
use crate::model::{Owner, ProcFacts};
use crate::records::{CgroupId, ProcKey, StartTime, TaskFacts, Tgid, Uid, WallTime};

struct Kernel;

impl Lookup for Kernel {
    fn process(&mut self, _: Tgid) -> Option<ProcFacts> {
        None
    }
    fn cgroup(&mut self, _: CgroupId) -> Option<Outside> {
        None
    }
    fn owner(&mut self, _: &Outside) -> Owner {
        Owner::default()
    }
    fn user(&mut self, _: Uid) -> Option<Arc<str>> {
        None
    }
    fn wall(&self, at: BootTime) -> WallTime {
        WallTime(at.0)
    }
}

#[derive(Default)]
struct Stage {
    model: DnsModel,
    processes: Processes,
    out: Vec<EventDraft>,
}

impl Stage {
    fn apply(&mut self, record: &Record) {
        self.model.apply(record, &mut self.processes, &mut Kernel, &mut self.out);
    }

    /// Name, pid and latency of each line.
    fn lines(&self) -> Vec<(&'static str, Option<u64>, Option<u64>)> {
        let number = |draft: &EventDraft, id: &str| match draft.facts.named(id) {
            Value::Uint(number) => Some(number),
            _ => None,
        };
        self.out.iter().map(|draft| (draft.name, number(draft, "pid"), number(draft, "duration"))).collect()
    }
}

const QUESTION: &[u8] = b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03WwW\x02de\x00\x00\x01\x00\x01";
const ANSWER: &[u8] = b"\x00\x07\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x03wWw\x02de\x00\x00\x01\x00\x01\
    \xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x00\x00\x01";

fn owner(pid: u32) -> TaskFacts {
    TaskFacts {
        key: ProcKey { tgid: Tgid(pid), start: StartTime(1) },
        started: BootTime(10_000_000),
        tid: Tid(pid),
        parent: Tgid(1),
        uid: Uid(0),
        cgroup: CgroupId(0),
        comm: *b"curl\0\0\0\0\0\0\0\0\0\0\0\0",
    }
}

fn record(at: u64, from: &str, to: &str, payload: &[u8]) -> Record {
    Record {
        at: BootTime(at),
        place: (0, at),
        owner: None,
        inode: None,
        source: from.parse().unwrap(),
        destination: to.parse().unwrap(),
        outgoing: false,
        sequence: None,
        payload: payload.to_vec(),
        whole: payload.len() as u32,
        silence: None,
        netns: NetnsId(1),
    }
}

fn question(at: u64) -> Record {
    Record { owner: Some(owner(7)), outgoing: true, ..record(at, "10.0.0.9:4000", "8.8.8.8:53", QUESTION) }
}

fn answer(at: u64) -> Record {
    record(at, "8.8.8.8:53", "10.0.0.9:4000", ANSWER)
}

#[test]
fn an_answer_belongs_to_who_asked_with_how_long_it_took() {
    let mut stage = Stage::default();
    stage.apply(&question(100));
    stage.apply(&answer(350));
    stage.apply(&answer(400));
    let lines =
        [("dns.query", Some(7), None), ("dns.response", Some(7), Some(250)), ("dns.response", Some(7), None)];
    assert_eq!(stage.lines(), lines);
}

#[test]
fn an_address_is_called_by_what_was_asked_in_lower_case() {
    let mut stage = Stage::default();
    stage.apply(&question(100));
    stage.apply(&answer(350));
    assert_eq!(stage.model.take_names(), [([10, 0, 0, 1].into(), "www.de".into(), BootTime(350))]);
}

#[test]
fn an_answer_to_nothing_names_nothing() {
    let mut stage = Stage::default();
    stage.apply(&answer(350));
    assert_eq!((stage.model.take_names(), stage.lines()), (vec![], vec![("dns.response", None, None)]));
    stage.apply(&question(400));
    stage.apply(&answer(400 + PATIENCE_NS));
    assert_eq!(stage.model.take_names(), []);
}

#[test]
fn what_the_kernel_side_left_out_makes_no_line_and_names_all_the_same() {
    let mut stage = Stage::default();
    stage.apply(&Record { silence: Some(Silence::Muted), ..question(100) });
    stage.apply(&Record { silence: Some(Silence::Filtered), ..answer(350) });
    assert_eq!((stage.lines(), stage.model.take_names().len()), (vec![], 1));
}

#[test]
fn over_the_loopback_the_side_that_asks_tells() {
    let mut stage = Stage::default();
    let there = |record| Record { outgoing: true, ..record };
    stage.apply(&there(question(100)));
    stage.apply(&there(answer(350)));
    let ends: Vec<_> = stage.out.iter().map(|draft| draft.facts.named("local")).collect();
    assert_eq!(ends, [Value::Socket("10.0.0.9:4000".parse().unwrap()); 2]);
    assert_eq!(stage.out[1].facts.named("dir"), Value::Word("receive"));
}

#[test]
fn whoever_floods_with_questions_is_forgotten_first() {
    let mut stage = Stage::default();
    for n in 0..2 * PENDING_MAX as u32 {
        let mut one = question(u64::from(n));
        one.source.set_port(n as u16);
        one.payload[0] = (n >> 16) as u8;
        stage.apply(&one);
    }
    assert!(stage.model.pending.len() <= PENDING_MAX && stage.model.asked.len() <= PENDING_MAX);
}

/// Segments of one direction: where each begins and what is in it.
fn stream(stage: &mut Stage, segments: &[(u32, &[u8])]) -> usize {
    for (sequence, payload) in segments {
        let one = Record { sequence: Some(*sequence), ..question(1) };
        stage.apply(&Record { payload: payload.to_vec(), whole: payload.len() as u32, ..one });
    }
    std::mem::take(&mut stage.out).len()
}

#[test]
fn messages_are_put_together_from_segments_and_the_books_follow() {
    let mut stage = Stage::default();
    let len = [0, QUESTION.len() as u8];
    let one = [&len[..], QUESTION].concat();
    let two = [&one[..], &one].concat();
    let start = u32::MAX - 5;
    let at = |offset: usize| start.wrapping_add(offset as u32);
    assert_eq!(stream(&mut stage, &[(start, &len), (at(2), &QUESTION[..5]), (at(7), &QUESTION[5..])]), 1);
    assert_eq!(stage.model.take_surplus(), Surplus { lines: -2, ..Surplus::default() });
    // Sent again, it is known; what is new in it counts.
    assert_eq!(stream(&mut stage, &[(at(2), QUESTION), (at(7), &[&QUESTION[5..], &two].concat())]), 2);
    assert_eq!(stage.model.take_surplus(), Surplus::default());
    // After a gap a message begins, or nothing is understood.
    assert_eq!(stream(&mut stage, &[(at(1000), &one), (at(2000), &QUESTION[3..]), (at(3000), &one)]), 2);
}

#[test]
fn of_a_segment_that_is_not_told_whole_the_beginning_is_a_message() {
    let mut stage = Stage::default();
    let payload = [&[0, 100], QUESTION].concat();
    let one = Record { sequence: Some(1), whole: 102, payload, ..question(1) };
    stage.apply(&one);
    assert_eq!(stage.lines().len(), 1);
    let next = [&[0, QUESTION.len() as u8], QUESTION].concat();
    stage.apply(&Record { sequence: Some(103), whole: next.len() as u32, payload: next, ..question(2) });
    assert_eq!(stage.lines().len(), 2);
}

#[test]
fn the_table_says_who_asked_for_what_how_often_and_how_long_that_took() {
    let mut stage = Stage::default();
    stage.apply(&question(100));
    stage.model.tick(BootTime(150));
    assert_eq!(stage.model.rows(), [], "nobody asks for it");
    stage.model.keep_table();
    stage.apply(&question(200));
    stage.model.tick(BootTime(300));
    let figures = |row: &AskedRow| (row.queries, row.responses, row.errors, row.waiting, row.max_ns);
    let rows = stage.model.rows();
    assert_eq!(rows.iter().map(|row| figures(row)).collect::<Vec<_>>(), [(1, 0, 0, 1, None)]);
    assert_eq!(rows[0].named("name"), Value::Text(&Outside::from("www.de")));
    assert_eq!((rows[0].named("qtype"), rows[0].named("pid")), (Value::Word("A"), Value::Uint(7)));
    stage.apply(&answer(450));
    stage.apply(&question(500));
    stage.apply(&Record { silence: Some(Silence::Filtered), ..question(510) });
    stage.apply(&Record { source: "8.8.8.8:53".parse().unwrap(), ..answer(560) });
    stage.model.tick(BootTime(600));
    let rows = stage.model.rows();
    assert_eq!(rows.iter().map(|row| figures(row)).collect::<Vec<_>>(), [(1, 2, 0, 0, Some(250))]);
    assert_eq!(rows[0].codes, [("NOERROR", 2)]);
    stage.model.tick(BootTime(700));
    assert_eq!(stage.model.rows(), []);
}

#[test]
fn what_is_never_answered_waits_as_long_as_a_question_does() {
    let mut stage = Stage::default();
    stage.model.keep_table();
    stage.apply(&question(100));
    stage.apply(&Record { destination: "224.0.0.251:5353".parse().unwrap(), ..question(110) });
    stage.model.tick(BootTime(200));
    let row = |stage: &Stage| stage.model.rows().first().map(|row| (row.queries, row.waiting));
    assert_eq!(row(&stage), Some((2, 1)));
    stage.model.tick(BootTime(300));
    assert_eq!(row(&stage), Some((0, 1)));
    stage.model.tick(BootTime(110 + PATIENCE_NS));
    assert_eq!(row(&stage), None);
}
