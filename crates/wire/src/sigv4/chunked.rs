//! Bodies that are sent, and perhaps signed, in chunks: `aws-chunked`.
//!
//! The header's signature covers that the body comes in chunks, not the chunks.
//! Where these are signed, each signature covers the one before it, the first of
//! them the header's, so that none can be left out, added or moved:
//!
//! ```text
//! 10000;chunk-signature=ad80c730…␍␊
//! …65536 bytes…␍␊
//! 0;chunk-signature=b6c6ea8a…␍␊
//! x-amz-checksum-crc32c:sOO8/Q==␍␊          if trailers were announced
//! x-amz-trailer-signature:d81f82fc…␍␊       and signed
//! ␍␊
//! ```
//!
//! Everything here walks over a body that is in memory already and keeps nothing of
//! it but, at the end, the data.

use super::checksum;
use http::HeaderMap;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The longest first line of a chunk that anybody has reason to send.
const LONGEST_HEAD: usize = 128;
/// The longest line of a trailer.
const LONGEST_TRAILER: usize = 1024;
/// The most trailers that we have a use for: one of each checksum.
const MOST_TRAILERS: usize = 8;

/// How a body is cut, as `X-Amz-Content-Sha256` says in place of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Every chunk and the trailers have their signatures.
    pub(super) signed: bool,
    /// Trailers follow the last chunk.
    trailers: bool,
}

impl Form {
    /// The form that goes by this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        let (signed, trailers) = match name {
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => (true, false),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => (true, true),
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => (false, true),
            _ => return None,
        };
        Some(Self { signed, trailers })
    }
}

/// Why a body in chunks cannot be put together. The texts are for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Nothing says how long it is to be.
    #[error(
        "You must provide the X-Amz-Decoded-Content-Length HTTP header: the length of the body \
         before it was cut in chunks."
    )]
    NoLength,
    /// It ends early, or is not as long as announced.
    #[error("The request body terminated unexpectedly: {0}.")]
    Incomplete(String),
    /// What should be the beginning or the end of a chunk is neither.
    #[error("The body is not in chunks as its X-Amz-Content-Sha256 says: {0}.")]
    Malformed(String),
    /// A trailer that was announced is missing, or the other way round.
    #[error(
        "The request contained trailing data that was not well-formed or did not conform to our \
         published schema: {0}."
    )]
    Trailer(String),
    /// A checksum is not that of the data.
    #[error("The {0} you specified did not match what we received.")]
    Digest(String),
}

impl ChunkError {
    /// In AWS's words, which are the same in all protocols.
    pub fn fault(&self) -> crate::Fault {
        let (status, code) = match self {
            Self::NoLength => (411, "MissingContentLength"),
            Self::Incomplete(_) => (400, "IncompleteBody"),
            Self::Malformed(_) => (400, "InvalidRequest"),
            Self::Trailer(_) => (400, "MalformedTrailerError"),
            Self::Digest(_) => (400, "BadDigest"),
        };
        crate::Fault::new(status, code, self.to_string())
    }
}

/// The body as it was before it was cut in chunks, or nothing if it was not: its
/// length and the checksums that follow it are as the headers say. Whether it is
/// the client's is for [`Signature::verify`](super::Signature::verify) to say.
pub fn unchunked(headers: &HeaderMap, body: &[u8]) -> Result<Option<Vec<u8>>, ChunkError> {
    let Some(form) = text(headers, "x-amz-content-sha256").and_then(|name| Form::named(&name))
    else {
        return Ok(None);
    };
    let length = text(headers, "x-amz-decoded-content-length").ok_or(ChunkError::NoLength)?;
    let length = length.parse::<usize>().map_err(|_| {
        ChunkError::Incomplete(format!("X-Amz-Decoded-Content-Length is '{length}'"))
    })?;
    let mut pieces = Pieces::of(form, body);
    let mut data = Vec::with_capacity(length.min(body.len()));
    while let Some(chunk) = pieces.chunk()? {
        data.extend_from_slice(chunk.data);
    }
    if data.len() != length {
        let text = format!("X-Amz-Decoded-Content-Length is {length}, not {}", data.len());
        return Err(ChunkError::Incomplete(text));
    }
    let trailers = pieces.trailers()?;
    let announced = announced(headers)?;
    for name in &announced {
        let Some(value) = trailers.lines.get(name) else {
            return Err(ChunkError::Trailer(format!("{name} was announced and is missing")));
        };
        match checksum::named(name, &data) {
            Some(sum) if sum == *value => {}
            Some(_) => return Err(ChunkError::Digest(name.clone())),
            None => {
                let text = format!("{name} is none that is understood here");
                return Err(ChunkError::Trailer(text));
            }
        }
    }
    match trailers.lines.keys().find(|name| !announced.contains(name)) {
        Some(name) => Err(ChunkError::Trailer(format!("{name} is not in X-Amz-Trailer"))),
        None => Ok(Some(data)),
    }
}

/// The trailers that are to come, in small letters.
fn announced(headers: &HeaderMap) -> Result<Vec<String>, ChunkError> {
    let list = text(headers, "x-amz-trailer").unwrap_or_default().to_ascii_lowercase();
    let names: Vec<String> = list
        .split(',')
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    if names.len() > MOST_TRAILERS {
        return Err(ChunkError::Trailer(format!("there are more than {MOST_TRAILERS} trailers")));
    }
    Ok(names)
}

/// A chunk, as it was sent.
pub(super) struct Chunk<'a> {
    pub(super) data: &'a [u8],
    /// In hexadecimal; empty if chunks are not signed.
    pub(super) signature: &'a str,
}

/// What follows the last chunk.
pub(super) struct Trailers<'a> {
    /// By their names in small letters.
    lines: BTreeMap<String, String>,
    /// If they are signed.
    pub(super) signature: Option<&'a str>,
}

impl Trailers<'_> {
    /// As they are signed.
    pub(super) fn canonical(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.lines {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name}:{value}");
        }
        text
    }
}

/// The chunks of a body, one after the other, and then its trailers.
pub(super) struct Pieces<'a> {
    form: Form,
    rest: &'a [u8],
    ended: bool,
}

impl<'a> Pieces<'a> {
    pub(super) fn of(form: Form, body: &'a [u8]) -> Self {
        Self { form, rest: body, ended: false }
    }

    /// The next chunk. The last one is empty; after it there is nothing.
    pub(super) fn chunk(&mut self) -> Result<Option<Chunk<'a>>, ChunkError> {
        if self.ended {
            return Ok(None);
        }
        if self.rest.is_empty() {
            return Err(ChunkError::Incomplete("the last chunk is missing".into()));
        }
        let head = self.line(LONGEST_HEAD)?;
        let (size, signature) = match (self.form.signed, head.split_once(";chunk-signature=")) {
            (true, Some((size, signature))) => (size, signature),
            (false, None) => (head, ""),
            (true, None) => return Err(ChunkError::Malformed("a chunk is not signed".into())),
            (false, Some(_)) => return Err(ChunkError::Malformed("a chunk is signed".into())),
        };
        let size = size_of(size)
            .ok_or_else(|| ChunkError::Malformed(format!("'{size}' is no size of a chunk")))?;
        if size == 0 {
            self.ended = true;
            return Ok(Some(Chunk { data: &[], signature }));
        }
        let Some((data, rest)) = self.rest.split_at_checked(size) else {
            return Err(ChunkError::Incomplete("a chunk is shorter than it says".into()));
        };
        self.rest = rest;
        self.end_of_line("a chunk is longer than it says")?;
        Ok(Some(Chunk { data, signature }))
    }

    /// Everything after the last chunk, which must be the end of the body.
    pub(super) fn trailers(mut self) -> Result<Trailers<'a>, ChunkError> {
        let mut trailers = Trailers { lines: BTreeMap::new(), signature: None };
        while self.form.trailers {
            let line = self.line(LONGEST_TRAILER)?;
            if line.is_empty() {
                // Some clients have an empty line before the signature as well.
                if !self.form.signed || trailers.signature.is_some() {
                    break;
                }
                continue;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| {
                ChunkError::Trailer("a trailer has no colon after its name".into())
            })?;
            if name.eq_ignore_ascii_case("x-amz-trailer-signature") && self.form.signed {
                if trailers.signature.replace(value.trim()).is_some() {
                    return Err(ChunkError::Trailer("there are two signatures".into()));
                }
                continue;
            }
            let name = name.trim().to_ascii_lowercase();
            let known = trailers.lines.insert(name, value.trim().to_owned()).is_some();
            if known || trailers.lines.len() > MOST_TRAILERS || trailers.signature.is_some() {
                return Err(ChunkError::Trailer("there are too many trailers".into()));
            }
        }
        if !self.form.trailers {
            self.end_of_line("the last chunk is not empty")?;
        }
        if !self.rest.is_empty() {
            return Err(ChunkError::Malformed("something follows its end".into()));
        }
        Ok(trailers)
    }

    /// The text up to the end of the line, which some clients put as a bare `␊`
    /// after a trailer.
    fn line(&mut self, longest: usize) -> Result<&'a str, ChunkError> {
        let within = self.rest.get(..longest).unwrap_or(self.rest);
        let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
            return Err(if within.len() < longest {
                ChunkError::Incomplete("it breaks off within a line".into())
            } else {
                ChunkError::Malformed(format!("a line is longer than {longest} bytes"))
            });
        };
        let line = self.rest.get(..end).unwrap_or_default();
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        std::str::from_utf8(line)
            .map_err(|_| ChunkError::Malformed("a line is not of text".to_owned()))
    }

    fn end_of_line(&mut self, otherwise: &str) -> Result<(), ChunkError> {
        if let Some(rest) = self.rest.strip_prefix(b"\r\n") {
            self.rest = rest;
            return Ok(());
        }
        Err(if self.rest.len() < 2 {
            ChunkError::Incomplete("it breaks off at the end of a chunk".into())
        } else {
            ChunkError::Malformed(otherwise.to_owned())
        })
    }
}

/// A size in hexadecimal, without a sign.
fn size_of(text: &str) -> Option<usize> {
    let sound = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    sound.then(|| usize::from_str_radix(text, 16).ok())?
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
}

#[cfg(test)]
mod tests;
