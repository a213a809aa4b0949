//! A dropped packet as an event line shows it.

use std::net::SocketAddr;
use std::sync::Arc;

use super::columns;
use crate::columns::{Column, Row, RowId};
use crate::families::flow::row::Attribution;
use crate::families::identity::HasIdentity;
use crate::model::Identity;
use crate::records::NetnsId;
use crate::records::drop::{Interface, Place};

#[derive(Debug, Clone, PartialEq)]
pub struct DropRow {
    pub place: Place,
    pub reason: &'static str,
    /// Function of the kernel in which it was dropped.
    pub location: Option<&'static str>,
    pub identity: Option<Arc<Identity>>,
    pub attribution: Attribution,
    pub netns: NetnsId,
    pub interface: Interface,
    pub len: u32,
    pub received: bool,
    /// Of this side and the other: who would have received it and who sent it, or the other way round.
    pub ends: Option<(SocketAddr, SocketAddr)>,
    pub ethertype: u16,
    /// IP protocol.
    pub protocol: u8,
}

impl DropRow {
    /// Transport by the name in the registry of IANA, lower case; `None` where it is none that is common.
    pub const fn transport(&self) -> Option<&'static str> {
        if self.ends.is_none() {
            return None;
        }
        Some(match self.protocol {
            1 => "icmp",
            2 => "igmp",
            4 => "ipip",
            6 => "tcp",
            17 => "udp",
            33 => "dccp",
            41 => "ipv6",
            47 => "gre",
            50 => "esp",
            58 => "ipv6-icmp",
            132 => "sctp",
            136 => "udplite",
            _ => return None,
        })
    }

    pub const fn has_ports(&self) -> bool {
        self.ends.is_some() && matches!(self.protocol, 6 | 17 | 33 | 132 | 136)
    }
}

impl HasIdentity for DropRow {
    fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }
}

impl Row for DropRow {
    fn id(&self) -> RowId {
        RowId(u64::MAX - 4 - u64::from(self.place.cpu), self.place.seq)
    }

    fn columns() -> &'static [Column<Self>] {
        columns::columns()
    }
}
