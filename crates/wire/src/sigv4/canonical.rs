//! The one text that client and server must agree on to the byte.

use super::Parts;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The canonical request of a request, with only the headers in `signed`.
///
/// S3 takes its paths literally; everybody else tidies them up, and encodes once
/// more what is encoded already.
pub(super) fn canonical_request(
    parts: &Parts<'_>,
    signed: &[String],
    payload: &str,
    literal_path: bool,
) -> String {
    let path = if literal_path { literal(parts.path) } else { tidied(parts.path) };
    let query = query(parts.query);
    let mut text = format!("{}\n{path}\n{query}\n", parts.method);
    for name in signed {
        let values = parts.headers.get_all(name.as_str()).into_iter();
        let values: Vec<String> = values.map(|value| collapse(value.as_bytes())).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}:{}", values.join(","));
    }
    let _ = write!(text, "\n{}\n{payload}", signed.join(";"));
    text
}

/// SHA-256 in hexadecimal.
pub(super) fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Without `.`, `..` and empty segments, each of the others encoded.
fn tidied(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(encode(other.as_bytes())),
        }
    }
    let directory = path.ends_with('/') && !segments.is_empty();
    format!("/{}{}", segments.join("/"), if directory { "/" } else { "" })
}

/// Encoded exactly once, however it was encoded on the way.
fn literal(path: &str) -> String {
    let segments: Vec<String> = path.split('/').map(|s| encode(&percent_decode(s))).collect();
    let path = segments.join("/");
    if path.starts_with('/') { path } else { format!("/{path}") }
}

/// Encoded, sorted, and without the signature itself.
fn query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name != "X-Amz-Signature")
        .map(|(name, value)| (encode(name.as_bytes()), encode(value.as_bytes())))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> =
        pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// RFC 3986, leaving only its unreserved characters.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn percent_decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|_| *first == b'%');
        if let Some(byte) = digits.and_then(|digits| hex::decode(digits).ok()?.pop()) {
            bytes.push(byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

/// Trimmed, and with every run of spaces made one.
fn collapse(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let words: Vec<&str> =
        text.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, tidy, exact) in [
            ("", "/", "/"),
            ("/", "/", "/"),
            ("/./a/../b//c/", "/b/c/", "/./a/../b//c/"),
            ("/a%20b", "/a%2520b", "/a%20b"),
            ("/a b", "/a%20b", "/a%20b"),
            ("/100%", "/100%25", "/100%25"),
        ] {
            assert_eq!((tidied(path).as_str(), literal(path).as_str()), (tidy, exact), "{path}");
        }
    }

    #[test]
    fn queries() {
        for (raw, canonical) in [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("a=b%20c&a=b+b", "a=b%20b&a=b%20c"),
            ("flag&X-Amz-Signature=s", "flag="),
            ("v=a%3D%2F", "v=a%3D%2F"),
        ] {
            assert_eq!(query(raw), canonical);
        }
    }
}
