//! Extended attributes behind an inode (erofs_xattr_ibody_header and
//! erofs_xattr_entry).

/// Prefixes that are stored as a number. An attribute with any other name
/// cannot be stored, and no file system of Linux would take it either.
const PREFIXES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];
const HEADER: usize = 12;

fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    PREFIXES.iter().find_map(|&(prefix, index)| {
        let rest = name.strip_prefix(prefix)?;
        // The two ACLs are whole names, the others need one.
        let whole = matches!(index, 2 | 3);
        (rest.is_empty() == whole).then_some((index, rest))
    })
}

/// Whether an attribute of this name can be stored.
pub(crate) fn can_hold(name: &[u8]) -> bool {
    split(name).is_some() && !name.contains(&0)
}

/// Bytes that these attributes take behind their inode.
pub(crate) fn size(xattrs: &[(Vec<u8>, Vec<u8>)]) -> usize {
    if xattrs.is_empty() {
        return 0;
    }
    let entry = |(name, value): &(Vec<u8>, Vec<u8>)| {
        let rest = split(name).map_or(0, |(_, rest)| rest.len());
        (4 + rest + value.len()).next_multiple_of(4)
    };
    HEADER + xattrs.iter().map(entry).sum::<usize>()
}

/// The inode's i_xattr_icount: units of four bytes, the header as one.
pub(super) fn count(size: usize) -> u16 {
    if size == 0 {
        0
    } else {
        (1 + (size - HEADER) / 4) as u16
    }
}

/// Appends the attributes.
pub(super) fn encode(xattrs: &[(Vec<u8>, Vec<u8>)], out: &mut Vec<u8>) {
    if xattrs.is_empty() {
        return;
    }
    let start = out.len();
    // No name filter, nothing shared between inodes.
    out.extend_from_slice(&[0; HEADER]);
    for (name, value) in xattrs {
        let Some((index, rest)) = split(name) else {
            continue;
        };
        out.extend_from_slice(&[rest.len() as u8, index]);
        out.extend_from_slice(&(value.len() as u16).to_le_bytes());
        out.extend_from_slice(rest);
        out.extend_from_slice(value);
        // Relative to the inode: `out` may begin anywhere.
        let size = out.len() - start;
        out.resize(start + size.next_multiple_of(4), 0);
    }
}

/// Reads what [`encode`] wrote; `None` if it is damaged.
pub(super) fn decode(raw: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut xattrs = Vec::new();
    let mut rest = raw.get(HEADER..).unwrap_or_default();
    while let [name, index, low, high, after @ ..] = rest {
        let (name, value) = (
            usize::from(*name),
            usize::from(u16::from_le_bytes([*low, *high])),
        );
        let (prefix, _) = PREFIXES.iter().find(|(_, number)| number == index)?;
        let key = [prefix, after.get(..name)?].concat();
        xattrs.push((key, after.get(name..name + value)?.to_vec()));
        let used = (4 + name + value).next_multiple_of(4);
        rest = rest.get(used..).unwrap_or_default();
    }
    Some(xattrs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_has_the_size_that_was_foretold() {
        let xattrs = [
            (b"security.capability".to_vec(), vec![1; 20]),
            (b"system.posix_acl_access".to_vec(), vec![2; 28]),
            (b"user.a".to_vec(), vec![]),
        ];
        let mut out = vec![0; 3];
        encode(&xattrs, &mut out);
        let out = out.split_off(3);
        assert_eq!(out.len(), size(&xattrs));
        assert_eq!(decode(&out).unwrap(), xattrs);
        assert!(decode(&out[..out.len() - 12]).is_none());
        assert_eq!(&out[12..16], [10, 6, 20, 0]);
        assert_eq!(count(out.len()) as usize, 1 + (out.len() - 12) / 4);
        for (name, held) in [
            (&b"user.x"[..], true),
            (b"user.", false),
            (b"x", false),
            (b"system.nfs4_acl", false),
            (b"system.posix_acl_default", true),
            (b"security.a\0", false),
        ] {
            assert_eq!(can_hold(name), held);
        }
    }
}
