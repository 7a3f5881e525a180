//! Folders: blocks of erofs_dirent, each followed by the names they point to.

use super::BLOCK;

const DIRENT: usize = 12;

/// One name: where it leads (nid) and the kind of file there (FT_*).
pub(super) struct Name<'a> {
    pub(super) name: &'a [u8],
    pub(super) nid: u64,
    pub(super) file_type: u8,
}

/// How many of the names, whose lengths these are, go into the first block, and
/// the bytes that they take.
fn fit(lengths: impl Iterator<Item = usize>) -> (usize, usize) {
    let mut count = 0;
    let mut used = 0;
    for length in lengths {
        if used + DIRENT + length > BLOCK {
            break;
        }
        used += DIRENT + length;
        count += 1;
    }
    (count, used)
}

/// Size of a folder in bytes: full blocks, and what the last one uses.
pub(super) fn size(lengths: &[usize]) -> u64 {
    let mut rest = lengths;
    let mut size = 0;
    while !rest.is_empty() {
        let (count, used) = fit(rest.iter().copied());
        rest = &rest[count..];
        size += if rest.is_empty() { used } else { BLOCK } as u64;
    }
    size
}

/// The content of a folder. The names must be sorted by their bytes: the kernel
/// searches them by halving.
pub(super) fn encode(names: &[Name<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = names;
    while !rest.is_empty() {
        let (count, _) = fit(rest.iter().map(|name| name.name.len()));
        let (block, further) = rest.split_at(count);
        let mut offset = count * DIRENT;
        for name in block {
            out.extend_from_slice(&name.nid.to_le_bytes());
            out.extend_from_slice(&(offset as u16).to_le_bytes());
            out.extend_from_slice(&[name.file_type, 0]);
            offset += name.name.len();
        }
        for name in block {
            out.extend_from_slice(name.name);
        }
        rest = further;
        if !rest.is_empty() {
            out.resize(out.len().next_multiple_of(BLOCK), 0);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_have_the_size_that_was_foretold() {
        for count in [1, 2, 100, 340, 341, 1000] {
            let names: Vec<String> = (0..count)
                .map(|i| format!("{i:0width$}", width = 1 + i % 200))
                .collect();
            let lengths: Vec<usize> = names.iter().map(String::len).collect();
            let name = |n: &'static str| Name {
                name: n.as_bytes(),
                nid: 36,
                file_type: 2,
            };
            let names: Vec<Name<'_>> = names.into_iter().map(|n| name(n.leak())).collect();
            assert_eq!(encode(&names).len() as u64, size(&lengths), "{count}");
        }
    }
}
