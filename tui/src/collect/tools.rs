//! What loading takes and is the same for every family: the object with this machine's facts in it, the sizes of its maps,
//! the kernel's types.

use std::io;

use aya::{Btf as AyaBtf, Ebpf, EbpfLoader, VerifierLogLevel};
use zerocopy::IntoBytes as _;

use crate::collect::ground::Ground;
use crate::collect::machine;
use crate::collect::maps::{Budget, MapSize};
use crate::collect::object::OBJECT;
use crate::families::Family;
use crate::kernel::btf;

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot load the {family} programs: {}{remedy}", told(source.as_ref()))]
    Object {
        family: &'static str,
        #[source]
        source: Box<aya::EbpfError>,
        remedy: String,
    },
    #[error("cannot open the maps of {family}: {source}")]
    Maps {
        family: &'static str,
        #[source]
        source: aya::maps::MapError,
    },
}

/// What went wrong, and why. Without the kernel's own words, which of types are all of ours.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    for cause in std::iter::successors(Some(error), |error| error.source()) {
        let said = cause.to_string();
        let said = said.split(". Verifier output:").next().unwrap_or(&said);
        if text.is_empty() {
            said.clone_into(&mut text);
        } else if !text.contains(said) {
            text = format!("{text}: {said}");
        }
        let code = cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        if code == Some(libc::EMFILE) {
            text.push_str("; allow more open files (ulimit -n)");
        }
    }
    text
}

/// What takes time to make and is the same for every family.
pub struct Tools<'a> {
    pub(super) ground: &'a Ground,
    object: EbpfLoader<'a>,
    /// What programs are attached to, as aya wants it: made when a hook asks first.
    types: Option<Result<AyaBtf, String>>,
}

impl<'a> Tools<'a> {
    pub fn new(ground: &'a Ground) -> Self {
        let mut object = EbpfLoader::new();
        // aya loads a refused program once more, with a log. The verifier writes its complaint at any level; at this
        // one no instructions, which took tens of seconds. (With none the second attempt fails for the log, whatever
        // the first failed for.)
        object.btf(None).verifier_log_level(VerifierLogLevel::STATS);
        object.override_global("OFFSETS", ground.offsets.as_bytes(), true).override_global(
            "MACHINE",
            ground.machine.as_bytes(),
            true,
        );
        Self { ground, object, types: None }
    }

    /// Lets go of the kernel's types, megabytes; false: it has none.
    pub fn forget_types(&mut self) -> bool {
        self.types.take().is_some()
    }

    pub(super) fn types(&mut self) -> Result<&AyaBtf, String> {
        let ground = self.ground;
        self.types
            .get_or_insert_with(|| match &ground.btf {
                None => Err(ground.btf_reason.clone()),
                Some(_) => AyaBtf::parse(&btf::sparse(&ground.targets), aya::Endianness::default())
                    .map_err(|error| format!("the kernel's BTF cannot be read: {error}")),
            })
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Creates the family's maps, those of other families at their smallest.
    pub(super) fn load(&mut self, family: Family) -> Result<(Ebpf, Vec<MapSize>), LoadError> {
        let ground = self.ground;
        for MapSize { name, .. } in Family::ALL.iter().flat_map(|&other| sizes(other, ground)) {
            self.object.map_max_entries(name, 1);
        }
        let sizes = sizes(family, ground);
        for MapSize { name, entries, .. } in &sizes {
            self.object.map_max_entries(name, *entries);
        }
        let bpf = self.object.load(OBJECT).map_err(|source| LoadError::Object {
            family: family.stem(),
            source: Box::new(source),
            remedy: ground
                .refusals
                .privilege
                .as_ref()
                .map_or_else(String::new, |remedy| format!("; {remedy}")),
        })?;
        Ok((bpf, sizes))
    }
}

/// Entries of the maps whose size depends on the machine, and what an entry costs.
fn sizes(family: Family, ground: &Ground) -> Vec<MapSize> {
    const RING_NAMES: [&str; fluoro_shared::RINGS] =
        ["RING0", "RING1", "RING2", "RING3", "RING4", "RING5", "RING6", "RING7"];
    let rings = machine::rings(ground.possible_cpus);
    let ring = machine::ring_bytes(ground.possible_cpus, ground.map_budget);
    let budget = Budget {
        bytes: ground.map_budget,
        possible_cpus: ground.possible_cpus,
        stamps: ground.machine.stamp_mask + 1,
    };
    RING_NAMES
        .into_iter()
        .take(rings)
        .map(|name| MapSize { name, entries: ring, entry_bytes: 1, counted: false })
        .chain(family.maps(&budget))
        .collect()
}
