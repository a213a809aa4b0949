#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::columns::Value;
use crate::records::Outside;

static INFOS: [Info; 8] = [
    Info::new("comm", Kind::Text, "").keys(&["proc"]),
    Info::new("pid", Kind::Number, "").keys(&["pid"]),
    Info::new("lport", Kind::Number, "").keys(&["lport", "port"]),
    Info::new("rport", Kind::Number, "").keys(&["rport", "port"]),
    Info::new("addr", Kind::Address, "").keys(&["net"]),
    Info::new("rtt", Kind::Number, "").keys(&["rtt"]).unit(Unit::Nanos),
    Info::new("state", Kind::Word, "").keys(&["state"]),
    Info::new("uid", Kind::Number, "").keys(&["user"]),
];

#[derive(Debug, Clone)]
struct Probe {
    comm: Outside,
    pid: u64,
    ports: (u64, u64),
    addr: &'static str,
    rtt: Option<u64>,
    state: &'static str,
    uid: u64,
}

impl Facts for Probe {
    fn infos(&self) -> &'static [Info] {
        &INFOS
    }

    fn value(&self, column: usize) -> Value<'_> {
        match column {
            0 => Value::Text(&self.comm),
            1 => Value::Uint(self.pid),
            2 => Value::Uint(self.ports.0),
            3 => Value::Uint(self.ports.1),
            4 => Value::Ip(self.addr.parse().unwrap()),
            5 => self.rtt.map_or(Value::Missing, Value::Uint),
            6 => Value::Word(self.state),
            _ => Value::Uint(self.uid),
        }
    }
}

fn probe() -> Probe {
    Probe {
        comm: Outside::from("Nginx: w"),
        pid: 42,
        ports: (443, 50_000),
        addr: "10.1.2.3",
        rtt: Some(20_000_000),
        state: "established",
        uid: 33,
    }
}

fn parse(text: &str) -> Result<Filter, FilterError> {
    Filter::parse(text, &Keys::of(&INFOS))
}

#[test]
fn terms_mean_what_the_language_says() {
    let row = probe();
    for (text, expected) in [
        ("", true),
        ("nginx", true),
        ("NGINX", true),
        ("apache", false),
        ("\"nginx: w\"", true),
        ("proc:nginx", true),
        ("proc:nginx*", true),
        ("proc:*nginx", false),
        ("proc:\"nginx*\"", false),
        ("proc~^Ngi", true),
        ("proc~^ngi", false),
        ("proc~^(Apache|Ngi)", true),
        ("(proc~(x|y) or pid:42)", true),
        ("foo(bar)", false),
        ("port:443", true),
        ("port:80,443", true),
        ("port:80", false),
        ("lport:50000", false),
        ("rport:50000", true),
        ("port:440-450", true),
        ("net:10.0.0.0/8", true),
        ("net:10.1.2.3", true),
        ("net:::ffff:10.1.2.3", true),
        ("net:11.0.0.0/8", false),
        ("net:[::1]", false),
        ("rtt>=20ms", true),
        ("rtt>20ms", false),
        ("rtt<1s", true),
        ("rtt=20ms", true),
        ("rtt!=20ms", false),
        ("state:established", true),
        ("state:ESTABLISHED", true),
        ("state:estab", false),
        ("state:estab*", true),
        ("state=established", true),
        ("user:33", true),
        ("pid:42 port:443", true),
        ("pid:42 and port:443", true),
        ("pid:1 or port:443", true),
        ("pid:1 or port:443 proc:apache", false),
        ("(pid:1 or port:443) proc:nginx", true),
        ("!pid:1", true),
        ("not pid:42", false),
        ("!(pid:42 port:443)", false),
        ("event:flow.open", true),
        ("event:flow.*", true),
        ("event:flow", false),
        ("flow.open", true),
    ] {
        let filter = parse(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(filter.matches(&row, Some("flow.open")), expected, "{text}");
    }
}

#[test]
fn a_missing_value_compares_false_and_its_negation_true() {
    let row = Probe { rtt: None, ..probe() };
    for text in ["rtt>0", "rtt<1s", "rtt!=5ms", "rtt=0", "rtt:0"] {
        assert!(!parse(text).unwrap().matches(&row, None), "{text}");
        assert!(parse(&format!("!{text}")).unwrap().matches(&row, None), "!{text}");
    }
}

#[test]
fn bytes_that_are_no_text_can_be_searched() {
    let row = Probe { comm: Outside::new(b"a\xffb\xc3\x84"), ..probe() };
    assert!(parse("proc~(?-u)\\xff").unwrap().matches(&row, None));
    let umlaut = Probe { comm: Outside::from("\u{c4}rger"), ..probe() };
    assert!(parse("\u{e4}rger").unwrap().matches(&umlaut, None));
}

#[test]
fn errors_point_at_the_character_and_name_the_remedy() {
    for (text, at, says) in [
        ("prot:443", 0..4, "did you mean port?"),
        ("pid:42 xyzzyq:1", 7..13, "known:"),
        ("port:http", 5..9, "port takes a number"),
        ("net:10.0.0.0/99", 4..15, "an address such as"),
        ("rtt>5parsec", 4..11, "a time such as 20ms"),
        ("(pid:1", 0..1, "not closed"),
        ("pid:1)", 5..6, "closes nothing"),
        ("\"abc", 0..1, "not closed"),
        ("proc~(", 4..6, "regular expression"),
        ("pid:", 3..4, "missing"),
        ("pid:1 or", 6..8, "both sides"),
        ("or pid:1", 0..2, "both sides"),
        ("!", 0..1, "nothing to negate"),
        ("port:80,,443", 4..5, "empty"),
        ("state>listen", 6..12, "no number"),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(error.at, at, "{text}: {}", error.message);
        assert!(error.message.contains(says), "{text}: {}", error.message);
    }
    assert_eq!(
        parse("pid:1 prot:2").unwrap_err().to_string(),
        "filter: unknown key prot: did you mean port?\n  pid:1 prot:2\n        ^^^^"
    );
}

#[test]
fn only_necessary_terms_are_pushed_into_the_kernel() {
    let push = |text: &str| parse(text).unwrap().push_down(|_| vec![7]);
    assert_eq!(push("pid:1,2 port:80").pids, Some(vec![1, 2]));
    assert_eq!(push("pid:1,2 port:80-82").ports, Some(vec![80, 81, 82]));
    assert_eq!(push("user:0").uids, Some(vec![0]));
    assert_eq!(push("user:1000-1002").uids, Some(vec![1000, 1001, 1002]));
    for text in ["!pid:1", "pid:1 or port:80", "pid>1", "proc:x", "port:1-60000", "user:1-60000"] {
        assert_eq!(push(text), PushDown::default(), "{text}");
    }
}

#[test]
fn completion_offers_the_keys_that_begin_so() {
    let keys = Keys::of(&INFOS);
    assert_eq!(complete("pid:1 (r", 8, &keys), ["rport:", "rtt:"]);
}

fn term() -> impl Strategy<Value = String> {
    prop_oneof![
        (0u64..5).prop_map(|n| format!("pid:{n}")),
        (0u64..5, 0u64..5).prop_map(|(a, b)| format!("port:{a},{b}")),
        (0u64..5).prop_map(|n| format!("user:{n}")),
        (0u64..5, 0u64..3).prop_map(|(n, more)| format!("user:{n}-{}", n + more)),
        "[a-c]{1,2}".prop_map(|word| format!("\"{word}\"")),
        Just("rtt>1ms".to_owned()),
        Just("state:listen".to_owned()),
    ]
}

fn expression() -> impl Strategy<Value = String> {
    term().prop_recursive(4, 20, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) or ({b})")),
            inner.prop_map(|a| format!("!({a})")),
        ]
    })
}

fn row() -> impl Strategy<Value = Probe> {
    ("[a-c]{0,3}", 0u64..5, 0u64..5, 0u64..5, proptest::option::of(0u64..3_000_000), 0u64..5, any::<bool>())
        .prop_map(|(comm, pid, lport, rport, rtt, uid, listens)| Probe {
            comm: Outside::from(comm.as_str()),
            pid,
            ports: (lport, rport),
            addr: "::1",
            rtt,
            state: if listens { "listen" } else { "established" },
            uid,
        })
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,40}") {
        if let Err(error) = parse(&text) {
            prop_assert!(error.at.start <= text.len() + 1);
            let _ = error.to_string();
        }
    }

    #[test]
    fn what_is_printed_is_parsed_to_the_same(text in expression(), row in row()) {
        let filter = parse(&text).unwrap();
        let again = parse(&filter.to_string()).unwrap();
        prop_assert_eq!(&filter, &again);
        prop_assert_eq!(filter.matches(&row, None), again.matches(&row, None));
    }

    #[test]
    fn what_matches_is_in_every_list_given_to_the_kernel(text in expression(), row in row()) {
        let filter = parse(&text).unwrap();
        if filter.matches(&row, None) {
            let pushed = filter.push_down(|_| Vec::new());
            prop_assert!(pushed.pids.is_none_or(|pids| pids.contains(&(row.pid as u32))));
            prop_assert!(pushed.uids.is_none_or(|uids| uids.contains(&(row.uid as u32))));
            let in_ports = |ports: &Vec<u16>| {
                ports.contains(&(row.ports.0 as u16)) || ports.contains(&(row.ports.1 as u16))
            };
            prop_assert!(pushed.ports.as_ref().is_none_or(in_ports));
        }
    }

    #[test]
    fn negation_turns_the_answer_round(text in expression(), row in row()) {
        let negated = parse(&format!("!({text})")).unwrap();
        prop_assert_ne!(parse(&text).unwrap().matches(&row, None), negated.matches(&row, None));
    }
}
