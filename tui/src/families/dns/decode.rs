//! Messages of DNS, mDNS and LLMNR: bytes that anybody may have sent in, words and addresses out. Pure.

use std::borrow::Cow;
use std::net::IpAddr;

use domain::base::iana::{OptRcode, Rtype};
use domain::base::name::ParsedName;
use domain::base::{Message as Raw, ParsedRecord};
use domain::rdata::{A, Aaaa, Cname, Dname, Mx, Ns, Ptr, Srv};

use crate::records::Outside;

/// Answers that are looked at.
const ANSWERS_MAX: usize = 100;

type Octets<'a> = &'a [u8];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub id: u16,
    pub response: bool,
    /// The sender says that there is more, over TCP.
    pub truncated: bool,
    /// By the words of the registry of IANA; a number where that has none.
    pub rcode: Cow<'static, str>,
    pub question: Option<Question>,
    pub answers: Vec<Answer>,
    /// Answers by the header's count.
    pub answer_count: u16,
    /// It is not what the protocol says, or ends too early: what was understood before that is told.
    pub malformed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// As it is written, without the last dot; bytes that are no printable ASCII as `\DDD`.
    pub name: Outside,
    /// `A`, `AAAA`, .., or `TYPE12345`.
    pub kind: Cow<'static, str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whose it is.
    pub name: Outside,
    pub ttl_s: u32,
    pub told: Told,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Address(IpAddr),
    /// Type and what it is, as in a zone file; of a type that is not read, how long it is.
    Other(String),
}

impl Message {
    /// `None`: too short to be a message.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let raw = Raw::from_octets(bytes).ok()?;
        let header = raw.header();
        let mut message = Self {
            id: header.id(),
            response: header.qr(),
            truncated: header.tc(),
            rcode: Cow::Borrowed(""),
            question: None,
            answers: Vec::new(),
            answer_count: raw.header_counts().ancount(),
            malformed: false,
        };
        message.malformed = message.read(&raw).is_none();
        let code = if message.malformed { OptRcode::from_rcode(header.rcode()) } else { raw.opt_rcode() };
        message.rcode =
            code.to_mnemonic_str().map_or_else(|| Cow::Owned(code.to_int().to_string()), Cow::Borrowed);
        Some(message)
    }

    /// `None`: it ends too early, or is not what it should be.
    fn read(&mut self, raw: &Raw<Octets<'_>>) -> Option<()> {
        let mut questions = raw.question();
        // One is all that anybody asks; of more the first is told.
        if let Some(question) = questions.next() {
            let question = question.ok()?;
            self.question =
                Some(Question { name: name(question.qname()), kind: type_word(question.qtype()) });
        }
        for record in questions.answer().ok()?.take(ANSWERS_MAX) {
            let record = record.ok()?;
            self.answers.push(Answer {
                name: name(&record.owner()),
                ttl_s: record.ttl().as_secs(),
                told: told(&record)?,
            });
        }
        Some(())
    }
}

fn told(record: &ParsedRecord<'_, Octets<'_>>) -> Option<Told> {
    macro_rules! data {
        ($kind:ty) => {
            record.to_record::<$kind>().ok()??.into_data()
        };
    }
    type Name<'a> = ParsedName<&'a [u8]>;
    let kind = type_word(record.rtype());
    let text = match record.rtype() {
        Rtype::A => return Some(Told::Address(IpAddr::V4(data!(A).addr()))),
        Rtype::AAAA => return Some(Told::Address(IpAddr::V6(data!(Aaaa).addr()))),
        Rtype::CNAME => text(data!(Cname<Name<'_>>).cname()),
        Rtype::DNAME => text(data!(Dname<Name<'_>>).dname()),
        Rtype::NS => text(data!(Ns<Name<'_>>).nsdname()),
        Rtype::PTR => text(data!(Ptr<Name<'_>>).ptrdname()),
        Rtype::MX => {
            let mx = data!(Mx<Name<'_>>);
            format!("{} {}", mx.preference(), text(mx.exchange()))
        }
        Rtype::SRV => {
            let srv = data!(Srv<Name<'_>>);
            format!("{} {} {} {}", srv.priority(), srv.weight(), srv.port(), text(srv.target()))
        }
        _ => format!("{} bytes", record.rdlen()),
    };
    Some(Told::Other(format!("{kind} {text}")))
}

fn type_word(kind: Rtype) -> Cow<'static, str> {
    kind.to_mnemonic_str().map_or_else(|| Cow::Owned(format!("TYPE{}", kind.to_int())), Cow::Borrowed)
}

fn name<O: AsRef<[u8]>>(name: &ParsedName<O>) -> Outside {
    Outside::from(text(name).as_str())
}

/// Written as OpenTelemetry and zone files have it: a dot or a backslash inside a label behind a backslash, what is not
/// printable in three decimal digits.
fn text<O: AsRef<[u8]>>(name: &ParsedName<O>) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for label in name.iter().filter(|label| !label.is_root()) {
        if !text.is_empty() {
            text.push('.');
        }
        for &byte in label.as_slice() {
            match byte {
                b'.' | b'\\' => text.extend(['\\', char::from(byte)]),
                b' '..=b'~' => text.push(char::from(byte)),
                // A string takes everything.
                _ => drop(write!(text, "\\{byte:03}")),
            }
        }
    }
    if text.is_empty() { ".".to_owned() } else { text }
}

#[cfg(test)]
mod tests;
