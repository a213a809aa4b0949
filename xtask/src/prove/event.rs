//! One line of `fluoro observe -o json`, taken apart by the names of the published contract.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Event {
    pub name: String,
    pub time: String,
    pub pid: Option<u32>,
    pub tid: Option<u32>,
    pub parent: Option<u32>,
    pub comm: Option<String>,
    pub executable: Option<String>,
    pub executable_name: Option<String>,
    pub created: Option<String>,
    pub uid: Option<u32>,
    pub cgroup: Option<String>,
    pub unit: Option<String>,
    pub container: Option<String>,
    pub runtime: Option<String>,
    pub exit_code: Option<i64>,
    pub exit_signal: Option<String>,
    pub network_type: Option<String>,
    pub local: Option<SocketAddr>,
    pub peer: Option<SocketAddr>,
    pub flow: Option<String>,
    pub direction: Option<String>,
    pub attribution: Option<String>,
    pub tx_bytes: Option<u64>,
    pub rx_bytes: Option<u64>,
    pub primed: bool,
    pub error: Option<String>,
    pub netns: Option<u64>,
    pub io_direction: Option<String>,
    pub reason: Option<String>,
    pub drop_attribution: Option<String>,
    pub location: Option<String>,
    pub path: Option<Vec<u8>>,
    pub old_path: Option<Vec<u8>>,
    pub target: Option<Vec<u8>>,
    pub path_kind: Option<String>,
    pub path_truncated: bool,
    /// Asked for by the 32-bit ABI.
    pub compat: bool,
    pub flags: Option<String>,
    pub result: Option<i64>,
    /// The open made the file.
    pub made: bool,
    pub duration_ns: Option<u64>,
}

impl Event {
    pub fn from_value(value: &Value) -> Result<Self> {
        ensure!(value.get("schema") == Some(&Value::from(1)), "no \"schema\":1 in {value}");
        let event = Self { name: text(value, "/event_name").context("no event_name")?, ..Self::facts(value) };
        ensure!(
            event.name == "fluoro.stats" || event.time.ends_with('Z'),
            "{}: time {:?} is not UTC",
            event.name,
            event.time
        );
        Ok(event)
    }

    /// A row of `fluoro top -o json` has the same names, but neither an event's name nor its time.
    pub fn facts(value: &Value) -> Self {
        let number = |at: &str| value.pointer(at).and_then(Value::as_u64);
        let small = |at: &str| number(at).and_then(|n| u32::try_from(n).ok());
        let socket = |side: &str| {
            let address: IpAddr = text(value, &format!("/network/{side}/address"))?.parse().ok()?;
            let port = number(&format!("/network/{side}/port")).unwrap_or(0);
            Some(SocketAddr::new(address, u16::try_from(port).ok()?))
        };
        Self {
            name: String::new(),
            time: text(value, "/time").unwrap_or_default(),
            pid: small("/process/pid"),
            tid: small("/process/tid"),
            parent: small("/process/parent_pid"),
            comm: text(value, "/process/comm"),
            executable: text(value, "/process/executable/path"),
            executable_name: text(value, "/process/executable/name"),
            created: text(value, "/process/creation/time"),
            uid: small("/process/real_user/id")
                .or_else(|| text(value, "/process/real_user/id")?.parse().ok()),
            cgroup: text(value, "/process/linux/cgroup"),
            unit: text(value, "/systemd/unit"),
            container: text(value, "/container/id"),
            runtime: text(value, "/container/runtime/name"),
            exit_code: value.pointer("/process/exit/code").and_then(Value::as_i64),
            exit_signal: value.pointer("/process/exit/signal").map(plain),
            network_type: text(value, "/network/type"),
            local: socket("local"),
            peer: socket("peer"),
            flow: value.pointer("/flow/id").map(plain),
            direction: text(value, "/flow/direction"),
            attribution: text(value, "/flow/attribution"),
            tx_bytes: number("/flow/tx_bytes"),
            rx_bytes: number("/flow/rx_bytes"),
            primed: value.pointer("/flow/primed") == Some(&Value::Bool(true)),
            error: text(value, "/error/type"),
            netns: number("/network/namespace/inode"),
            io_direction: text(value, "/network/io/direction"),
            reason: text(value, "/drop/reason"),
            drop_attribution: text(value, "/drop/attribution"),
            location: text(value, "/drop/location"),
            path: bytes(value, "/file/path"),
            old_path: bytes(value, "/file/old_path"),
            target: bytes(value, "/file/symbolic_link/target_path"),
            path_kind: text(value, "/file/path_kind"),
            path_truncated: value.pointer("/file/path_truncated") == Some(&Value::Bool(true)),
            compat: value.pointer("/file/compat") == Some(&Value::Bool(true)),
            flags: text(value, "/file/flags"),
            result: value.pointer("/result/return").and_then(Value::as_i64),
            made: value.pointer("/result/created") == Some(&Value::Bool(true)),
            duration_ns: number("/result/duration_ns"),
        }
    }

    /// What TCP does about a segment that comes late or not at all, as on a machine that lets programs wait: a claim about
    /// connections that nothing happens to has no say in it.
    pub fn is_trouble(&self) -> bool {
        ["flow.retransmit", "flow.reset"].contains(&self.name.as_str())
    }

    pub fn local_port(&self) -> u16 {
        self.local.map_or(0, |at| at.port())
    }

    pub fn peer_port(&self) -> u16 {
        self.peer.map_or(0, |at| at.port())
    }

    /// The figures of a flow event in one line, for examples.
    pub fn brief(&self) -> String {
        let side = |at: Option<SocketAddr>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        format!(
            "{} {} pid {} {}→{} {} tx {} rx {}{}{}",
            self.name,
            self.direction.as_deref().unwrap_or("-"),
            self.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            side(self.local),
            side(self.peer),
            self.attribution.as_deref().unwrap_or("-"),
            self.tx_bytes.map_or_else(|| "-".to_owned(), |n| n.to_string()),
            self.rx_bytes.map_or_else(|| "-".to_owned(), |n| n.to_string()),
            if self.primed { " primed" } else { "" },
            self.error.as_deref().map(|error| format!(" {error}")).unwrap_or_default(),
        )
    }
}

/// Text that may be given lossy, by its twin in base64.
fn bytes(value: &Value, at: &str) -> Option<Vec<u8>> {
    match text(value, &format!("{at}_base64")) {
        Some(coded) => BASE64.decode(coded).ok(),
        None => text(value, at).map(String::into_bytes),
    }
}

fn text(value: &Value, at: &str) -> Option<String> {
    value.pointer(at).and_then(Value::as_str).map(ToOwned::to_owned)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(line: &str) -> Result<Event> {
        Event::from_value(&serde_json::from_str(line)?)
    }

    #[test]
    fn the_line_of_the_contract_is_understood() {
        let line = r#"{"schema":1,"time":"2026-01-02T03:04:05.678901234Z","event_name":"flow.open",
            "process":{"pid":4242,"tid":4243,"comm":"curl","real_user":{"id":0,"name":"root"}},
            "network":{"transport":"tcp","type":"ipv4","local":{"address":"127.0.0.1","port":53122},
            "peer":{"address":"127.0.0.1","port":443}},
            "flow":{"id":"18446744073709551615","direction":"outbound","attribution":"exact","tx_bytes":7}}"#;
        let event = parse(line).unwrap();
        assert_eq!((event.pid, event.tid, event.uid), (Some(4242), Some(4243), Some(0)));
        assert_eq!((event.local_port(), event.peer_port(), event.tx_bytes), (53122, 443, Some(7)));
        assert_eq!(event.flow.as_deref(), Some("18446744073709551615"));
        assert!(!event.primed);
    }

    #[test]
    fn a_line_of_another_schema_is_refused() {
        assert!(parse(r#"{"schema":2,"time":"2026-01-02T03:04:05Z","event_name":"flow.open"}"#).is_err());
        assert!(parse(r#"{"schema":1,"time":"2026-01-02T03:04:05","event_name":"flow.open"}"#).is_err());
    }
}
