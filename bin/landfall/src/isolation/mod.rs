//! Accounts have nothing to do with each other, nor have regions, whatever is asked.
//!
//! The state is that of a fixture, whose first account has a record of nearly every
//! kind, all of them tagged here, in one region; its second account is empty. The
//! stranger who owns the second, and the owner of the first in another region, ask for
//! everything that is served, again and again, with ids, ARNs, names and tokens of what
//! is there. Whatever they are answered, nothing of it changes, and nothing of it is in
//! the answers but what they themselves had put into the question. IAM alone has no
//! regions.
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
const ELSEWHERE: &str = "eu-west-1";

fn scope(account: &str, region: &str) -> Scope {
    let account = account.parse::<AccountId>().expect("an account");
    Scope { account, region: region.parse().expect("a region") }
}

/// The owner of all there is, where it is.
fn owner() -> Scope {
    scope(OWNER, REGION)
}

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
            quotas: chassis::Quotas::default(),
        };
        let iam = Arc::new(iam::Iam::new(platform.store.clone()));
        let services = services(&iam, "http://127.0.0.1:4566", None, &ec2::CardSocket::new());
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
            self.ask(&owner(), &question).unwrap_or_else(|fault| panic!("{question:?}: {fault}"));
            tagged += 1;
        }
        assert!(tagged > 10, "the fixture is not empty: {tagged}");
    }

    /// Gives whoever asks from there a machine and a cluster, so that questions get as
    /// far as to what is in them.
    fn furnish(&self, scope: &Scope) {
        let registered = ec2::instances::register(&self.platform, scope, ec2::Machine::default());
        registered.now_or_never().expect("the store commits inline").expect("a machine");
        let input = serde_json::json!({});
        let question = Question { service: "ecs", operation: "CreateCluster", input };
        self.ask(scope, &question).expect("a cluster");
    }

    /// What the owner of the account is answered in the region.
    fn ask(&self, scope: &Scope, question: &Question) -> Result<String, Fault> {
        let caller = Caller {
            scope: scope.clone(),
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

/// What must stay as it is: all but what is `theirs`.
fn others(
    records: Vec<StoredRecord>,
    theirs: impl Fn(&StoredRecord) -> bool,
) -> BTreeMap<String, (u32, Vec<u8>)> {
    let others = records.into_iter().filter(|it| !theirs(it));
    others.map(|it| (it.key.to_string(), (it.version, it.bytes))).collect()
}

/// What is the stranger's, or says so.
fn strangers(record: &StoredRecord) -> bool {
    let text = String::from_utf8_lossy(&record.bytes);
    record.key.scope.account.as_str() == STRANGER || text.contains(STRANGER)
}

/// What in these records can be told from anything else: ids, secrets, ARNs.
fn telling<'a>(records: impl Iterator<Item = &'a StoredRecord>) -> BTreeSet<String> {
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
    let mut all = BTreeSet::from([MARK.to_owned()]);
    for record in records {
        collect(&serde_json::from_slice(&record.bytes).expect("JSON"), &mut all);
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
fn tokens(world: &World) -> Vec<String> {
    let mut tokens = Vec::new();
    for (service, operation) in served() {
        let Some(input) = questions::first_page(operation.input) else { continue };
        let question = Question { service: service.name, operation: operation.name, input };
        let Ok(answer) = world.ask(&owner(), &question) else { continue };
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

/// Whether what is asked, and what it is about, is of a region.
fn is_regional(service: &wire::Service, operation: &wire::Operation) -> bool {
    matches!(service.name, "ec2" | "ecs") || operation.name.starts_with("Explain")
}

/// Asks as `asker` for everything that is `within` reach, in words of what there is. No
/// word of `secrets` is in the answers, and all but what is `theirs` stays as it is.
fn pry(
    asker: &Scope,
    within: impl Fn(&wire::Service, &wire::Operation) -> bool,
    secrets: impl Fn(&[StoredRecord]) -> BTreeSet<String>,
    theirs: impl Fn(&StoredRecord) -> bool,
) {
    let seed = setting("SEED", 1);
    let mut chance = Chance(seed);
    let mut given = 0;
    for round in 0..setting("ROUNDS", 30) {
        let world = World::new(seed.wrapping_add(round));
        // With a place of their own, or without.
        if chance.one_in(2) {
            world.furnish(asker);
        }
        let before = world.records();
        let secrets = secrets(&before);
        let mut words = Words::of(&before, OWNER);
        let tokens = tokens(&world);
        given += tokens.len();
        words.add(tokens);
        let before = others(before, &theirs);

        // What they have said they may well be shown again, where they put it.
        let mut said = String::new();
        for (service, operation) in served().filter(|(service, it)| within(service, it)) {
            let input = questions::input(operation.input, &words, &mut chance);
            let question = Question { service: service.name, operation: operation.name, input };
            said.push_str(&question.input.to_string());
            let answer = match world.ask(asker, &question) {
                Ok(answer) => answer,
                Err(fault) => {
                    assert!(fault.status < 500, "{question:?}: {fault}");
                    fault.message
                }
            };
            if operation.name == ASSUME {
                continue;
            }
            for word in secrets.iter().filter(|word| answer.contains(word.as_str())) {
                assert!(said.contains(word.as_str()), "{word}: {question:?}: {answer}");
            }
        }
        let after = others(world.records(), &theirs);
        for (key, record) in &before {
            assert_eq!(after.get(key), Some(record), "{key} is as it was");
        }
        let lent = |key: &str| key.starts_with("iam.session ");
        let new = after.keys().find(|key| !before.contains_key(*key) && !lent(key));
        assert_eq!(new, None, "nobody was there but who asked");
    }
    assert!(given > 0, "some lists have more than a page");
}

#[test]
fn a_stranger_sees_and_changes_nothing() {
    let secrets = |records: &[StoredRecord]| {
        let owners = |it: &&StoredRecord| it.key.scope.account.as_str() == OWNER && !strangers(it);
        let mut secrets = telling(records.iter().filter(owners));
        secrets.insert(OWNER.to_owned());
        secrets
    };
    pry(&scope(STRANGER, REGION), |_, _| true, secrets, strangers);
}

#[test]
fn from_another_region_nothing_is_seen_or_changed() {
    let here = owner();
    let secrets = |records: &[StoredRecord]| {
        let mut secrets = telling(records.iter().filter(|it| *it.key.scope == here));
        // The account and what IAM has are there in every region.
        secrets.retain(|word| word != OWNER && !word.starts_with("arn:aws:iam:"));
        secrets
    };
    let there = scope(OWNER, ELSEWHERE);
    // The number of a VPC is taken from those of the whole installation.
    let numbers = |record: &StoredRecord| {
        let text = String::from_utf8_lossy(&record.bytes);
        &*record.key.kind == "ec2.vni" && text.contains(ELSEWHERE)
    };
    let theirs = |record: &StoredRecord| *record.key.scope == there || numbers(record);
    pry(&there, is_regional, secrets, theirs);
}

#[test]
fn iam_is_the_same_in_every_region() {
    let world = World::new(setting("SEED", 1));
    let there = scope(OWNER, ELSEWHERE);
    let ask = |scope: &Scope, operation, input| {
        world.ask(scope, &Question { service: "iam", operation, input }).expect(operation)
    };
    let list = |scope: &Scope| ask(scope, "ListRoles", serde_json::json!({}));
    assert!(list(&there).contains(OWNER), "{}", list(&there));
    assert_eq!(list(&there), list(&owner()));

    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}"#;
    let role = serde_json::json!({ "RoleName": "amber", "AssumeRolePolicyDocument": policy });
    ask(&there, "CreateRole", role);
    let named = serde_json::json!({ "RoleName": "amber" });
    let made = ask(&owner(), "GetRole", named.clone());
    assert_eq!(made, ask(&there, "GetRole", named));
}

/// A token as ours are, for what comes after the first item that there could be.
fn token(list: &str, scope: &str) -> String {
    let token = serde_json::json!({ "l": list, "s": scope, "a": " " });
    URL_SAFE_NO_PAD.encode(token.to_string())
}

#[test]
fn tokens_are_good_for_one_list() {
    let seed = setting("SEED", 1);
    let world = World::new(seed);
    let mut chance = Chance(seed);
    let mut lists = 0;
    for (service, operation) in served() {
        let Some((member, input)) = questions::next_page(operation.input) else { continue };
        let ask = |token: &str| {
            let mut input = input.clone();
            input[member] = token.into();
            world.ask(
                &owner(),
                &Question { service: service.name, operation: operation.name, input },
            )
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
                if let Ok(answer) = world.ask(&owner(), &question) {
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
