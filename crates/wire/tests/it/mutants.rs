//! What comes of requests, signatures and frames that went wrong on the way: never
//! a panic, never our fault, always a refusal in words.
//!
//! The corpus is one request a line; what is tried is a line with a few changes, to
//! its bytes or to its fields. `SEED` chooses them.

use crate::mutator::{Chance, of_bytes, of_form, of_json};
use crate::trials;
use std::collections::BTreeSet;
use std::path::Path;
use wire::Fault;

/// How many mutants of each kind.
const ROUNDS: usize = 3000;

fn corpus(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    std::fs::read_to_string(path).expect("the corpus")
}

fn chance() -> Chance {
    #[expect(clippy::disallowed_methods, reason = "a test has no other way to be told")]
    let seed = std::env::var("SEED");
    Chance(seed.ok().and_then(|seed| seed.parse().ok()).unwrap_or(1))
}

/// Every line as it is, and then mutants of them.
fn each(corpus: &str, mut tried: impl FnMut(&[u8])) {
    let lines: Vec<&str> = corpus.lines().collect();
    for line in &lines {
        tried(line.as_bytes());
    }
    let mut chance = chance();
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

#[test]
fn json_requests() {
    let corpus = corpus("json.txt");
    let mut answers = Answers::default();
    let mut ask = |target: &[u8], body: &[u8]| {
        if let Some(fault) = trials::json(target, body) {
            answers.note(&fault);
        }
    };
    each(&corpus, |line| {
        let (target, body) = trials::in_two(line);
        ask(target, body);
    });
    let requests: Vec<(&str, &str)> =
        corpus.lines().filter_map(|line| line.split_once(' ')).collect();
    let bodies: Vec<&str> = requests.iter().map(|(_, body)| *body).collect();
    let mut chance = chance();
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
    let mut ask = |body: &[u8]| answers.note(&trials::form(body));
    each(&corpus, &mut ask);
    let lines: Vec<&str> = corpus.lines().collect();
    let mut chance = chance();
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
        let outcome = trials::chunked(line);
        whole += outcome.whole;
        refused.extend(outcome.refused);
    });
    assert!(whole > 20 && refused.len() == 4, "{whole} were whole, and {refused:?}");
}

#[test]
fn signatures() {
    each(&corpus("authorization.txt"), trials::authorization);
    each(&corpus("presigned.txt"), trials::presigned);
}

#[test]
fn frames_of_agents() {
    each(&corpus("frames.txt"), trials::frame);
}
