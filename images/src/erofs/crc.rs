//! CRC-32C (Castagnoli), as the superblock wants it.

/// The checksum with the kernel's conventions: seeded with all ones and not
/// inverted at the end.
pub(super) fn crc32c(data: &[u8]) -> u32 {
    data.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn check_value() {
        // The catalogue's check value is inverted at the end.
        assert_eq!(!super::crc32c(b"123456789"), 0xe306_9283);
    }
}
