//! One disk for all layers: a partition table made up in front of the layer
//! files, so that a guest needs one virtio-blk device however many layers an
//! image has, and no layer is copied. Both guest backends show the same disk: our
//! monitor as segments over opened files, QEMU as a VMDK description.

use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};

/// Bytes in a logical block (UEFI specification 2.10, section 5.2).
const BLOCK: u64 = 512;
/// Partitions start at multiples of the page size, so that reads stay aligned.
const ALIGN: u64 = 4096;
const ENTRY: usize = 128;
const MIN_ENTRIES: usize = 128;
/// Partition type "Linux filesystem data" (0FC63DAF-8483-4772-8E79-3D69D8477DE4)
/// in the mixed byte order of the specification.
const LINUX_DATA: [u8; 16] = [
    0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
];

/// A piece of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// These bytes.
    Bytes(Vec<u8>),
    /// So many zeros.
    Zero(u64),
    /// A whole file of that length.
    File(PathBuf, u64),
}

/// The disk with these layers, lowest first: partition 1 is the lowest.
///
/// # Errors
/// There are more layers than a partition table holds names for.
pub(crate) fn disk(layers: &[(PathBuf, u64)]) -> Result<Vec<Segment>> {
    if layers.len() > 1024 {
        return Err(Error::new(
            Kind::Unsupported,
            format!(
                "an image with {} layers is too much for a guest",
                layers.len()
            ),
        ));
    }
    let entries = layers.len().next_multiple_of(4).max(MIN_ENTRIES);
    let table = (entries * ENTRY) as u64;
    let first = (2 * BLOCK + table).next_multiple_of(ALIGN);
    let mut places = Vec::new();
    let mut at = first;
    for (_, size) in layers {
        places.push((at / BLOCK, (at + size.next_multiple_of(BLOCK)) / BLOCK - 1));
        at = (at + size).next_multiple_of(ALIGN);
    }
    let end = at;
    let blocks = (end + table + BLOCK) / BLOCK;
    let entries_bytes = partition_entries(&places, entries);
    let header = |own: u64, other: u64, table_at: u64| {
        header(
            own,
            other,
            table_at,
            first / BLOCK,
            end / BLOCK - 1,
            entries,
            &entries_bytes,
        )
    };
    let mut front = protective_mbr(blocks);
    front.extend(header(1, blocks - 1, 2));
    front.extend(&entries_bytes);
    front.resize(usize::try_from(first).unwrap_or(usize::MAX), 0);
    let mut segments = vec![Segment::Bytes(front)];
    for (path, size) in layers {
        segments.push(Segment::File(path.clone(), *size));
        let padding = size.next_multiple_of(ALIGN) - size;
        if padding > 0 {
            segments.push(Segment::Zero(padding));
        }
    }
    let mut back = entries_bytes.clone();
    back.extend(header(blocks - 1, 1, end / BLOCK));
    segments.push(Segment::Bytes(back));
    Ok(segments)
}

fn protective_mbr(blocks: u64) -> Vec<u8> {
    let mut mbr = vec![0_u8; 512];
    let size = u32::try_from(blocks - 1).unwrap_or(u32::MAX);
    // One partition of type EE over the whole disk (section 5.2.3).
    mbr[446..454].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
    mbr[454..458].copy_from_slice(&1_u32.to_le_bytes());
    mbr[458..462].copy_from_slice(&size.to_le_bytes());
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    mbr
}

fn partition_entries(places: &[(u64, u64)], count: usize) -> Vec<u8> {
    let mut table = vec![0_u8; count * ENTRY];
    for (number, ((from, to), entry)) in places.iter().zip(table.chunks_mut(ENTRY)).enumerate() {
        entry[..16].copy_from_slice(&LINUX_DATA);
        entry[16..32].copy_from_slice(&unique(number as u64 + 1));
        entry[32..40].copy_from_slice(&from.to_le_bytes());
        entry[40..48].copy_from_slice(&to.to_le_bytes());
        // Read-only (bit 60, as Linux and Windows understand it).
        entry[48..56].copy_from_slice(&(1_u64 << 60).to_le_bytes());
    }
    table
}

/// Identifiers only have to differ within a disk that exists for one run.
fn unique(number: u64) -> [u8; 16] {
    let mut id = *b"isola-layer-disk";
    id[8..].copy_from_slice(&number.to_le_bytes());
    id
}

fn header(
    own: u64,
    other: u64,
    table_at: u64,
    first: u64,
    last: u64,
    entries: usize,
    table: &[u8],
) -> Vec<u8> {
    let mut header = vec![0_u8; 512];
    header[..8].copy_from_slice(b"EFI PART");
    header[8..12].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
    header[12..16].copy_from_slice(&92_u32.to_le_bytes());
    header[24..32].copy_from_slice(&own.to_le_bytes());
    header[32..40].copy_from_slice(&other.to_le_bytes());
    header[40..48].copy_from_slice(&first.to_le_bytes());
    header[48..56].copy_from_slice(&last.to_le_bytes());
    header[56..72].copy_from_slice(&unique(0));
    header[72..80].copy_from_slice(&table_at.to_le_bytes());
    header[80..84].copy_from_slice(&u32::try_from(entries).unwrap_or(u32::MAX).to_le_bytes());
    header[84..88].copy_from_slice(&(ENTRY as u32).to_le_bytes());
    header[88..92].copy_from_slice(&crc32fast::hash(table).to_le_bytes());
    let checksum = crc32fast::hash(&header[..92]);
    header[16..20].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// The disk as QEMU reads it (which takes the line after an empty one twice): a VMDK description whose extents are the layer
/// files, and two small files with the bytes in between. Returns the description;
/// `folder` gets the files, `seen` says under which name QEMU will see a file.
///
/// # Errors
/// The files can't be written.
pub(crate) fn write_vmdk(
    segments: &[Segment],
    folder: &Path,
    seen: &dyn Fn(&Path) -> PathBuf,
) -> Result<PathBuf> {
    let mut text = String::from(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"twoGbMaxExtentFlat\"\n# Extents\n",
    );
    for (number, segment) in segments.iter().enumerate() {
        let line = match segment {
            Segment::Zero(size) => format!("RW {} ZERO", size / BLOCK),
            Segment::File(path, size) => {
                format!("RW {} FLAT \"{}\" 0", size / BLOCK, seen(path).display())
            }
            Segment::Bytes(bytes) => {
                let path = folder.join(format!("extent-{number}"));
                std::fs::write(&path, bytes).map_err(|error| Error::io("write", &path, error))?;
                format!(
                    "RW {} FLAT \"{}\" 0",
                    bytes.len() as u64 / BLOCK,
                    seen(&path).display()
                )
            }
        };
        text.push_str(&line);
        text.push('\n');
    }
    text.push_str("# Disk data\nddb.adapterType = \"ide\"\n");
    let path = folder.join("layers.vmdk");
    std::fs::write(&path, text).map_err(|error| Error::io("write", &path, error))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(segments: &[Segment]) -> Vec<u8> {
        let mut disk = Vec::new();
        for segment in segments {
            match segment {
                Segment::Bytes(bytes) => disk.extend(bytes),
                Segment::Zero(size) => disk.resize(disk.len() + *size as usize, 0),
                Segment::File(path, size) => {
                    disk.extend(vec![path.to_str().unwrap().as_bytes()[0]; *size as usize])
                }
            }
        }
        disk
    }

    fn le64(bytes: &[u8]) -> usize {
        u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize
    }

    #[test]
    fn partitions_are_where_the_table_says() {
        let layers = [
            (PathBuf::from("a"), 8192),
            (PathBuf::from("b"), 4096 + 512),
            (PathBuf::from("c"), 4096),
        ];
        let disk = flat(&disk(&layers).unwrap());
        assert_eq!(&disk[512..520], b"EFI PART");
        for (number, (path, size)) in layers.iter().enumerate() {
            let entry = &disk[1024 + 128 * number..];
            let (from, to) = (le64(&entry[32..]) * 512, (le64(&entry[40..]) + 1) * 512);
            assert_eq!(to - from, *size as usize);
            assert_eq!(from % 4096, 0);
            let letter = path.to_str().unwrap().as_bytes()[0];
            assert!(disk[from..to].iter().all(|byte| *byte == letter));
        }
    }

    #[test]
    fn both_headers_and_tables_check_out() {
        let layers: Vec<_> = (0..200).map(|_| (PathBuf::from("x"), 4096)).collect();
        let disk = flat(&disk(&layers).unwrap());
        let blocks = disk.len() / 512;
        for own in [1, blocks - 1] {
            let mut header = disk[own * 512..own * 512 + 92].to_vec();
            let stored = u32::from_le_bytes(header[16..20].try_into().unwrap());
            header[16..20].fill(0);
            assert_eq!(crc32fast::hash(&header), stored);
            assert_eq!(le64(&header[24..]), own);
            assert_eq!(le64(&header[32..]), blocks - own);
            let table = le64(&header[72..]) * 512;
            let count = u32::from_le_bytes(header[80..84].try_into().unwrap()) as usize;
            assert_eq!(count, 200);
            let sum = crc32fast::hash(&disk[table..table + count * 128]);
            assert_eq!(sum, u32::from_le_bytes(header[88..92].try_into().unwrap()));
        }
    }

    #[test]
    fn the_vmdk_covers_the_same_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let segments =
            disk(&[(PathBuf::from("/l/a"), 8192), (PathBuf::from("/l/b"), 512)]).unwrap();
        let path = write_vmdk(&segments, folder.path(), &|path| {
            Path::new("/seen").join(path.file_name().unwrap())
        })
        .unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let blocks: u64 = text
            .lines()
            .filter_map(|line| line.strip_prefix("RW "))
            .map(|line| line.split(' ').next().unwrap().parse::<u64>().unwrap())
            .sum();
        assert_eq!(blocks * 512, flat(&segments).len() as u64);
        assert!(text.contains("RW 16 FLAT \"/seen/a\" 0") && text.contains("RW 7 ZERO"));
    }
}
