//! The checksums that clients put after a body, by the names of their trailers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// The checksum of `data` that goes by this trailer's name, in base64, or nothing if
/// we know none of that name.
pub(super) fn named(trailer: &str, data: &[u8]) -> Option<String> {
    Some(match trailer {
        "x-amz-checksum-crc32" => STANDARD.encode(narrow(CRC32.of(data)).to_be_bytes()),
        "x-amz-checksum-crc32c" => STANDARD.encode(narrow(CRC32C.of(data)).to_be_bytes()),
        "x-amz-checksum-crc64nvme" => STANDARD.encode(CRC64NVME.of(data).to_be_bytes()),
        "x-amz-checksum-sha256" => STANDARD.encode(Sha256::digest(data)),
        _ => return None,
    })
}

static CRC32: Crc = Crc::new(0xedb8_8320, 0xffff_ffff);
static CRC32C: Crc = Crc::new(0x82f6_3b78, 0xffff_ffff);
static CRC64NVME: Crc = Crc::new(0x9a6c_9329_ac4b_c9b5, u64::MAX);

/// A cyclic redundancy check, bits reflected, all ones before and flipped after.
struct Crc {
    table: [u64; 256],
    ones: u64,
}

impl Crc {
    const fn new(polynomial: u64, ones: u64) -> Self {
        let mut table = [0; 256];
        let mut byte = 0;
        let mut at = 0;
        while at < table.len() {
            let mut sum: u64 = byte;
            let mut bit = 0;
            while bit < 8 {
                sum = if sum & 1 == 1 { (sum >> 1) ^ polynomial } else { sum >> 1 };
                bit += 1;
            }
            table[at] = sum;
            byte += 1;
            at += 1;
        }
        Self { table, ones }
    }

    fn of(&self, data: &[u8]) -> u64 {
        let sum = data.iter().fold(self.ones, |sum, byte| {
            let [low, ..] = sum.to_le_bytes();
            self.table[usize::from(low ^ byte)] ^ (sum >> 8)
        });
        sum ^ self.ones
    }
}

/// The lower half, which is all there is of a CRC of 32 bits.
fn narrow(sum: u64) -> u32 {
    u32::try_from(sum & 0xffff_ffff).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values_of_the_catalogue() {
        assert_eq!(CRC32.of(b"123456789"), 0xcbf4_3926);
        assert_eq!(CRC32C.of(b"123456789"), 0xe306_9283);
        assert_eq!(CRC64NVME.of(b"123456789"), 0xae8b_1486_0a79_9888);
        let sha = named("x-amz-checksum-sha256", b"");
        assert_eq!(sha.as_deref(), Some("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="));
        assert_eq!(named("x-amz-checksum-md4", b""), None);
    }
}
