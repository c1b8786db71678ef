//! Accounts have nothing to do with each other, whatever is asked.
//!
//! The state is that of a fixture, whose first account has a record of nearly every
//! kind, all of them tagged here; its second account is empty. The stranger who owns
//! the second asks for everything that is served, again and again, with ids, ARNs,
//! names and tokens of the first. Whatever they are answered, nothing of the first
//! account changes, and nothing of it is in the answers but what they themselves had
//! put into the question.
//!
//! `SEED` chooses the questions, `ROUNDS` how many there are of each operation.

mod questions;

use crate::composition::{registry, services};
use crate::state_fixtures::{fixtures, unpack};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chassis::fake::{ManualClock, SeededEntropy};
use chassis::{Caller, Cx, Platform, Principal, Service};
use futures::FutureExt as _;
use ident::{AccountId, Scope, Timestamp};
use questions::{Chance, Question, Words};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::{Backend, Commit, Encoded, MemoryBackend, Revision, Store, StoredRecord, Write};
use store_sqlite::SqliteBackend;
use wire::{Fault, Request};

/// In the value of a tag on everything that can have one, and in no question.
const MARK: &str = "amber-7f3a91";
/// A moment after everything in the fixture, and before its sessions end.
const LATER: Timestamp = Timestamp(1_795_765_900_000);
/// The one door: whom a role trusts gets a session in its account. The fixture's role
/// trusts everybody.
const ASSUME: &str = "AssumeRole";
const OWNER: &str = "000000000000";
const STRANGER: &str = "618033988749";
const REGION: &str = "us-east-1";

/// The control plane on a copy of the fixture's state.
struct World {
    backend: MemoryBackend,
    platform: Platform,
    services: [Arc<dyn Service>; 5],
}

impl World {
    fn new(seed: u64) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state");
        unpack(fixtures().iter().max().expect("a fixture"), &path);
        let loaded = SqliteBackend::open(&path).expect("a database").load().expect("a state");
        let records = loaded.records.into_iter().map(|it| Write {
            key: it.key,
            value: Some(Encoded { version: it.version, bytes: it.bytes }),
        });
        let writes = records.collect();
        let mut backend = MemoryBackend::new();
        let all = Commit { revision: Revision(1), guards: Vec::new(), writes };
        backend.commit(&[all]).expect("an empty backend takes it");
        let store = Store::open_inline(Box::new(backend.clone()), registry()).expect("readable");
        let platform = Platform {
            store,
            clock: Arc::new(ManualClock::at(LATER)),
            entropy: Arc::new(SeededEntropy::new(seed)),
        };
        let iam = Arc::new(iam::Iam::new(platform.store.clone()));
        let services = services(&iam, "http://127.0.0.1:4566");
        let world = Self { backend, platform, services };
        world.mark();
        world
    }

    /// Everything that the backend has.
    fn records(&self) -> Vec<StoredRecord> {
        self.backend.clone().load().expect("in memory").records
    }

    /// Puts the mark on what of the owner's can be tagged.
    fn mark(&self) {
        let mut tagged = 0;
        for record in self.records() {
            let id = record.key.id.to_string();
            let Question { service, operation, input } = match &*record.key.kind {
                "ec2.vpc" | "ec2.subnet" | "ec2.eni" | "ec2.security-group" | "ec2.instance" => {
                    let input = serde_json::json!({
                        "Resources": [id], "Tags": [{ "Key": "mark", "Value": MARK }],
                    });
                    Question { service: "ec2", operation: "CreateTags", input }
                }
                kind @ ("ecs.cluster" | "ecs.task" | "ecs.container-instance") => {
                    let place = if kind == "ecs.cluster" { "" } else { "default/" };
                    let kind = kind.trim_start_matches("ecs.");
                    let arn = format!("arn:aws:ecs:{REGION}:{OWNER}:{kind}/{place}{id}");
                    let input = serde_json::json!({
                        "resourceArn": arn, "tags": [{ "key": "mark", "value": MARK }],
                    });
                    Question { service: "ecs", operation: "TagResource", input }
                }
                _ => continue,
            };
            let question = Question { service, operation, input };
            self.ask(OWNER, &question).unwrap_or_else(|fault| panic!("{question:?}: {fault}"));
            tagged += 1;
        }
        assert!(tagged > 10, "the fixture is not empty: {tagged}");
    }

    /// What the owner of `account` is answered.
    fn ask(&self, account: &str, question: &Question) -> Result<String, Fault> {
        let account: AccountId = account.parse().expect("an account");
        let caller = Caller {
            scope: Scope { account, region: REGION.parse().expect("a region") },
            principal: Principal::Root,
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
        };
        let cx = Cx { platform: self.platform.clone(), caller, request_id: "r-1".to_owned() };
        let named = |it: &&Arc<dyn Service>| it.table().name == question.service;
        let service = self.services.iter().find(named).expect("it is mounted");
        let body = question.body(service.table());
        let (operation, id) = (question.operation, &*cx.request_id);
        let served = service.serve(&cx, Request { operation, id, body: body.lent() });
        let answer = served.now_or_never().expect("the store commits inline")?;
        Ok(String::from_utf8(answer).expect("text"))
    }
}

/// What must stay as it is: all but what is the stranger's.
fn others(records: Vec<StoredRecord>) -> BTreeMap<String, (u32, Vec<u8>)> {
    let strangers = |it: &StoredRecord| {
        let text = String::from_utf8_lossy(&it.bytes);
        it.key.scope.account.as_str() == STRANGER || text.contains(STRANGER)
    };
    let others = records.into_iter().filter(|it| !strangers(it));
    others.map(|it| (it.key.to_string(), (it.version, it.bytes))).collect()
}

/// What of the owner's can be told from anybody else's: ids, secrets, ARNs.
fn telling(records: &[StoredRecord]) -> BTreeSet<String> {
    fn collect(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::String(text) => {
                let digits = text.bytes().filter(u8::is_ascii_digit).count();
                let alone =
                    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_+/=:".contains(&b));
                if text.len() >= 12 && digits >= 3 && alone {
                    into.insert(text.clone());
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
            Value::Object(object) => object.values().for_each(|item| collect(item, into)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut all = BTreeSet::from([MARK.to_owned(), OWNER.to_owned()]);
    for record in records.iter().filter(|it| it.key.scope.account.as_str() == OWNER) {
        let text = String::from_utf8_lossy(&record.bytes);
        if !text.contains(STRANGER) {
            collect(&serde_json::from_str(&text).expect("JSON"), &mut all);
        }
    }
    all
}

fn setting(name: &str, otherwise: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a test has no other way to be told")]
    let text = std::env::var(name);
    text.ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Every operation that is served.
fn served() -> impl Iterator<Item = (&'static wire::Service, &'static wire::Operation)> {
    let services = wire::service::SERVICES.into_iter();
    services.flat_map(|service| service.operations.iter().map(move |it| (service, it)))
}

/// Tokens that the owner was given, with the operation that gave them.
fn tokens(world: &World, words: &Words) -> Vec<String> {
    let mut tokens = Vec::new();
    for (service, operation) in served() {
        let Some(input) = questions::first_page(operation.input, words) else { continue };
        let question = Question { service: service.name, operation: operation.name, input };
        let Ok(answer) = world.ask(OWNER, &question) else { continue };
        for (from, to) in
            [("\"nextToken\":\"", "\""), ("<nextToken>", "</nextToken>"), ("<Marker>", "</Marker>")]
        {
            if let Some((token, _)) =
                answer.split_once(from).and_then(|(_, rest)| rest.split_once(to))
            {
                tokens.push(token.to_owned());
            }
        }
    }
    tokens
}

#[test]
fn a_stranger_sees_and_changes_nothing() {
    let seed = setting("SEED", 1);
    let mut chance = Chance(seed);
    let mut given = 0;
    for round in 0..setting("ROUNDS", 30) {
        let world = World::new(seed.wrapping_add(round));
        let before = world.records();
        let telling = telling(&before);
        let mut words = Words::of(&before, OWNER);
        let tokens = tokens(&world, &words);
        given += tokens.len();
        words.add(tokens);
        let before = others(before);

        // What the stranger has said they may well be shown again, where they put it.
        let mut said = String::new();
        for (service, operation) in served() {
            let input = questions::input(operation.input, &words, &mut chance);
            let question = Question { service: service.name, operation: operation.name, input };
            said.push_str(&question.input.to_string());
            let answer = match world.ask(STRANGER, &question) {
                Ok(answer) => answer,
                Err(fault) => {
                    assert!(fault.status < 500, "{question:?}: {fault}");
                    fault.message
                }
            };
            if operation.name == ASSUME {
                continue;
            }
            for word in telling.iter().filter(|word| answer.contains(word.as_str())) {
                assert!(said.contains(word.as_str()), "{word}: {question:?}: {answer}");
            }
        }
        let after = others(world.records());
        for (key, record) in &before {
            assert_eq!(after.get(key), Some(record), "{key} is as it was");
        }
        let lent = |key: &str| key.starts_with("iam.session ");
        let new = after.keys().find(|key| !before.contains_key(*key) && !lent(key));
        assert_eq!(new, None, "nobody but the stranger was there");
    }
    assert!(given > 0, "some lists have more than a page");
}

/// A token as ours are, for what comes after the first item that there could be.
fn token(list: &str, scope: &str) -> String {
    let token = serde_json::json!({ "l": list, "s": scope, "a": " " });
    URL_SAFE_NO_PAD.encode(token.to_string())
}

#[test]
fn tokens_are_good_for_one_list() {
    let world = World::new(1);
    let words = Words::of(&world.records(), OWNER);
    let mut chance = Chance(setting("SEED", 1));
    let mut lists = 0;
    for (service, operation) in served() {
        let Some((member, input)) = questions::next_page(operation.input, &words) else { continue };
        let ask = |token: &str| {
            let mut input = input.clone();
            input[member] = token.into();
            world.ask(OWNER, &Question { service: service.name, operation: operation.name, input })
        };
        let region =
            if matches!(service.name, "iam" | "landfall") { "aws-global-1" } else { REGION };
        let here = format!("{OWNER}/{region}");
        let name = operation.name;
        let ours = token(name, &here);
        ask(&ours).unwrap_or_else(|fault| panic!("{name} takes its own: {fault}"));
        lists += 1;

        let code = match service.name {
            "ec2" => "InvalidNextToken",
            "iam" => "ValidationError",
            _ => "InvalidParameterException",
        };
        for other in [
            token("DescribeThings", &here),
            token("", &here),
            token(name, &format!("{STRANGER}/{region}")),
            token(name, &format!("{OWNER}/eu-west-1")),
            token(name, ""),
            ours[1..].to_owned(),
            format!("{ours}{ours}"),
            "null".to_owned(),
            "\u{1f980}".to_owned(),
        ] {
            let fault = ask(&other).expect_err(name);
            assert_eq!((fault.status, &*fault.code), (400, code), "{name}: {other}: {fault}");
        }
        for _ in 0..50 {
            let mutant = questions::mutant(&ours, &mut chance);
            if let Err(fault) = ask(&mutant) {
                assert_eq!((fault.status, &*fault.code), (400, code), "{name}: {mutant}: {fault}");
            }
        }
    }
    assert!(lists >= 19, "only {lists} operations have pages");
}

/// The same questions, asked by who may: without this, the other test could be one of
/// questions that nobody is answered.
#[test]
fn the_owner_is_answered() {
    let seed = setting("SEED", 1);
    let mut answered = BTreeSet::new();
    let mut marked = BTreeSet::new();
    let mut chance = Chance(seed);
    for _ in 0..4 {
        // What the owner deletes is there again.
        let world = World::new(seed);
        let words = Words::of(&world.records(), OWNER);
        for _ in 0..15 {
            for (service, operation) in served() {
                let input = questions::input(operation.input, &words, &mut chance);
                let question = Question { service: service.name, operation: operation.name, input };
                if let Ok(answer) = world.ask(OWNER, &question) {
                    answered.insert(operation.name);
                    marked.extend(answer.contains(MARK).then_some(operation.name));
                }
            }
        }
    }
    let never: Vec<_> =
        served().map(|(_, it)| it.name).filter(|name| !answered.contains(name)).collect();
    assert!(never.len() * 3 < served().count(), "most questions have answers, but not {never:?}");
    assert!(marked.len() >= 8, "the owner sees the mark: {marked:?}");
}
