//! The checksums that clients put after a body, by the names of their trailers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc::{CRC_32_ISCSI, CRC_32_ISO_HDLC, CRC_64_NVME, Crc};
use sha2::{Digest as _, Sha256};

static CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
static CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
static CRC64NVME: Crc<u64> = Crc::<u64>::new(&CRC_64_NVME);

/// The checksum of `data` that goes by this trailer's name, in base64, or nothing if
/// we know none of that name.
pub(super) fn named(trailer: &str, data: &[u8]) -> Option<String> {
    Some(match trailer {
        "x-amz-checksum-crc32" => STANDARD.encode(CRC32.checksum(data).to_be_bytes()),
        "x-amz-checksum-crc32c" => STANDARD.encode(CRC32C.checksum(data).to_be_bytes()),
        "x-amz-checksum-crc64nvme" => STANDARD.encode(CRC64NVME.checksum(data).to_be_bytes()),
        "x-amz-checksum-sha256" => STANDARD.encode(Sha256::digest(data)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values_of_the_catalogue() {
        assert_eq!(CRC32.checksum(b"123456789"), 0xcbf4_3926);
        assert_eq!(CRC32C.checksum(b"123456789"), 0xe306_9283);
        assert_eq!(CRC64NVME.checksum(b"123456789"), 0xae8b_1486_0a79_9888);
        let sha = named("x-amz-checksum-sha256", b"");
        assert_eq!(sha.as_deref(), Some("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="));
        assert_eq!(named("x-amz-checksum-md4", b""), None);
    }
}
