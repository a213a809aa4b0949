//! A question or an answer as an event line shows it.

pub mod asked;

use std::net::SocketAddr;
use std::sync::Arc;

use super::columns;
use super::decode::{Message, Told};
use crate::columns::{Column, Row, RowId};
use crate::families::flow::row::Attribution;
use crate::families::identity::HasIdentity;
use crate::model::Identity;
use crate::records::{NetnsId, Outside, Tid};

#[derive(Debug, Clone, PartialEq)]
pub struct DnsRow {
    /// CPU, and number there.
    pub place: (u32, u64),
    pub message: Message,
    pub identity: Option<Arc<Identity>>,
    pub tid: Option<Tid>,
    pub attribution: Attribution,
    pub tcp: bool,
    /// Where it was seen.
    pub netns: NetnsId,
    pub local: SocketAddr,
    pub peer: SocketAddr,
    /// Of this side: it came in. Over the loopback, whether the side that asks got it.
    pub received: bool,
    /// Of an answer: since the question.
    pub duration_ns: Option<u64>,
    /// Items, each with its NUL.
    pub addresses: Outside,
    pub records: Outside,
}

impl DnsRow {
    /// By the port.
    pub fn protocol(&self) -> &'static str {
        let is = |port| self.peer.port() == port || self.local.port() == port;
        if is(53) {
            "dns"
        } else if is(5353) {
            "mdns"
        } else {
            "llmnr"
        }
    }
}

/// What answers tell: addresses, and all else.
pub(super) fn items(message: &Message) -> (Outside, Outside) {
    let (mut addresses, mut records) = (Vec::new(), Vec::new());
    for answer in &message.answers {
        let (list, item) = match &answer.told {
            Told::Address(address) => (&mut addresses, address.to_string()),
            Told::Other(text) => (&mut records, text.clone()),
        };
        list.extend_from_slice(item.as_bytes());
        list.push(0);
    }
    (Outside::new(&addresses), Outside::new(&records))
}

impl HasIdentity for DnsRow {
    fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }

    fn tid(&self) -> Option<Tid> {
        self.tid
    }
}

impl Row for DnsRow {
    fn id(&self) -> RowId {
        RowId(u64::MAX - (1 << 32) - u64::from(self.place.0), self.place.1)
    }

    fn columns() -> &'static [Column<Self>] {
        columns::columns()
    }
}
