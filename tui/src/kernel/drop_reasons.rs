//! Why packets are dropped, in the running kernel's own words: its enums in BTF.

use std::collections::HashMap;

use crate::kernel::btf::Btf;

pub const CORE: &str = "skb_drop_reason";

/// Numbers the subsystems whose enums follow; a reason is `subsystem << 16 | value`.
const SUBSYSTEMS: &str = "skb_drop_reason_subsys";

/// Enums of the subsystems, with what their numbers' names end in.
const OTHERS: &[(&str, &str)] = &[
    ("SKB_DROP_REASON_SUBSYS_MAC80211_UNUSABLE", "mac80211_drop_reason"),
    ("SKB_DROP_REASON_SUBSYS_MAC80211_MONITOR", "mac80211_drop_reason"),
    ("SKB_DROP_REASON_SUBSYS_OPENVSWITCH", "ovs_drop_reason"),
];

const PREFIXES: &[&str] = &["SKB_DROP_REASON_", "SKB_"];

/// What the kernel's tracepoints print for each reason. Empty before 5.17.
pub fn read(btf: &Btf<'_>) -> HashMap<u32, String> {
    let mut names: HashMap<u32, String> = HashMap::new();
    for (subsystem, others) in OTHERS {
        let Some(number) = btf.enum_value(SUBSYSTEMS, subsystem) else { continue };
        for (label, value) in btf.enum_values(others) {
            // Those of mac80211 have their subsystem in them already.
            let code = if value >> 16 == 0 { (number as u32) << 16 | value as u32 } else { value as u32 };
            if code >> 16 == number as u32 {
                names.entry(code).or_insert(label);
            }
        }
    }
    for (label, value) in btf.enum_values(CORE) {
        let short = PREFIXES.iter().find_map(|prefix| label.strip_prefix(prefix)).unwrap_or(&label);
        if !matches!(short, "MAX" | "SUBSYS_MASK") {
            names.insert(value as u32, short.to_owned());
        }
    }
    names
}
