//! Drops by conversation: what is new since the reading before.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use fluoro_shared::drop::DropFlowKey;
use zerocopy::IntoBytes as _;

use super::{DropModel, Frame, Why, echoes, reason};
use crate::families::flow::row::lost::Conversation;
use crate::model::Lookup;
use crate::records::{BootTime, NetnsId};

/// A count that has not grown for so long makes room in the map.
const QUIET_NS: u64 = 30_000_000_000;

/// Counts at the last reading, and when they were last seen to grow.
pub(super) type Flows = HashMap<DropFlowKey, (u64, BootTime)>;

impl DropModel {
    /// What is new, by conversation and reason; and the keys of the map that may go.
    pub fn count_flows(
        &mut self,
        frame: &Frame,
        now: BootTime,
        lookup: &mut dyn Lookup,
    ) -> (Vec<(Conversation, &'static str, u64)>, Vec<u8>) {
        let (mut losses, mut gone) = (Vec::new(), Vec::new());
        for &(key, count) in &frame.flows {
            let (before, grew) = self.flows.entry(key).or_insert((0, now));
            // A packet that is being moved to its reason is counted in neither place or in both for a moment.
            if count > *before {
                let why = Why::new(key.reason, key.location, key.flags as u16, key.protocol as u8);
                let [source, destination] = [
                    end(key.source_address, key.source_port),
                    end(key.destination_address, key.destination_port),
                ];
                let conversation =
                    Conversation::new(NetnsId(key.netns), key.protocol as u8, source, destination);
                let reason = reason(&why, lookup).0;
                if reason == echoes::REASON {
                    self.echoes.answered(&key, count - *before);
                }
                losses.push((conversation, reason, count - *before));
                (*before, *grew) = (count, now);
            } else if now.since(*grew) >= QUIET_NS {
                gone.extend_from_slice(key.as_bytes());
                self.flows.remove(&key);
            }
        }
        (losses, gone)
    }
}

pub(super) fn end(address: [u8; 16], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)).to_canonical(), port)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::families::drop::model::tests::Kernel;

    #[test]
    fn a_conversation_is_told_what_is_new_and_makes_room_when_it_is_quiet() {
        let mut kernel = Kernel::default();
        kernel.reasons.insert(8, "NETFILTER_DROP");
        let address = |last| Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0x0a00, last]).octets();
        let key = DropFlowKey {
            source_address: address(1),
            destination_address: address(2),
            location: 0,
            reason: 8,
            netns: 3,
            flags: 0,
            source_port: 7,
            destination_port: 9,
            protocol: 17,
        };
        let mut model = DropModel::default();
        let mut read = |count, at| {
            let frame = Frame { flows: vec![(key, count)], ..Frame::default() };
            model.count_flows(&frame, BootTime(at), &mut kernel)
        };
        let [there, back] = ["10.0.0.1:7".parse().unwrap(), "10.0.0.2:9".parse().unwrap()];
        let conversation = Conversation::new(NetnsId(3), 17, back, there);
        assert_eq!(read(2, 1), (vec![(conversation, "NETFILTER_DROP", 2)], Vec::new()));
        assert_eq!(read(5, 2), (vec![(conversation, "NETFILTER_DROP", 3)], Vec::new()));
        assert_eq!(read(5, 3), (Vec::new(), Vec::new()));
        assert_eq!(read(5, 2 + QUIET_NS), (Vec::new(), key.as_bytes().to_vec()));
    }
}
