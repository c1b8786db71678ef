//! The first process of a container, which is built with us: see `init/init.rs`.

use super::Error;
use super::connection::Connection;
use crate::images::{self, digest};
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The program.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));

/// The image with nothing in it but the program. A container of it holds the
/// namespaces that the others of its task share.
pub const IMAGE: &str = "landfall.internal/pause:1";

/// Puts the program where containers can mount it from.
pub(super) fn install(path: &Path) -> Result<(), Error> {
    if fs::read(path).is_ok_and(|there| there == PROGRAM) {
        return Ok(());
    }
    let put = || {
        // Some container may be running the one before.
        let aside = path.with_extension("new");
        fs::write(&aside, PROGRAM)?;
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o755))?;
        fs::rename(&aside, path)
    };
    put().map_err(Error::io("write", path))
}

/// How a shim is told to start the program beside a container, so that it appends what
/// the container says to `log`. A shim could do so itself, but after a write that finds
/// no room it does not write again, and the container waits for ever.
pub(super) fn writer(program: &Path, log: &Path) -> String {
    format!("binary://{}?log={}", escaped(program), escaped(log))
}

fn escaped(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(byte) {
            text.push(char::from(*byte));
        } else {
            _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Puts the image where images are.
pub(super) async fn load(connection: &Connection) -> Result<(), Error> {
    let failed = |error: io::Error| Error::io("write", "an archive")(error);
    let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
    file.write_all(&archive().map_err(failed)?).map_err(failed)?;
    images::load(connection, file.path(), None).await.map(drop)
}

/// An OCI layout of the image.
fn archive() -> io::Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, "pause", PROGRAM, 0o755)?;
    let layer = layer.into_inner()?;
    let config = json!({
        "architecture": images::architecture(), "os": "linux",
        "config": { "Entrypoint": ["/pause"] },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    });
    let config = config.to_string().into_bytes();
    let described = |media_type: &str, bytes: &[u8]| json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described("application/vnd.oci.image.config.v1+json", &config),
        "layers": [described("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut entry = described("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": IMAGE });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    let mut whole = tar::Builder::new(Vec::new());
    append(&mut whole, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
    append(&mut whole, "index.json", index.as_bytes(), 0o644)?;
    for blob in [&layer, &config, &manifest] {
        append(&mut whole, &format!("blobs/{}", digest(blob).replace(':', "/")), blob, 0o644)?;
    }
    whole.into_inner()
}

fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    name: &str,
    bytes: &[u8],
    mode: u32,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    tar.append_data(&mut header, name, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_finds_program_and_file_in_what_it_is_told() {
        let (program, log) = (Path::new("/data/init"), Path::new("/a b/50%&c=d/web.log"));
        assert_eq!(writer(program, log), "binary:///data/init?log=/a%20b/50%25%26c%3Dd/web.log");
    }
}
