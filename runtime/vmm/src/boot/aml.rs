//! Just enough of the ACPI machine language (ACPI 6.5, chapter 20) to describe
//! this machine. Each function gives the bytes of one term.

/// Names are four characters, padded with `_`.
pub(super) fn name_segment(name: &str) -> Vec<u8> {
    debug_assert!(name.len() <= 4);
    format!("{name:_<4}").into_bytes()
}

/// A name below the root.
fn root_name(name: &str) -> Vec<u8> {
    [b"\\".to_vec(), name_segment(name)].concat()
}

/// The length of a package: itself included when `whole`.
fn package_length(content: usize, whole: bool) -> Vec<u8> {
    let size = |bytes: usize| if whole { content + bytes } else { content };
    if size(1) < 1 << 6 {
        return vec![size(1) as u8];
    }
    let bytes = if size(2) < 1 << 12 { 2 } else { 3 };
    let length = size(bytes);
    let mut out = vec![((bytes - 1) << 6) as u8 | (length & 0xf) as u8];
    out.extend((1..bytes).map(|byte| (length >> (8 * byte - 4)) as u8));
    out
}

fn package(op: &[u8], content: &[u8]) -> Vec<u8> {
    [op, &package_length(content.len(), true), content].concat()
}

/// An integer.
pub(super) fn integer(value: u32) -> Vec<u8> {
    match value {
        0 | 1 => vec![value as u8],
        2..=0xff => vec![0x0a, value as u8],
        0x100..=0xffff => [&[0x0b][..], &(value as u16).to_le_bytes()].concat(),
        _ => [&[0x0c][..], &value.to_le_bytes()].concat(),
    }
}

/// A string.
pub(super) fn string(text: &str) -> Vec<u8> {
    [&[0x0d], text.as_bytes(), &[0]].concat()
}

/// A hardware id such as `PNP0501`, packed into an integer.
pub(super) fn eisa_id(id: &[u8; 7]) -> Vec<u8> {
    let letter = |at: usize| u32::from(id[at] & 0x1f);
    let digit = |at: usize| char::from(id[at]).to_digit(16).unwrap_or(0);
    let number = (3..7).fold(0, |number, at| number << 4 | digit(at));
    let value = letter(0) << 26 | letter(1) << 21 | letter(2) << 16 | number;
    [&[0x0c][..], &value.to_be_bytes()].concat()
}

/// `Name (name, value)`.
pub(super) fn name(name: &str, value: &[u8]) -> Vec<u8> {
    [&[0x08], &name_segment(name)[..], value].concat()
}

/// `Name (\name, Package {...})` at the root.
pub(super) fn root_package(name: &str, elements: &[u32]) -> Vec<u8> {
    let content: Vec<u8> = [
        vec![elements.len() as u8],
        elements.iter().flat_map(|value| integer(*value)).collect(),
    ]
    .concat();
    [&[0x08], &root_name(name)[..], &package(&[0x12], &content)].concat()
}

/// `Scope (\name) {...}`.
pub(super) fn scope(name: &str, terms: &[Vec<u8>]) -> Vec<u8> {
    package(&[0x10], &[root_name(name), terms.concat()].concat())
}

/// `Device (name) {...}`.
pub(super) fn device(name: &str, terms: &[Vec<u8>]) -> Vec<u8> {
    package(
        &[0x5b, 0x82],
        &[name_segment(name), terms.concat()].concat(),
    )
}

/// `Method (name, arguments, Serialized) {...}`.
pub(super) fn method(name: &str, arguments: u8, terms: &[Vec<u8>]) -> Vec<u8> {
    const SERIALIZED: u8 = 1 << 3;
    let head = [name_segment(name), vec![arguments | SERIALIZED]].concat();
    package(&[0x14], &[head, terms.concat()].concat())
}

/// A port of one byte and a field in front of all its bits.
pub(super) fn port_field(region: &str, field: &str, port: u16) -> Vec<u8> {
    const SYSTEM_IO: u8 = 1;
    const BYTE_ACCESS: u8 = 1;
    let operation_region = [
        vec![0x5b, 0x80],
        name_segment(region),
        vec![SYSTEM_IO],
        integer(port.into()),
        integer(1),
    ]
    .concat();
    let content = [
        name_segment(region),
        vec![BYTE_ACCESS],
        name_segment(field),
        package_length(8, false),
    ]
    .concat();
    [operation_region, package(&[0x5b, 0x81], &content)].concat()
}

/// `Local0 = name`.
pub(super) fn load_local(name: &str) -> Vec<u8> {
    [&[0x70], &name_segment(name)[..], &[0x60]].concat()
}

/// `If (Local0 & bit) {...}`.
pub(super) fn if_local(bit: u32, terms: &[Vec<u8>]) -> Vec<u8> {
    let predicate = [vec![0x7b, 0x60], integer(bit), vec![0x00]].concat();
    package(&[0xa0], &[predicate, terms.concat()].concat())
}

/// `Notify (name, value)`.
pub(super) fn notify(name: &str, value: u32) -> Vec<u8> {
    [&[0x86], &name_segment(name)[..], &integer(value)].concat()
}

/// `Name (_CRS, ResourceTemplate {...})`.
pub(super) fn resources(descriptors: &[Vec<u8>]) -> Vec<u8> {
    const END: [u8; 2] = [0x79, 0];
    let bytes = [descriptors.concat(), END.to_vec()].concat();
    let content = [integer(bytes.len() as u32), bytes].concat();
    name("_CRS", &package(&[0x11], &content))
}

/// Registers in memory, readable and writable.
pub(super) fn memory(base: u32, length: u32) -> Vec<u8> {
    [
        &[0x86, 9, 0, 1][..],
        &base.to_le_bytes(),
        &length.to_le_bytes(),
    ]
    .concat()
}

/// Ports.
pub(super) fn ports(base: u16, length: u8) -> Vec<u8> {
    const DECODE_16: u8 = 1;
    [
        &[0x47, DECODE_16][..],
        &base.to_le_bytes(),
        &base.to_le_bytes(),
        &[1, length],
    ]
    .concat()
}

/// An interrupt line: edge triggered, active high, not shared.
pub(super) fn interrupt(line: u32) -> Vec<u8> {
    const CONSUMER: u8 = 1;
    const EDGE: u8 = 1 << 1;
    [&[0x89, 6, 0, CONSUMER | EDGE, 1][..], &line.to_le_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_lengths_count_themselves() {
        let table: &[(usize, &[u8])] = &[
            (0, &[1]),
            (62, &[63]),
            (63, &[0x41, 0x04]),
            (4093, &[0x4f, 0xff]),
            (4094, &[0x81, 0x00, 0x01]),
        ];
        for (content, expected) in table {
            assert_eq!(
                package_length(*content, true),
                *expected,
                "content of {content}"
            );
        }
        assert_eq!(package_length(8, false), [8]);
    }

    #[test]
    fn terms_have_the_bytes_of_the_specification() {
        assert_eq!(eisa_id(b"PNP0501"), [0x0c, 0x41, 0xd0, 0x05, 0x01]);
        assert_eq!(integer(0x602), [0x0b, 0x02, 0x06]);
        assert_eq!(name("_UID", &integer(0)), b"\x08_UID\x00");
        assert_eq!(notify("PWRB", 0x80), b"\x86PWRB\x0a\x80");
        assert_eq!(if_local(1, &[]), [0xa0, 5, 0x7b, 0x60, 1, 0]);
        assert_eq!(interrupt(6).len(), 9);
    }
}
