//! Reading the body of a request, within limits.

use bytes::{Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use std::io::Read as _;
use std::time::Duration;
use tokio::time::timeout;
use wire::sigv4::{ChunkError, unchunked};

/// The largest body of a request, compressed or not.
pub(super) const LARGEST: usize = 10 << 20;

/// The largest body of a request that no known key signed: enough to find out
/// which protocol to refuse it in.
pub(super) const LARGEST_OF_STRANGERS: usize = 64 << 10;

/// How long a client may take to send a body.
const PATIENCE: Duration = Duration::from_mins(1);

/// How much of a body that is too large we read and throw away, and for how
/// long. A client that is still sending when the connection closes would see a
/// broken pipe in place of our answer.
const LINGER: (usize, Duration) = (64 << 20, Duration::from_secs(5));

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the body did not arrive in time")]
    TooSlow,
    #[error("the body broke off")]
    Broken(#[source] hyper::Error),
    #[error("the body is not what its Content-Encoding says")]
    NotGzip(#[source] std::io::Error),
    #[error("bodies with Content-Encoding {0:?} are not understood")]
    UnknownEncoding(String),
    #[error(transparent)]
    Chunks(#[from] ChunkError),
}

/// The bytes of `body` as they came.
pub(super) async fn read(body: Incoming, limit: usize) -> Result<Bytes, BodyError> {
    timeout(PATIENCE, collect(body, limit)).await.unwrap_or(Err(BodyError::TooSlow))
}

async fn collect(mut body: Incoming, limit: usize) -> Result<Bytes, BodyError> {
    let promised = body.size_hint().lower();
    if usize::try_from(promised).map_or(true, |promised| promised > limit) {
        linger(body).await;
        return Err(BodyError::TooLarge { limit });
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            drop(bytes);
            linger(body).await;
            return Err(BodyError::TooLarge { limit });
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

async fn linger(mut body: Incoming) {
    let (most, longest) = LINGER;
    let drain = async {
        let mut drained = 0;
        while let Some(Ok(frame)) = body.frame().await {
            drained += frame.data_ref().map_or(0, Bytes::len);
            if drained > most {
                break;
            }
        }
    };
    // Either way we have been patient enough.
    drop(timeout(longest, drain).await);
}

/// The body as it was before the client cut it in chunks and, before that, compressed
/// it. SDKs compress large requests by themselves if the operation's model allows it.
pub(super) fn decode(headers: &HeaderMap, sent: Bytes, limit: usize) -> Result<Bytes, BodyError> {
    let encodings = headers.get_all(CONTENT_ENCODING).iter();
    let encodings: Vec<_> = encodings.map(|e| String::from_utf8_lossy(e.as_bytes())).collect();
    let encodings = encodings.join(",").to_ascii_lowercase();
    let mut encodings: Vec<&str> = encodings.split(',').map(str::trim).collect();
    let whole = match unchunked(headers, &sent)? {
        Some(whole) => {
            // Not every client says it here as well.
            encodings.retain(|encoding| *encoding != "aws-chunked");
            whole.into()
        }
        None => sent,
    };
    decompress(whole, &encodings.join(","), limit)
}

fn decompress(bytes: Bytes, encoding: &str, limit: usize) -> Result<Bytes, BodyError> {
    match encoding {
        "" | "identity" => Ok(bytes),
        "gzip" | "x-gzip" => {
            let mut plain = Vec::new();
            // One byte more than allowed tells "too large" from "just fits".
            let allowed = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
            MultiGzDecoder::new(&*bytes)
                .take(allowed)
                .read_to_end(&mut plain)
                .map_err(BodyError::NotGzip)?;
            if plain.len() > limit {
                return Err(BodyError::TooLarge { limit });
            }
            Ok(plain.into())
        }
        other => Err(BodyError::UnknownEncoding(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).expect("to memory");
        encoder.finish().expect("to memory").into()
    }

    #[test]
    fn limits_hold_after_decompression() {
        let bomb = gzip(&vec![0; 5000]);
        assert!(bomb.len() < 100);
        let fits = decompress(bomb.clone(), "gzip", 5000).expect("just fits");
        assert_eq!(fits.len(), 5000);
        let over = decompress(bomb.clone(), "gzip", 4999);
        assert!(matches!(over, Err(BodyError::TooLarge { limit: 4999 })));
        let cut = decompress(bomb.slice(..bomb.len() - 4), "gzip", 5000);
        assert!(matches!(cut, Err(BodyError::NotGzip(_))));
        let other = decompress(bomb, "br", 5000);
        assert!(matches!(other, Err(BodyError::UnknownEncoding(_))));
        assert_eq!(&*decompress("x".into(), "", 1).expect("as it is"), b"x");
    }
}
