//! The published JSON schema against what fluoro prints, and both against the column tables.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod events;
mod rows;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use fluoro::columns::{Faces, Facts, Kind, Listing, Row, Unit, Value, infos};
use fluoro::engine::list;
use fluoro::families::Family;
use fluoro::families::dns::row::asked::AskedRow;
use fluoro::families::failure::row::FailureRow;
use fluoro::families::file::row::group as file_group;
use fluoro::families::flow::row::group::{By, GroupRow};
use fluoro::families::process::model::owner::{OwnerRow, group};
use fluoro::model::{Aggregates, Event, Ledger, Subject, View};
use fluoro::records::process::Exit;
use fluoro::records::{BootTime, Outside, WallTime};
use fluoro::{json, table};
use jsonschema::Validator;
use serde_json::{Value as Json, json};

use events::{all_events, all_lines, machine};
use rows::{full_asked, full_failure, full_file, full_file_groups, full_flow, full_process, full_syscalls};

const SCHEMA: &str = include_str!("../../../assets/schema/fluoro.schema.json");
const PAGE: &str = include_str!("../../../docs/json.md");

fn schema() -> Json {
    serde_json::from_str(SCHEMA).unwrap()
}

fn validator() -> Validator {
    jsonschema::validator_for(&schema()).unwrap()
}

/// Every line is valid; a message names what is not.
fn assert_valid(bytes: &[u8]) -> Vec<Json> {
    let validator = validator();
    let lines: Vec<Json> =
        serde_json::Deserializer::from_slice(bytes).into_iter().map(Result::unwrap).collect();
    for line in &lines {
        let wrong: Vec<String> =
            validator.iter_errors(line).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(wrong.is_empty(), "{line}\n{}", wrong.join("\n"));
    }
    lines
}

/// A machine with one user and no process that /proc could show.
fn table<R: Row>(rows: Vec<R>, totals: &[(&str, Option<f64>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let sheet = Listing { total: rows.len(), rows: rows.into_iter().map(Arc::new).collect() };
    json::top_object(&mut out, WallTime(0), Duration::from_secs(1), totals, 0, &sheet, usize::MAX);
    out
}

#[test]
fn every_event_that_records_make_is_valid() {
    let (_root, mut core) = machine();
    let lines = assert_valid(&all_lines(&mut core));
    let names: BTreeSet<&str> = lines.iter().map(|line| line["event_name"].as_str().unwrap()).collect();
    let schema = schema();
    let listed = schema["then"]["properties"]["event_name"]["enum"].as_array().unwrap();
    let listed: BTreeSet<&str> =
        listed.iter().map(|name| name.as_str().unwrap()).filter(|name| *name != "fluoro.stats").collect();
    assert_eq!(names, listed, "each name in the schema is printed, and no other");
    for name in &names {
        assert!(PAGE.contains(&format!("`{name}`")), "docs/json.md does not name {name}");
    }
    let exec = lines.iter().find(|line| line["event_name"] == "process.exec").unwrap();
    assert_eq!(exec["process"]["executable"]["path_base64"], "L3Vzci9iaW4v/g==");
}

#[test]
fn a_line_of_text_says_what_the_event_is_about() {
    let (_root, mut core) = machine();
    let mut about = BTreeSet::new();
    for event in all_events(&mut core) {
        let mut line = Vec::new();
        table::event_line(&mut line, &event);
        let line = String::from_utf8(line).unwrap();
        for (column, info) in event.infos().iter().enumerate() {
            let value = event.value(column);
            if ["path", "old_path", "target", "reason", "name", "rcode", "local", "peer"].contains(&info.id)
                && value != Value::Missing
            {
                let text = fluoro::fmt::value(&value, info.unit);
                assert!(line.contains(&text), "{}: {} {text}: {line}", event.name, info.id);
                about.insert((event.family, info.id));
            }
        }
    }
    for known in
        [("file", "old_path"), ("file", "target"), ("drop", "reason"), ("dns", "name"), ("flow", "peer")]
    {
        assert!(about.contains(&known), "{known:?}");
    }
}

#[test]
fn every_table_that_the_models_make_is_valid() {
    let (_root, mut core) = machine();
    all_events(&mut core);
    core.tick(Duration::from_secs(1));
    let mut out = Vec::new();
    let second = Duration::from_secs(1);
    let flows = list(core.flow_rows(false), None, None, |_| false).0;
    json::top_object(&mut out, WallTime(0), second, &core.totals(View::Flows), 0, &flows, 100);
    let processes = list(core.process_rows(false), None, None, |_| false).0;
    json::top_object(&mut out, WallTime(0), second, &core.totals(View::Processes), 0, &processes, 100);
    let failures = list(core.failure_rows(true), None, None, |_| false).0;
    json::top_object(&mut out, WallTime(0), second, &core.totals(View::Failures), 0, &failures, 100);
    for by in By::ALL {
        let groups = list(core.flow.groups(by, &flows.rows, true), None, None, |_| false).0;
        json::top_object(&mut out, WallTime(0), second, &core.totals(View::Flows), 0, &groups, 100);
    }
    let files = core.file_rows(false);
    for by in file_group::By::ALL {
        let groups = list(core.file_groups(by, &files, false), None, None, |_| false).0;
        json::top_object(&mut out, WallTime(0), second, &core.totals(View::Files), 0, &groups, 100);
    }
    let lines = assert_valid(&out);
    let kinds: BTreeSet<&str> = lines[2]["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["failure"]["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, BTreeSet::from(["connect", "reset_sent", "retransmit"]));
    let flows = lines[0]["rows"].as_array().unwrap();
    assert!(flows.iter().any(|row| row["flow"]["tx_bytes_per_s"] == 10));
    assert!(flows.iter().any(|row| row["network"]["connection"]["state"] == "listen"));
    assert_eq!(lines[1]["rows"][0]["process"]["execs"], 1);
}

#[test]
fn rows_with_every_column_filled_are_valid() {
    let mut out = table(vec![full_flow()], &[("flows", Some(1.0))]);
    out.extend(table(vec![full_process(Some(Exit::Code(1)))], &[("processes", Some(1.0))]));
    let (here, there) = ("10.0.0.5:443".parse().unwrap(), "81.2.69.142:51844".parse().unwrap());
    let failures = [
        Subject::Peer(there),
        Subject::Client { peer: there.ip(), local: here },
        Subject::Listener(here),
        Subject::Path(Outside::new(b"/etc/\xff")),
        Subject::None,
    ];
    out.extend(table(failures.map(full_failure).into(), &[("failures", Some(1.0))]));
    let event = Event {
        seq: 1,
        name: "process.exit",
        family: "process",
        at: BootTime(0),
        wall: WallTime(1),
        facts: Arc::new(full_process(Some(Exit::Signal(9)))),
    };
    json::event_line(&mut out, &event);
    let [calls, call] = full_syscalls();
    let totals = [("calls", Some(5.0)), ("errors", Some(3.0)), ("duration_ns", Some(900.0))];
    out.extend(table(vec![calls], &totals));
    let event = Event { name: "syscall.exit", family: "syscall", facts: Arc::new(call), ..event };
    json::event_line(&mut out, &event);
    let rates = ["opens_per_s", "read_bytes_per_s", "write_bytes_per_s", "errors_per_s"];
    out.extend(table(vec![full_file()], &rates.map(|name| (name, Some(1.5)))));
    out.extend(table(full_file_groups(), &rates.map(|name| (name, Some(1.5)))));
    let owners = group(&[Arc::new(full_process(None))]);
    let names = ["queries", "responses", "errors", "untracked"].map(|name| (name, Some(2.0)));
    let bare =
        AskedRow { identity: None, codes: Vec::new(), quantiles_ns: None, max_ns: None, ..full_asked() };
    out.extend(table(vec![owners[0].as_ref().clone()], &[("processes", Some(1.0))]));
    out.extend(table(vec![full_asked(), bare], &names));
    let lines = assert_valid(&out);
    assert_eq!(lines[9]["rows"][0]["dns"]["response_codes"], json!({ "NOERROR": 1, "NXDOMAIN": 1 }));
    assert_eq!(lines[1]["rows"][0]["file"]["opens_per_s"], 12);
    assert_eq!(lines[1]["rows"][0]["syscall"]["duration"]["p99_ns"], 12);
    assert_eq!(lines[8]["rows"][0]["drop"]["packets"], 12);
    assert_eq!(lines[7]["rows"][2]["system"]["filesystem"]["mountpoint_base64"], "L21udC//");
    assert_eq!(lines[4]["rows"][0]["errors_by_type"], json!({ "EAGAIN": 2, "EINTR": 1 }));
    assert_eq!(lines[5]["syscall"]["path_base64"], "L3RtcC//");
    assert_eq!(lines[3]["systemd"]["unit_base64"], "/y5zZXJ2aWNl");
    assert_eq!(lines[0]["rows"][0]["container"]["id_base64"], "d2Vi/w==");
}

#[test]
fn the_ledger_is_valid_and_balances_as_the_page_says() {
    let ledger = Ledger {
        seen: 10,
        submitted: 7,
        lost: 3,
        missed: Some(1),
        aggregates: Aggregates { seen: 1, counted: 1, ..Aggregates::default() },
        ..Ledger::default()
    };
    let mut out = Vec::new();
    json::stats_line(&mut out, &[("process", Ledger::default()), ("flow", ledger)]);
    let line = &assert_valid(&out)[0];
    for (key, value) in line["families"]["flow"].as_object().unwrap() {
        assert!(PAGE.contains(&format!("`{key}`")), "docs/json.md does not name {key} ({value})");
    }
}

#[test]
fn what_doctor_says_of_this_machine_is_valid() {
    for args in [&["--try-all"][..], &["--btf", "none"]] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_fluoro")).args(["doctor", "-o", "json"]).args(args).output();
        assert_eq!(assert_valid(&output.unwrap().stdout).len(), 1);
    }
}

#[test]
fn lines_that_break_the_contract_are_refused() {
    let (_root, mut core) = machine();
    let lines = assert_valid(&all_lines(&mut core));
    let one = |name: &str| lines.iter().find(|line| line["event_name"] == name).unwrap();
    let validator = validator();
    let mut stats = Vec::new();
    json::stats_line(&mut stats, &[("flow", Ledger::default())]);
    let stats: Json = serde_json::from_slice(&stats).unwrap();
    let table: Json = serde_json::from_slice(&table(vec![full_flow()], &[("flows", Some(1.0))])).unwrap();
    let wrong: [(&Json, &str, Json); 24] = [
        (one("drop.packet"), "/drop/reason", Json::Null),
        (one("drop.packet"), "/network/io/direction", json!("in")),
        (one("flow.open"), "/schema", json!(2)),
        (one("flow.open"), "/event_name", json!("flow.opened")),
        (one("flow.open"), "/time", json!("2026-01-01T00:00:00Z")),
        (one("flow.open"), "/flow/id", json!(4098)),
        (one("flow.open"), "/flow/id", Json::Null),
        (one("flow.open"), "/flow/rtt_ns", json!(-1)),
        (one("flow.open"), "/flow/direction", json!("out")),
        (one("flow.open"), "/flow/primed", json!(true)),
        (one("flow.open"), "/flow/rx_bytes_per_s", json!(1)),
        (one("flow.open"), "/network/peer", Json::Null),
        (one("flow.open"), "/network/local/port", json!(65_536)),
        (one("flow.open"), "/network/connection/state", json!("ESTAB")),
        (one("flow.fail"), "/error", Json::Null),
        (one("flow.listen"), "/network/peer", json!({ "address": "::", "port": 1 })),
        (one("process.exit"), "/process/exit", json!({ "code": 1, "signal": 9 })),
        (one("process.exit"), "/process/exit", Json::Null),
        (one("process.fork"), "/process/exit", json!({ "code": 0 })),
        (one("process.exec"), "/process/comm_base64", json!(7)),
        (&stats, "/families/flow/missed", json!("none")),
        (&stats, "/families/flow/aggregates", Json::Null),
        (&table, "/rows/0/flow/tx_bytes", Json::Null),
        (&table, "/totals/flows", Json::Null),
    ];
    for (line, at, value) in wrong {
        let mut line = line.clone();
        let (parent, key) = at.rsplit_once('/').unwrap();
        let parent = line.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            assert!(parent.remove(key).is_some(), "{at}");
        } else {
            parent.insert(key.to_owned(), value.clone());
        }
        assert!(!validator.is_valid(&line), "{at} = {value} was let through: {line}");
    }
}

#[test]
fn unknown_keys_are_let_through_because_keys_may_be_added() {
    let (_root, mut core) = machine();
    for mut line in assert_valid(&all_lines(&mut core)) {
        line["later"] = json!(1);
        line["process"]["later"] = json!({ "deeper": true });
        if line["process"]["pid"].is_null() {
            line.as_object_mut().unwrap().remove("process");
        }
        assert!(validator().is_valid(&line), "{line}");
    }
}

fn resolve<'a>(schema: &'a Json, node: &'a Json) -> &'a Json {
    match node["$ref"].as_str() {
        Some(reference) => resolve(schema, schema.pointer(reference.trim_start_matches('#')).unwrap()),
        None => node,
    }
}

/// The schema of the key at a dotted path below a definition, and its description.
fn find<'a>(schema: &'a Json, definition: &str, path: &str) -> Option<(&'a Json, &'a str)> {
    let mut node = &schema["$defs"][definition];
    for key in path.split('.') {
        node = resolve(schema, node)["properties"].get(key)?;
    }
    let description = node["description"].as_str().or_else(|| resolve(schema, node)["description"].as_str());
    Some((resolve(schema, node), description?))
}

#[test]
fn every_column_with_a_json_path_is_in_the_schema_and_on_the_page() {
    let schema = schema();
    let tables = Family::ALL
        .iter()
        .map(|family| {
            (family.infos(), Some(format!("{}_event", family.stem())), format!("{}_row", family.stem()))
        })
        .chain([
            (infos::<FailureRow>(), None, "failure_row".to_owned()),
            (infos::<GroupRow>(), None, "group_row".to_owned()),
            (infos::<AskedRow>(), None, "dns_row".to_owned()),
            (infos::<file_group::GroupRow>(), None, "file_group_row".to_owned()),
            (infos::<OwnerRow>(), None, "owner_row".to_owned()),
        ]);
    for (columns, event, row) in tables {
        for info in columns {
            let Some(path) = info.json else { continue };
            let mut places = Vec::new();
            if info.faces != Faces::TopOnly {
                places.extend(event.clone());
            }
            // Drops and messages have no table of their own.
            if info.faces != Faces::EventOnly && !["drop_row", "dns_row"].contains(&row.as_str()) {
                places.push(row.clone());
            }
            for place in places {
                let Some((node, _)) = find(&schema, &place, path) else {
                    panic!("{path} of {} has no entry with a description in {place}", info.id)
                };
                let kind = node["type"].as_str().unwrap_or("word");
                match (info.kind, info.unit) {
                    (Kind::Text, _) => {
                        let lists = ["dns.answers", "dns.records"];
                        assert_eq!(kind, if lists.contains(&path) { "array" } else { "string" }, "{path}");
                        let twin = format!("{path}_base64");
                        // Names of DNS are written in ASCII.
                        let names = ["dns.question.name", "network.peer.name"];
                        let words = [&["process.real_user.name"][..], &names, &lists].concat();
                        assert!(
                            words.contains(&path) || find(&schema, &place, &twin).is_some(),
                            "{twin} is not in {place}"
                        );
                    }
                    (Kind::Number, Unit::BytesPerSecond | Unit::PerSecond | Unit::Share) => {
                        assert_eq!(kind, "number", "{path}");
                    }
                    (Kind::Number, _) => {
                        assert_eq!(kind, if path.ends_with("time") { "string" } else { "integer" }, "{path}");
                    }
                    // Counts by name are an object.
                    (Kind::Word | Kind::Address, _) => {
                        assert!(["string", "word", "object"].contains(&kind), "{path}");
                    }
                }
            }
            let unit = match info.unit {
                Unit::Nanos => "_ns",
                Unit::Bytes => "_bytes",
                Unit::BytesPerSecond => "_bytes_per_s",
                _ => "",
            };
            assert!(path.ends_with(unit), "{path} does not name its unit");
            assert!(PAGE.contains(&format!("`{path}`")), "docs/json.md does not name {path}");
        }
    }
}

#[test]
fn the_schema_lists_no_key_of_rows_that_no_column_writes() {
    fn leaves(schema: &Json, node: &Json, path: &str, out: &mut Vec<String>) {
        match resolve(schema, node)["properties"].as_object() {
            None => out.push(path.to_owned()),
            Some(members) => {
                for (name, member) in members {
                    leaves(schema, member, &format!("{path}.{name}"), out);
                }
            }
        }
    }
    let schema = schema();
    let written: BTreeSet<&str> =
        Family::ALL.iter().flat_map(|family| family.infos()).filter_map(|info| info.json).collect();
    for root in [
        "process",
        "systemd",
        "container",
        "k8s",
        "network",
        "packet",
        "talk",
        "dns",
        "flow",
        "drop",
        "file",
        "error",
        "syscall",
        "result",
        "duration",
    ] {
        let mut found = Vec::new();
        leaves(&schema, &schema["$defs"][root], root, &mut found);
        for path in found {
            let path = path.replacen("packet.", "network.", 1).replacen("talk.", "network.", 1);
            let path = path.strip_suffix("_base64").unwrap_or(&path);
            assert!(written.contains(path), "{path} is in the schema, but no column writes it");
        }
    }
}
