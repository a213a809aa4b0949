//! A reader of BTF, the kernel's description of its own types: member offsets (through anonymous structures and
//! unions), function prototypes, enum values. Every access is bounds-checked: the bytes may come from `--btf FILE`.
//! Format: Documentation/bpf/btf.rst; the header grew from 24 to 32 bytes in 7.1.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// What a type is, as `info >> 24 & 0x1f` numbers it.
mod kind {
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

/// Anonymous members and modifiers nest a handful deep; anything deeper is hostile.
const DEPTH: usize = 32;

/// Members looked at for one name. The largest structures of the kernel have a few hundred with all that is nested in
/// them; hostile ones nest in themselves, and their members multiply with each level.
const MEMBERS: usize = 100_000;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BtfError {
    #[error("not BTF: the magic number is missing")]
    Magic,
    #[error("BTF of the other byte order")]
    ByteOrder,
    #[error("BTF ends in the middle of {0}")]
    Truncated(&'static str),
    #[error("type {id} has the unknown kind {kind}: this BTF is newer than fluoro")]
    Kind { id: u32, kind: u32 },
    #[error("an ELF file without a .BTF section")]
    NoSection,
}

/// Where a member lies in its structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberAt {
    pub byte_offset: u32,
    /// Bits into the byte, for bit fields.
    pub bit_offset: u32,
    /// Bits of a bit field; 0 for an ordinary member.
    pub bits: u32,
    type_id: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    pub name: String,
    pub type_id: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proto {
    pub params: Vec<Param>,
    pub returns: u32,
}

/// Parsed BTF: the bytes and where each type begins.
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Byte offset of type `id` at index `id - 1`.
    starts: Vec<u32>,
    /// The first and the last type of a name: names repeat across kinds.
    names: HashMap<&'a [u8], (u32, u32), foldhash::fast::RandomState>,
    /// The next type of the same name after `id` at index `id - 1`; 0: there is none.
    next: Vec<u32>,
}

/// A function, or the typedef of a tracepoint, under the number that the kernel knows it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    id: u32,
    info: u32,
    name: String,
}

/// BTF in which each of these stands under its number and no other type has a name or a member: it is a fraction of the
/// kernel's, and sooner read.
pub fn sparse(targets: &[Target]) -> Vec<u8> {
    const HEADER: u32 = 24;
    const SILENT: [u32; 3] = [0, kind::PTR << 24, 0];
    let last = targets.iter().map(|target| target.id).max().unwrap_or(0);
    let mut types = vec![SILENT; last as usize];
    let mut strings = vec![0];
    for target in targets {
        if let Some(place) = (target.id as usize).checked_sub(1).and_then(|index| types.get_mut(index)) {
            *place = [strings.len() as u32, target.info, 0];
            strings.extend_from_slice(target.name.as_bytes());
            strings.push(0);
        }
    }
    let size = size_of_val(types.as_slice()) as u32;
    let header = [0x0001_eb9f, HEADER, 0, size, size, strings.len() as u32];
    let words = header.into_iter().chain(types.into_iter().flatten());
    words.flat_map(u32::to_ne_bytes).chain(strings).collect()
}

#[derive(Clone, Copy)]
struct Type {
    name: u32,
    info: u32,
    size_or_type: u32,
    /// Where its own data begins.
    data: usize,
}

impl Type {
    const fn kind(self) -> u32 {
        self.info >> 24 & 0x1f
    }

    const fn vlen(self) -> usize {
        (self.info & 0xffff) as usize
    }

    const fn flag(self) -> bool {
        self.info >> 31 != 0
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Raw BTF out of a file that is either raw BTF or an ELF file with a `.BTF` section.
pub fn extract(bytes: Vec<u8>) -> Result<Vec<u8>, BtfError> {
    if !bytes.starts_with(b"\x7fELF") {
        return Ok(bytes);
    }
    section(&bytes, b".BTF").map(<[u8]>::to_vec).ok_or(BtfError::NoSection)
}

/// A section of a 64-bit ELF file by name.
fn section<'a>(elf: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let long =
        |at: usize| Some(u64::from_ne_bytes(elf.get(at..at.checked_add(8)?)?.try_into().ok()?) as usize);
    let half =
        |at: usize| Some(usize::from(u16::from_ne_bytes(elf.get(at..at.checked_add(2)?)?.try_into().ok()?)));
    let (table, size, count, names) = (long(0x28)?, half(0x3a)?, half(0x3c)?, half(0x3e)?);
    let header = |index: usize| table.checked_add(index.checked_mul(size)?);
    let body = |at: usize| {
        let (offset, len) = (long(at.checked_add(0x18)?)?, long(at.checked_add(0x20)?)?);
        elf.get(offset..offset.checked_add(len)?)
    };
    let strings = body(header(names)?)?;
    (0..count).find_map(|index| {
        let at = header(index)?;
        let name = strings.get(word(elf, at)? as usize..)?;
        if name.split(|&b| b == 0).next()? == wanted { body(at) } else { None }
    })
}

impl<'a> Btf<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        match bytes.get(..2) {
            Some([0x9f, 0xeb]) if cfg!(target_endian = "little") => {}
            Some([0xeb, 0x9f]) if cfg!(target_endian = "big") => {}
            Some([0x9f, 0xeb] | [0xeb, 0x9f]) => return Err(BtfError::ByteOrder),
            _ => return Err(BtfError::Magic),
        }
        let header = |index: usize| {
            word(bytes, 4 + index * 4).map(|w| w as usize).ok_or(BtfError::Truncated("header"))
        };
        let body = header(0)?;
        let part = |offset: usize, len: usize, what| {
            body.checked_add(offset)
                .and_then(|start| bytes.get(start..start.checked_add(len)?))
                .ok_or(BtfError::Truncated(what))
        };
        let types = part(header(1)?, header(2)?, "types")?;
        let strings = part(header(3)?, header(4)?, "strings")?;
        let mut btf =
            Self { types, strings, starts: Vec::new(), names: HashMap::default(), next: Vec::new() };
        btf.index()?;
        Ok(btf)
    }

    fn index(&mut self) -> Result<(), BtfError> {
        // About 38 bytes a type in vmlinux.
        let types = self.types.len() / 32;
        self.starts.reserve(types);
        self.next.reserve(types);
        self.names.reserve(types / 2);
        let mut at = 0;
        while at < self.types.len() {
            let id = self.starts.len() as u32 + 1;
            let head = self.head(at).ok_or(BtfError::Truncated("types"))?;
            let each = match head.kind() {
                kind::INT | kind::VAR | kind::DECL_TAG => 4,
                kind::ARRAY => 12,
                kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * head.vlen(),
                kind::ENUM | kind::FUNC_PROTO => 8 * head.vlen(),
                kind::PTR..=kind::TYPE_TAG => 0,
                other => return Err(BtfError::Kind { id, kind: other }),
            };
            self.starts.push(at as u32);
            self.next.push(0);
            if matches!(
                head.kind(),
                kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 | kind::FUNC | kind::TYPEDEF
            ) && let Some(name) = self.string(head.name)
                && !name.is_empty()
            {
                match self.names.entry(name) {
                    Entry::Vacant(none) => {
                        none.insert((id, id));
                    }
                    Entry::Occupied(mut known) => {
                        let last = std::mem::replace(&mut known.get_mut().1, id);
                        if let Some(next) = self.next.get_mut(last as usize - 1) {
                            *next = id;
                        }
                    }
                }
            }
            at = head.data + each;
        }
        if at > self.types.len() { Err(BtfError::Truncated("types")) } else { Ok(()) }
    }

    fn head(&self, at: usize) -> Option<Type> {
        Some(Type {
            name: word(self.types, at)?,
            info: word(self.types, at + 4)?,
            size_or_type: word(self.types, at + 8)?,
            data: at + 12,
        })
    }

    fn get(&self, id: u32) -> Option<Type> {
        let at = *self.starts.get(id.checked_sub(1)? as usize)?;
        self.head(at as usize)
    }

    fn string(&self, offset: u32) -> Option<&'a [u8]> {
        self.strings.get(offset as usize..)?.split(|&b| b == 0).next()
    }

    fn by_name(&self, name: &str, kinds: &[u32]) -> impl Iterator<Item = Type> + '_ {
        let kinds = kinds.to_vec();
        self.ids(name).filter_map(|id| self.get(id)).filter(move |of| kinds.contains(&of.kind()))
    }

    /// All types of this name, in their order.
    fn ids(&self, name: &str) -> impl Iterator<Item = u32> + '_ {
        let first = self.names.get(name.as_bytes()).map(|&(first, _)| first);
        std::iter::successors(first, |&id| self.next.get(id as usize - 1).copied().filter(|&next| next != 0))
    }

    /// Follows typedefs and qualifiers to the type behind them.
    fn peel(&self, mut id: u32) -> Option<Type> {
        for _ in 0..DEPTH {
            let of = self.get(id)?;
            match of.kind() {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = of.size_or_type;
                }
                _ => return Some(of),
            }
        }
        None
    }

    /// Offset of a member given by a dotted path, found through anonymous structures and unions.
    pub fn member_offset(&self, structure: &str, path: &str) -> Option<MemberAt> {
        self.by_name(structure, &[kind::STRUCT, kind::UNION]).find_map(|outer| {
            let mut names = path.split('.');
            let mut left = MEMBERS;
            let mut found = self.member(outer, names.next()?, DEPTH, &mut left)?;
            for name in names {
                let inner = self.member(self.peel(found.type_id)?, name, DEPTH, &mut left)?;
                found = MemberAt { byte_offset: found.byte_offset.checked_add(inner.byte_offset)?, ..inner };
            }
            Some(found)
        })
    }

    fn member(&self, outer: Type, name: &str, depth: usize, left: &mut usize) -> Option<MemberAt> {
        if depth == 0 || !matches!(outer.kind(), kind::STRUCT | kind::UNION) {
            return None;
        }
        (0..outer.vlen()).find_map(|index| {
            *left = left.checked_sub(1)?;
            let at = outer.data + index * 12;
            let (label, type_id, offset) =
                (word(self.types, at)?, word(self.types, at + 4)?, word(self.types, at + 8)?);
            let (bits, offset) =
                if outer.flag() { (offset >> 24, offset & 0x00ff_ffff) } else { (0, offset) };
            let label = self.string(label)?;
            if label == name.as_bytes() {
                return Some(MemberAt { byte_offset: offset / 8, bit_offset: offset % 8, bits, type_id });
            }
            if !label.is_empty() {
                return None;
            }
            let inner = self.member(self.peel(type_id)?, name, depth - 1, left)?;
            Some(MemberAt { byte_offset: inner.byte_offset.checked_add(offset / 8)?, ..inner })
        })
    }

    /// Bytes of a structure or union.
    pub fn size_of(&self, structure: &str) -> Option<u32> {
        self.by_name(structure, &[kind::STRUCT, kind::UNION]).next().map(|of| of.size_or_type)
    }

    /// Prototype of a function, or of a tracepoint by its typedef `btf_trace_NAME` (first parameter `void *`).
    pub fn func_proto(&self, name: &str) -> Option<Proto> {
        let named = self.by_name(name, &[kind::FUNC, kind::TYPEDEF]).next()?;
        let mut of = self.peel(named.size_or_type)?;
        if of.kind() == kind::PTR {
            of = self.peel(of.size_or_type)?;
        }
        if of.kind() != kind::FUNC_PROTO {
            return None;
        }
        let params = (0..of.vlen())
            .map(|index| {
                let at = of.data + index * 8;
                let name = self.string(word(self.types, at)?)?;
                Some(Param {
                    name: String::from_utf8_lossy(name).into_owned(),
                    type_id: word(self.types, at + 4)?,
                })
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Proto { params, returns: of.size_or_type })
    }

    /// Id of a function or, for tracepoints, of the typedef `btf_trace_NAME`.
    pub fn id(&self, name: &str) -> Option<u32> {
        self.ids(name)
            .find(|&id| self.get(id).is_some_and(|of| matches!(of.kind(), kind::FUNC | kind::TYPEDEF)))
    }

    /// The functions and typedefs of this name.
    pub fn targets(&self, name: &str) -> impl Iterator<Item = Target> {
        let targets = self.ids(name).filter_map(|id| Some((id, self.get(id)?)));
        let targets = targets.filter(|(_, of)| matches!(of.kind(), kind::FUNC | kind::TYPEDEF));
        targets.map(|(id, of)| Target { id, info: of.info, name: name.to_owned() })
    }

    /// The type is a pointer to this structure.
    pub fn points_to(&self, type_id: u32, structure: &str) -> bool {
        let target =
            self.peel(type_id).filter(|of| of.kind() == kind::PTR).and_then(|of| self.peel(of.size_or_type));
        target
            .is_some_and(|of| of.kind() == kind::STRUCT && self.string(of.name) == Some(structure.as_bytes()))
    }

    pub fn has_func(&self, name: &str) -> bool {
        self.by_name(name, &[kind::FUNC]).next().is_some()
    }

    /// Every name and value of an enum.
    pub fn enum_values(&self, name: &str) -> Vec<(String, i64)> {
        self.by_name(name, &[kind::ENUM, kind::ENUM64]).next().map_or_else(Vec::new, |of| {
            let each = if of.kind() == kind::ENUM { 8 } else { 12 };
            (0..of.vlen())
                .map_while(|index| {
                    let at = of.data + index * each;
                    let label = String::from_utf8_lossy(self.string(word(self.types, at)?)?).into_owned();
                    let low = word(self.types, at + 4)?;
                    let value = if each == 12 {
                        (u64::from(word(self.types, at + 8)?) << 32 | u64::from(low)).cast_signed()
                    } else {
                        i64::from(low.cast_signed())
                    };
                    Some((label, value))
                })
                .collect()
        })
    }

    pub fn enum_value(&self, name: &str, label: &str) -> Option<i64> {
        self.enum_values(name).into_iter().find(|(l, _)| l == label).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests;
