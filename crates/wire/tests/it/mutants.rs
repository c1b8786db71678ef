//! What comes of requests, signatures and frames that went wrong on the way: never
//! a panic, never our fault, always a refusal in words.
//!
//! The corpus is one request a line; what is tried is a line with a few changes.
//! `SEED` chooses them.

use crate::now;
use ident::Timestamp;
use std::path::Path;
use wire::protocol::identify;
use wire::sigv4::{Parts, Signature};
use wire::{Fault, Protocol, Request, acs, tcs};

/// How many mutants of each kind.
const ROUNDS: usize = 3000;

/// What parsers have tripped over before.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "null",
    "true",
    "-1",
    "0",
    "1e400",
    "99999999999999999999",
    "\\ud800",
    "\\u0000",
    "\u{feff}",
    "&",
    "=",
    "%",
    "%00",
    "%ff",
    "+",
    ".",
    ".1.",
    ".0.",
    ".-1.",
    ".4294967296.",
    ".member.",
    ".entry.1.key",
    "/",
    ";",
    " ",
    "\r\n",
    "\u{1f980}",
    "NaN",
];

/// A random number generator: SplitMix64.
struct Chance(u64);

impl Chance {
    fn from_environment() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test has no other way to be told")]
        let seed = std::env::var("SEED");
        Self(seed.ok().and_then(|seed| seed.parse().ok()).unwrap_or(1))
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bound = u64::try_from(bound.max(1)).expect("small");
        usize::try_from((z ^ (z >> 31)) % bound).expect("below a usize")
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// `seed` after a few accidents.
fn mutant(chance: &mut Chance, seed: &[u8], others: &[&str]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len() + 1);
        let end = (at + chance.below(20)).min(bytes.len());
        match chance.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.splice(at..at, chance.pick(WORDS).bytes()).for_each(drop),
            3 => bytes.splice(at..end, chance.pick(WORDS).bytes()).for_each(drop),
            4 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again).for_each(drop);
            }
            5 => {
                let other = chance.pick(others).as_bytes();
                bytes.truncate(at);
                bytes.extend_from_slice(&other[chance.below(other.len())..]);
            }
            _ => {
                let word = chance.pick(WORDS).repeat(1 << chance.below(9));
                bytes.splice(at..at, word.into_bytes()).for_each(drop);
            }
        }
    }
    bytes
}

fn corpus(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    std::fs::read_to_string(path).expect("the corpus")
}

/// Every line as it is, and then mutants of them.
fn each(corpus: &str, mut tried: impl FnMut(&[u8])) {
    let lines: Vec<&str> = corpus.lines().collect();
    for line in &lines {
        tried(line.as_bytes());
    }
    let mut chance = Chance::from_environment();
    for _ in 0..ROUNDS {
        let seed = chance.pick(&lines).as_bytes();
        tried(&mutant(&mut chance, seed, &lines));
    }
}

fn polite(fault: &Fault, tried: &[u8]) {
    let tried = String::from_utf8_lossy(tried);
    assert!((400..500).contains(&fault.status), "{fault}: {tried}");
    assert!(!fault.code.is_empty() && !fault.message.is_empty(), "{fault}: {tried}");
    for protocol in [Protocol::Json11, Protocol::Ec2Query, Protocol::AwsQuery] {
        assert_eq!(fault.respond(protocol, "r-1").status().as_u16(), fault.status);
    }
}

/// Whose operations are all refused, once the request is understood.
struct Nobody;

impl wire::ec2::Api<()> for Nobody {}
impl wire::ecs::Api<()> for Nobody {}
impl wire::iam::Api<()> for Nobody {}
impl wire::landfall::Api<()> for Nobody {}
impl wire::sts::Api<()> for Nobody {}

/// Says whether the request was understood.
fn ask(headers: &http::HeaderMap, body: &[u8]) -> bool {
    let call = match identify(&http::Method::POST, headers, "", body, None) {
        Ok(call) => call,
        Err((_, fault)) => {
            polite(&fault, body);
            return false;
        }
    };
    let request = Request { operation: &call.operation, id: "r-1", body: call.body(body) };
    let fault = match call.service.name {
        "ec2" => now(wire::ec2::serve(&Nobody, &(), &request)),
        "ecs" => now(wire::ecs::serve(&Nobody, &(), &request)),
        "iam" => now(wire::iam::serve(&Nobody, &(), &request)),
        "landfall" => now(wire::landfall::serve(&Nobody, &(), &request)),
        _ => now(wire::sts::serve(&Nobody, &(), &request)),
    }
    .expect_err("nobody answers");
    polite(&fault, body);
    fault.message.starts_with("Landfall does not serve")
}

#[test]
fn json_requests() {
    let mut understood = 0;
    each(&corpus("json.txt"), |line| {
        let space = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        let (target, body) = line.split_at(space);
        let Ok(target) = http::HeaderValue::from_bytes(target) else { return };
        let mut headers = http::HeaderMap::new();
        headers.insert("x-amz-target", target);
        understood += usize::from(ask(&headers, body));
    });
    assert!(understood > ROUNDS / 20, "mutants are not all dead on arrival: {understood}");
}

#[test]
fn forms() {
    let mut understood = 0;
    each(&corpus("form.txt"), |line| {
        understood += usize::from(ask(&http::HeaderMap::new(), line));
    });
    assert!(understood > ROUNDS / 20, "mutants are not all dead on arrival: {understood}");
}

/// Reads and verifies, which must not succeed: nobody knows the secret.
fn believe(headers: &http::HeaderMap, query: &str) {
    let parts = Parts { method: "POST", path: "/", query, headers, body: b"{}" };
    let refused = Signature::parse(&parts)
        .and_then(|claim| claim.verify(&parts, "secret", Timestamp(1_440_938_160_000)))
        .expect_err("not signed with this secret");
    for protocol in [Protocol::Json11, Protocol::Ec2Query, Protocol::AwsQuery] {
        polite(&refused.fault(protocol), query.as_bytes());
    }
}

#[test]
fn signatures() {
    each(&corpus("authorization.txt"), |line| {
        let Ok(authorization) = http::HeaderValue::from_bytes(line) else { return };
        let mut headers = http::HeaderMap::new();
        headers.insert("host", http::HeaderValue::from_static("localhost"));
        headers.insert("x-amz-date", http::HeaderValue::from_static("20150830T123600Z"));
        headers.insert("authorization", authorization);
        believe(&headers, "");
    });
    let mut headers = http::HeaderMap::new();
    headers.insert("host", http::HeaderValue::from_static("localhost"));
    each(&corpus("presigned.txt"), |line| believe(&headers, &String::from_utf8_lossy(line)));
}

#[test]
fn frames_of_agents() {
    let fixture = include_str!("../fixtures/agent.jsonl");
    let frames = fixture.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("a fixture");
        let data = line.get("data")?.as_str()?;
        Some(data[data.find('{')?..].replace('\n', " "))
    });
    let frames = frames.collect::<Vec<_>>().join("\n");
    each(&frames, |line| {
        let text = String::from_utf8_lossy(line);
        match acs::Message::decode(&text) {
            Ok(message) => drop(message.encode().expect("what was read can be written")),
            Err(fault) => polite(&fault, line),
        }
        match tcs::Message::decode(&text) {
            Ok(message) => drop(message.encode().expect("what was read can be written")),
            Err(fault) => polite(&fault, line),
        }
    });
}
