//! The examples of AWS's documentation, byte by byte, and everything that is not
//! quite one of them.

use super::*;
use crate::sigv4::{Parts, Refusal, Signature};
use ident::Timestamp;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// 2013-05-24T00:00:00Z.
const THEN: Timestamp = Timestamp(1_369_353_600_000);
const LENGTH: usize = 66_560;

/// PutObject in two chunks and an empty one, from "Signature calculations for the
/// Authorization header: transferring a payload in multiple chunks", and the same
/// from "… including trailing headers".
struct Example {
    headers: HeaderMap,
    body: Vec<u8>,
}

/// What of the examples differs.
struct Differs {
    payload: &'static str,
    more: &'static [(&'static str, &'static str)],
    signed: &'static str,
    seed: &'static str,
    chunks: [&'static str; 3],
    trailers: &'static str,
}

const PLAIN: Differs = Differs {
    payload: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    more: &[("content-length", "66824")],
    signed: "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;\
             x-amz-decoded-content-length;x-amz-storage-class",
    seed: "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    chunks: [
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ],
    trailers: "",
};

const TRAILERS: Differs = Differs {
    payload: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    more: &[("x-amz-trailer", "x-amz-checksum-crc32c")],
    signed: "content-encoding;host;x-amz-content-sha256;x-amz-date;\
             x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
    seed: "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    chunks: [
        "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
        "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
        "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
    ],
    trailers: "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:\
               d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n",
};

impl Example {
    fn of(example: &Differs) -> Self {
        let Differs { payload, more, signed, seed, chunks: [first, second, last], trailers } =
            example;
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders={signed},Signature={seed}"
        );
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "s3.amazonaws.com"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-content-sha256", payload),
            ("content-encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
            ("authorization", &authorization),
        ] {
            headers.insert(name, value.parse().expect("a value"));
        }
        for (name, value) in *more {
            headers.insert(*name, value.parse().expect("a value"));
        }
        let (long, short) = ("a".repeat(65_536), "a".repeat(1024));
        let body = format!(
            "10000;chunk-signature={first}\r\n{long}\r\n400;chunk-signature={second}\r\n\
             {short}\r\n0;chunk-signature={last}\r\n{trailers}\r\n"
        );
        Self { headers, body: body.into_bytes() }
    }

    /// Verified and put together.
    fn read(&self) -> Result<Vec<u8>, Refusal> {
        let parts = Parts {
            method: "PUT",
            path: "/examplebucket/chunkObject.txt",
            query: "",
            headers: &self.headers,
            body: &self.body,
        };
        Signature::parse(&parts)?.verify(&parts, SECRET, THEN)?;
        Ok(unchunked(&self.headers, &self.body)?.expect("in chunks"))
    }

    /// With the first `from` in the body made `to`.
    fn but(example: &Differs, from: &str, to: &str) -> Self {
        let whole = Self::of(example);
        let text = String::from_utf8(whole.body).expect("text");
        assert!(text.contains(from), "{from}");
        Self { body: text.replacen(from, to, 1).into_bytes(), ..whole }
    }
}

#[test]
fn the_examples_of_the_documentation() {
    for example in [&PLAIN, &TRAILERS] {
        assert_eq!(Example::of(example).read(), Ok(vec![b'a'; LENGTH]), "{}", example.payload);
    }
    assert_eq!(Example::of(&PLAIN).body.len(), 66_824);
    // As MinIO's clients end a line of a trailer.
    let bare = Example::but(&TRAILERS, "sOO8/Q==\r\n", "sOO8/Q==\n\r\n");
    assert_eq!(bare.read(), Ok(vec![b'a'; LENGTH]));
}

#[test]
fn every_signature_counts() {
    for example in [&PLAIN, &TRAILERS] {
        for (from, to) in [
            ("aaaa\r\n400;", "aaab\r\n400;"),
            ("aaaa\r\n0;", "aaab\r\n0;"),
            (example.chunks[0], example.chunks[1]),
            (example.chunks[2], &"0".repeat(64)),
            (example.chunks[2], ""),
            ("10000;", "FFFF;"),
        ] {
            let read = Example::but(example, from, to).read().expect_err("touched");
            let fine = read == Refusal::Mismatch
                || from == "10000;" && matches!(read, Refusal::Chunks(ChunkError::Malformed(_)));
            assert!(fine, "{}: {to}: {read:?}", example.payload);
        }
    }
    let sums = Example::but(&TRAILERS, "sOO8/Q==", "sOO8/A==").read();
    assert_eq!(sums, Err(Refusal::Mismatch));
    let signature = Example::but(&TRAILERS, "signature:d81f", "signature:d81e").read();
    assert_eq!(signature, Err(Refusal::Mismatch));
}

#[test]
fn chunks_keep_their_order_and_number() {
    let [first, second, last] = PLAIN.chunks;
    let chunk = |size: usize, signature: &str| {
        format!("{size:x};chunk-signature={signature}\r\n{}\r\n", "a".repeat(size))
    };
    let [first, second, last] = [chunk(65_536, first), chunk(1024, second), chunk(0, last)];
    let read = |chunks: &[&String]| {
        let whole = Example::of(&PLAIN);
        let body = chunks.iter().flat_map(|chunk| chunk.bytes()).collect();
        Example { body, ..whole }.read()
    };
    assert_eq!(read(&[&first, &second, &last]).map(|data| data.len()), Ok(LENGTH));
    for other in [&[&second, &first, &last][..], &[&first, &last], &[&second, &last], &[&last]] {
        assert_eq!(read(other), Err(Refusal::Mismatch));
    }
    for other in [&[][..], &[&first], &[&first, &second]] {
        let read = read(other);
        assert!(matches!(read, Err(Refusal::Chunks(ChunkError::Incomplete(_)))), "{read:?}");
    }
    let twice = read(&[&first, &second, &last, &last]);
    assert!(matches!(twice, Err(Refusal::Chunks(ChunkError::Malformed(_)))), "{twice:?}");
}

#[test]
fn a_body_that_breaks_off_anywhere_is_not_taken() {
    for example in [&PLAIN, &TRAILERS] {
        let whole = Example::of(example);
        let length = whole.body.len();
        let ends = (0..120).chain(65_600..65_720).chain(length - 260..length);
        for end in ends {
            let body = whole.body[..end].to_vec();
            let cut = Example { body, headers: whole.headers.clone() }.read();
            // What is left of a signature is another one.
            let refused =
                matches!(cut, Err(Refusal::Mismatch | Refusal::Chunks(ChunkError::Incomplete(_))));
            assert!(refused, "{} to {end}: {cut:?}", example.payload);
        }
    }
}

#[test]
fn what_headers_say_of_the_body_is_signed() {
    for (example, name) in [(&PLAIN, "x-amz-decoded-content-length"), (&TRAILERS, "x-amz-trailer")]
    {
        let mut whole = Example::of(example);
        let bare = example.signed.replace(&format!(";{name}"), "");
        let authorization = whole.headers["authorization"].to_str().expect("text");
        let bare = authorization.replace(example.signed, &bare);
        whole.headers.insert("authorization", bare.parse().expect("a value"));
        let refused = whole.read().expect_err("not all signed");
        assert!(refused.to_string().contains(name), "{refused}");
    }
}

/// An unsigned body, put together.
fn unsigned(length: &str, trailer: &str, body: &str) -> Result<Vec<u8>, ChunkError> {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("x-amz-decoded-content-length", length),
        ("x-amz-trailer", trailer),
    ] {
        headers.insert(name, value.parse().expect("a value"));
    }
    unchunked(&headers, body.as_bytes()).map(|data| data.expect("in chunks"))
}

type Refused = fn(String) -> ChunkError;

#[test]
fn without_signatures_the_checksums_count() {
    let sums = "X-Amz-Checksum-Crc32, x-amz-checksum-sha256";
    let [crc, sha] = ["y/Q5Jg==", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="];
    let body = format!(
        "4\r\n1234\r\n5\r\n56789\r\n0\r\nx-amz-checksum-sha256: {sha}\r\n\
         x-amz-checksum-crc32:{crc}\r\n\r\n"
    );
    assert_eq!(unsigned("9", sums, &body), Ok(b"123456789".to_vec()));
    assert_eq!(unsigned("0", "", "0\r\n\r\n"), Ok(Vec::new()));
    let incomplete: Refused = ChunkError::Incomplete;
    for (length, trailer, body, refused) in [
        ("9", sums, body.replace("y/Q5", "y/Q6"), ChunkError::Digest as Refused),
        ("9", sums, body.replace("56789", "56780"), ChunkError::Digest),
        ("8", sums, body.clone(), incomplete),
        ("10", sums, body.clone(), incomplete),
        ("nine", sums, body.clone(), incomplete),
        ("-9", sums, body.clone(), incomplete),
        ("9", sums, body.replace("\r\n\r\n", "\r\n"), incomplete),
        ("9", sums, body.replace("x-amz-checksum-sha256:", "x-amz-other:"), ChunkError::Trailer),
        ("9", sums, body.replace("crc32:", "crc32"), ChunkError::Trailer),
        ("9", "x-amz-checksum-crc32", body.clone(), ChunkError::Trailer),
        (
            "0",
            "x-amz-checksum-md4",
            "0\r\nx-amz-checksum-md4:x\r\n\r\n".into(),
            ChunkError::Trailer,
        ),
        ("9", sums, format!("{body}x"), ChunkError::Malformed),
        ("9", sums, body.replace("1234\r\n", "12345\r\n"), ChunkError::Malformed),
        ("9", sums, body.replace("4\r\n", "+4\r\n"), ChunkError::Malformed),
        ("9", sums, body.replace("4\r\n", "\r\n"), ChunkError::Malformed),
        ("9", sums, body.replace("4\r\n", "4;chunk-signature=0\r\n"), ChunkError::Malformed),
        (
            "9",
            sums,
            body.replace("4\r\n1", &format!("{}4\r\n1", "0".repeat(200))),
            ChunkError::Malformed,
        ),
        ("9", sums, body.replace("4\r\n1", "ffffffffffffffff\r\n1"), incomplete),
        ("9", sums, body.replace("4\r\n1", "fffffffffffffffff\r\n1"), ChunkError::Malformed),
    ] {
        let found = unsigned(length, trailer, &body).expect_err(&body);
        let wanted = refused(String::new());
        let same = std::mem::discriminant(&found) == std::mem::discriminant(&wanted);
        assert!(same, "{found:?}, not {wanted:?}: {length} {trailer} {body}");
    }
    let mut headers = HeaderMap::new();
    assert_eq!(unchunked(&headers, b"x"), Ok(None));
    let form = http::HeaderValue::from_static("STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    headers.insert("x-amz-content-sha256", form);
    assert_eq!(unchunked(&headers, b"0\r\n\r\n"), Err(ChunkError::NoLength));
}

#[test]
fn refusals_are_awss() {
    let text = || "why".to_owned();
    for (error, status, code) in [
        (ChunkError::NoLength, 411, "MissingContentLength"),
        (ChunkError::Incomplete(text()), 400, "IncompleteBody"),
        (ChunkError::Malformed(text()), 400, "InvalidRequest"),
        (ChunkError::Trailer(text()), 400, "MalformedTrailerError"),
        (ChunkError::Digest(text()), 400, "BadDigest"),
    ] {
        let fault = Refusal::from(error).fault(crate::Protocol::Json11);
        assert_eq!((fault.status, &*fault.code), (status, code));
    }
}
