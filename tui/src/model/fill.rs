//! How full the maps of an attached family are. What nobody counts is not told.

use std::sync::OnceLock;

use crate::columns::{Cell, Column, Estimate, Info, Kind, Row, RowId, Unit, Value};

/// What becomes of a map that is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapKind {
    /// It has no room for more.
    Hash,
    /// The oldest entry gives way.
    Lru,
    /// Its entries are there from the start.
    Array,
    /// Records on their way to user space, in bytes.
    Ring,
}

impl MapKind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Lru => "lru",
            Self::Array => "array",
            Self::Ring => "ring",
        }
    }
}

/// One map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapFill {
    pub name: &'static str,
    pub kind: MapKind,
    /// Entries in use; of a ring the most bytes that ever waited at once.
    pub used: Option<u64>,
    /// Counted key by key while the kernel went on: what comes and goes meanwhile may be in it or not.
    pub walked: bool,
    /// Entries that there is room for; of a ring bytes.
    pub room: u64,
    /// Memory of all of them, in use or not.
    pub bytes: u64,
}

impl MapFill {
    /// Share of the room that is in use.
    pub fn share(&self) -> Option<f64> {
        (self.room > 0).then_some(self.used? as f64 / self.room as f64)
    }
}

/// The fullest map of those that have no room for more when they are full.
pub fn fullest<'a>(maps: impl Iterator<Item = &'a MapFill>) -> Option<f64> {
    maps.filter(|map| map.kind == MapKind::Hash).filter_map(MapFill::share).max_by(f64::total_cmp)
}

impl Row for MapFill {
    fn id(&self) -> RowId {
        RowId(u64::MAX - 2, self.name.as_ptr() as u64)
    }

    fn columns() -> &'static [Column<Self>] {
        static COLUMNS: OnceLock<Vec<Column<MapFill>>> = OnceLock::new();
        COLUMNS.get_or_init(|| {
            let number = |id, help| Info::new(id, Kind::Number, help);
            let walked = Estimate::Where("counted", "walked");
            vec![
                Column::new(
                    Info::new("map", Kind::Word, "Name of the map").cell(Cell::left("MAP", 16, 0)),
                    |r| Value::Word(r.name),
                ),
                Column::new(
                    number("used", "Entries in use; of a ring the most bytes that waited at once")
                        .estimated(walked)
                        .cell(Cell::right("USED", 8, 0)),
                    |r| r.used.map_or(Value::Missing, Value::Uint),
                ),
                Column::new(
                    number("room", "Entries that there is room for; of a ring bytes")
                        .cell(Cell::right("ROOM", 8, 1)),
                    |r| Value::Uint(r.room),
                ),
                Column::new(
                    number("fill", "Share of the room that is in use")
                        .unit(Unit::Share)
                        .estimated(walked)
                        .cell(Cell::right("FULL", 6, 0)),
                    |r| r.share().map_or(Value::Missing, Value::Real),
                ),
                Column::new(
                    number("bytes", "Memory of the map").unit(Unit::Bytes).cell(Cell::right("MEMORY", 8, 2)),
                    |r| Value::Uint(r.bytes),
                ),
                Column::new(
                    Info::new("kind", Kind::Word, "hash; lru: the oldest gives way; array; ring")
                        .cell(Cell::left("KIND", 5, 1)),
                    |r| Value::Word(r.kind.word()),
                ),
                Column::new(Info::new("counted", Kind::Word, "How the entries in use were counted"), |r| {
                    Value::Word(if r.walked { "walked" } else { "read" })
                }),
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(kind: MapKind, used: Option<u64>) -> MapFill {
        MapFill { name: "M", kind, used, walked: false, room: 200, bytes: 0 }
    }

    #[test]
    fn the_fullest_map_is_one_that_can_be_full() {
        let maps = [
            map(MapKind::Hash, Some(50)),
            map(MapKind::Hash, Some(100)),
            map(MapKind::Hash, None),
            map(MapKind::Lru, Some(200)),
            map(MapKind::Ring, Some(190)),
            map(MapKind::Array, None),
        ];
        assert_eq!(fullest(maps.iter()), Some(0.5));
        assert_eq!(fullest([].iter()), None);
    }
}
