//! What comes of requests, signatures and frames that went wrong on the way: never
//! a panic, never our fault, always a refusal in words.
//!
//! The corpus is one request a line; what is tried is a line with a few changes, to
//! its bytes or to its fields. `SEED` chooses them.

use crate::mutator::{Chance, of_bytes, of_form, of_json};
use crate::now;
use ident::Timestamp;
use std::collections::BTreeSet;
use std::path::Path;
use wire::protocol::identify;
use wire::sigv4::{Parts, Signature, unchunked};
use wire::{Fault, Protocol, Request, acs, tcs};

/// How many mutants of each kind.
const ROUNDS: usize = 3000;

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
        tried(&of_bytes(&mut chance, seed, &lines));
    }
}

/// What has been answered, to see that mutants do not all die of the same thing.
#[derive(Default)]
struct Answers {
    understood: usize,
    refused: BTreeSet<String>,
}

impl Answers {
    fn note(&mut self, fault: &Fault) {
        if fault.message.starts_with("Landfall does not serve") {
            self.understood += 1;
        } else {
            let beginning: String = fault.message.chars().take(12).collect();
            self.refused.insert(format!("{} {beginning}", fault.code));
        }
    }

    fn are_many(&self) {
        assert!(self.understood > ROUNDS / 20, "not all dead on arrival: {}", self.understood);
        assert!(self.refused.len() >= 12, "dead of many things: {:?}", self.refused);
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

/// Asks for something, which is refused in the end.
fn ask(headers: &http::HeaderMap, body: &[u8]) -> Fault {
    let call = match identify(&http::Method::POST, headers, "", body, None) {
        Ok(call) => call,
        Err((_, fault)) => {
            polite(&fault, body);
            return fault;
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
    fault
}

#[test]
fn json_requests() {
    let corpus = corpus("json.txt");
    let mut answers = Answers::default();
    let mut ask = |target: &[u8], body: &[u8]| {
        let Ok(target) = http::HeaderValue::from_bytes(target) else { return };
        let mut headers = http::HeaderMap::new();
        headers.insert("x-amz-target", target);
        answers.note(&ask(&headers, body));
    };
    each(&corpus, |line| {
        let space = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        let (target, body) = line.split_at(space);
        ask(target, body);
    });
    let requests: Vec<(&str, &str)> =
        corpus.lines().filter_map(|line| line.split_once(' ')).collect();
    let bodies: Vec<&str> = requests.iter().map(|(_, body)| *body).collect();
    let mut chance = Chance::from_environment();
    for _ in 0..ROUNDS {
        let (target, body) = requests[chance.below(requests.len())];
        if let Some(body) = of_json(&mut chance, body, &bodies) {
            ask(target.as_bytes(), &body);
        }
    }
    answers.are_many();
}

#[test]
fn forms() {
    let corpus = corpus("form.txt");
    let mut answers = Answers::default();
    let mut ask = |body: &[u8]| answers.note(&ask(&http::HeaderMap::new(), body));
    each(&corpus, &mut ask);
    let lines: Vec<&str> = corpus.lines().collect();
    let mut chance = Chance::from_environment();
    for _ in 0..ROUNDS {
        let seed = chance.pick(&lines);
        ask(&of_form(&mut chance, seed, &lines));
    }
    answers.are_many();
}

/// One body a line, with its line ends and its data written out; the form comes first.
#[test]
fn bodies_in_chunks() {
    let (mut whole, mut refused) = (0, BTreeSet::new());
    each(&corpus("chunked.txt"), |line| {
        let space = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        let (form, body) = line.split_at(space);
        let Ok(form) = http::HeaderValue::from_bytes(form) else { return };
        let text = String::from_utf8_lossy(body).replace("\\r", "\r").replace("\\n", "\n");
        let body = text.trim_start().as_bytes();
        let mut headers = http::HeaderMap::new();
        headers.insert("x-amz-content-sha256", form);
        headers.insert("x-amz-trailer", http::HeaderValue::from_static("x-amz-checksum-crc32"));
        for length in ["0", "9"] {
            let length = http::HeaderValue::from_static(length);
            headers.insert("x-amz-decoded-content-length", length);
            match unchunked(&headers, body) {
                Ok(None) => {}
                Ok(Some(data)) => {
                    assert!(data.len() == 9 || data.is_empty(), "as announced: {data:?}");
                    whole += 1;
                }
                Err(error) => {
                    polite(&error.fault(), line);
                    refused.insert(error.fault().code);
                }
            }
        }
    });
    assert!(whole > 20 && refused.len() == 4, "{whole} were whole, and {refused:?}");
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
