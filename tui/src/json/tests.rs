#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use serde_json::Value as Json;

use super::*;
use crate::columns::{Column, Kind, Listing, Row, RowId};
use crate::records::{BootTime, Outside};

struct Sample {
    name: Outside,
    peer: Option<std::net::IpAddr>,
}

impl Row for Sample {
    fn id(&self) -> RowId {
        RowId(0, 0)
    }

    fn columns() -> &'static [Column<Self>] {
        static COLUMNS: OnceLock<Vec<Column<Sample>>> = OnceLock::new();
        COLUMNS.get_or_init(|| {
            vec![
                Column::new(Info::new("name", Kind::Text, "").json("file.path"), |r| Value::Text(&r.name)),
                Column::new(Info::new("id", Kind::Word, "").json("flow.id"), |_| Value::Id(u64::MAX)),
                Column::new(Info::new("peer", Kind::Address, "").json("network.peer.address"), |r| {
                    r.peer.map_or(Value::Missing, Value::Ip)
                }),
                Column::new(
                    Info::new("rate", Kind::Number, "").json("flow.rate").faces(Faces::TopOnly),
                    |_| Value::Real(1.5),
                ),
                Column::new(Info::new("plain", Kind::Number, "no path"), |_| Value::Uint(1)),
            ]
        })
    }
}

fn line(name: &[u8], peer: Option<&str>) -> Json {
    let event = Event {
        seq: 1,
        name: "file.open",
        family: "file",
        at: BootTime(0),
        wall: WallTime(1_700_000_000_123_456_789),
        facts: Arc::new(Sample { name: Outside::new(name), peer: peer.map(|p| p.parse().unwrap()) }),
    };
    let mut out = Vec::new();
    event_line(&mut out, &event);
    assert_eq!(out.iter().filter(|&&b| b == b'\n').count(), 1);
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn an_event_is_nested_by_its_paths() {
    let json = line(b"/etc", Some("::1"));
    assert_eq!(json["schema"], 1);
    assert_eq!(json["time"], "2023-11-14T22:13:20.123456789Z");
    assert_eq!(json["event_name"], "file.open");
    assert_eq!(json["file"]["path"], "/etc");
    assert_eq!(json["flow"]["id"], "18446744073709551615");
    assert_eq!(json["network"]["peer"]["address"], "::1");
    assert_eq!(json["flow"].get("rate"), None);
}

#[test]
fn what_is_missing_is_absent_with_its_parents() {
    assert_eq!(line(b"x", None).get("network"), None);
}

#[test]
fn bytes_that_are_no_text_are_given_twice() {
    let json = line(b"a\xff\n\"\x1b", None);
    assert_eq!(json["file"]["path"], "a\u{fffd}\n\"\u{1b}");
    assert_eq!(json["file"]["path_base64"], "Yf8KIhs=");
    assert_eq!(line(b"plain", None)["file"].get("path_base64"), None);
}

#[test]
fn a_table_is_one_object_with_its_rows() {
    let sheet = Listing {
        rows: vec![
            Arc::new(Sample { name: Outside::from("a"), peer: None }),
            Arc::new(Sample { name: Outside::from("b"), peer: None }),
        ],
        total: 2,
    };
    let mut out = Vec::new();
    top_object(
        &mut out,
        WallTime(0),
        Duration::from_secs(1),
        &[("flows", Some(2.0)), ("rx", None)],
        7,
        &sheet,
        1,
    );
    let json: Json = serde_json::from_slice(&out).unwrap();
    assert_eq!(json["interval_ns"], 1_000_000_000);
    assert_eq!((&json["lost"], &json["totals"]["flows"]), (&Json::from(7), &Json::from(2)));
    assert_eq!(json["rows"].as_array().unwrap().len(), 1);
    assert_eq!(json["rows"][0]["flow"]["rate"], 1.5);
}

#[test]
fn the_ledger_says_null_where_the_kernel_does_not_say() {
    let mut out = Vec::new();
    stats_line(&mut out, &[("flow", Ledger { seen: 3, submitted: 3, ..Ledger::default() })]);
    let json: Json = serde_json::from_slice(&out).unwrap();
    assert_eq!(json["families"]["flow"]["missed"], Json::Null);
    assert_eq!(json["families"]["flow"]["aggregates"]["untracked"], 0);
}

#[test]
fn times_have_nine_decimals_even_when_they_are_nought() {
    let mut out = Vec::new();
    time(&mut out, WallTime(951_782_400_000_000_000));
    assert_eq!(out, b"\"2000-02-29T00:00:00.000000000Z\"");
}
