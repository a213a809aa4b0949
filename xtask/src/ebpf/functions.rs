//! What the verifier must be told of functions so that it reads a global one once a program, and not once for each way
//! that leads to it: BTF, and which of its types each function has. The compiler could make both from debug information,
//! with the types of everything and the lines of every source; this is all that is needed of it.
//!
//! A function that is global for the verifier is called `name/arguments`, all of them numbers: `steps/1`.

use anyhow::{Context, Result, ensure};
use aya_obj::btf::{Btf, BtfParam, BtfType, Func, FuncLinkage, FuncProto, Int, IntEncoding, Ptr};
use object::build::elf::{Builder, SectionData};
use object::elf::{SHT_PROGBITS, SHT_STRTAB, STT_FUNC};

/// Arguments that the kernel lets a function have.
const ARGUMENTS: usize = 5;

/// The object with its functions described.
pub fn describe(object: &[u8]) -> Result<Vec<u8>> {
    let mut elf = Builder::read(object).context("read the object")?;
    let mut functions = Vec::new();
    for symbol in &elf.symbols {
        if symbol.st_type() == STT_FUNC
            && let Some(section) = symbol.section
        {
            let section = elf.sections.get(section).name.to_string();
            functions.push((section, u32::try_from(symbol.st_value)?, symbol.name.to_string()));
        }
    }
    // As the kernel wants them.
    functions.sort();
    let (btf, info) = tables(&functions)?;
    for (name, data) in [(".BTF", btf), (".BTF.ext", info)] {
        let section = elf.sections.add();
        section.name = name.as_bytes().into();
        section.sh_type = SHT_PROGBITS;
        section.sh_addralign = 4;
        section.data = SectionData::Data(data.into());
    }
    // The linker keeps names of sections among those of symbols; this writer keeps them apart.
    let names = elf.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    let mut described = Vec::new();
    elf.write(&mut described).context("write the object")?;
    Ok(described)
}

/// Types, and the type of each function by section and place (include/uapi/linux/btf.h, Documentation/bpf/btf.rst).
fn tables(functions: &[(String, u32, String)]) -> Result<(Vec<u8>, Vec<u8>)> {
    const RECORD: u32 = 8;
    let mut btf = Btf::new();
    let name = btf.add_string("u64");
    let number = btf.add_type(BtfType::Int(Int::new(name, 8, IntEncoding::None, 0)));
    let pointer = btf.add_type(BtfType::Ptr(Ptr::new(0, 0)));
    let context = BtfParam { name_offset: btf.add_string("ctx"), btf_type: pointer };
    let program = btf.add_type(BtfType::FuncProto(FuncProto::new(vec![context], number)));
    let argument = BtfParam { name_offset: btf.add_string("argument"), btf_type: number };
    let by_arguments: Vec<u32> = (0..=ARGUMENTS)
        .map(|count| btf.add_type(BtfType::FuncProto(FuncProto::new(vec![argument.clone(); count], number))))
        .collect();

    let mut info = RECORD.to_le_bytes().to_vec();
    for of_section in functions.chunk_by(|one, other| one.0 == other.0) {
        let [(section, ..), ..] = of_section else { continue };
        info.extend(btf.add_string(section).to_le_bytes());
        info.extend(u32::try_from(of_section.len())?.to_le_bytes());
        for (_, at, name) in of_section {
            let (name, proto, linkage) = match name.split_once('/') {
                None => (name.as_str(), program, FuncLinkage::Static),
                Some((name, arguments)) => {
                    let proto = arguments.parse().ok().and_then(|count: usize| by_arguments.get(count));
                    (name, *proto.with_context(|| format!("{name}/{arguments}"))?, FuncLinkage::Global)
                }
            };
            ensure!(!name.is_empty(), "a function without a name in {section}");
            let name = btf.add_string(name);
            info.extend(at.to_le_bytes());
            info.extend(btf.add_type(BtfType::Func(Func::new(name, proto, linkage))).to_le_bytes());
        }
    }
    // struct btf_ext_header: magic, version, flags, its length; place and length of what is known of functions, of lines.
    let len = u32::try_from(info.len())?;
    let mut ext = vec![0x9f, 0xeb, 1, 0];
    for word in [24, 0, len, len, 0] {
        ext.extend(u32::to_le_bytes(word));
    }
    ext.extend(info);
    Ok((btf.to_bytes(), ext))
}
