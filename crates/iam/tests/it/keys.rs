use crate::{account, instance, now, platform, platform_on, scope};
use chassis::{Authenticator as _, Principal};
use iam::{Iam, Key, bootstrap, node_key};
use ident::{InstanceId, Scope};
use std::collections::BTreeSet;
use store::MemoryBackend;

#[test]
fn keys_look_like_aws_keys() {
    let key = now(bootstrap(&platform(), &account("123456789012"))).expect("made");
    assert_eq!(key.access_key_id.len(), 20);
    let (prefix, rest) = key.access_key_id.split_at(4);
    assert_eq!(prefix, "AKIA");
    assert!(rest.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b)), "{rest}");
    let secret = key.secret.reveal();
    assert_eq!(secret.len(), 40);
    assert!(secret.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/'));
    assert!(!format!("{key:?}").contains(secret));
}

#[test]
fn a_holder_has_one_key_across_restarts() {
    let backend = MemoryBackend::default();
    let make = |seed| {
        let platform = platform_on(backend.clone(), seed);
        let root = now(bootstrap(&platform, &scope().account)).expect("made");
        let node = now(node_key(&platform, &scope(), &instance())).expect("made");
        (root, node)
    };
    let first = make(1);
    assert_eq!(make(2), first);
    assert_ne!(first.0, first.1);
}

#[test]
fn every_holder_has_a_key_of_its_own() {
    let platform = platform();
    let here = scope();
    let there = Scope { account: account("210987654321"), ..here.clone() };
    let keys: BTreeSet<String> = [
        now(bootstrap(&platform, &here.account)),
        now(bootstrap(&platform, &there.account)),
        now(node_key(&platform, &here, &instance())),
        now(node_key(&platform, &there, &instance())),
        now(node_key(&platform, &here, &InstanceId::mint(7))),
    ]
    .into_iter()
    .map(|key| key.expect("made").access_key_id)
    .collect();
    assert_eq!(keys.len(), 5);
}

#[test]
fn a_key_is_found_without_its_account() {
    let platform = platform();
    let iam = Iam::new(platform.store.clone());
    let there = account("210987654321");
    let Key { access_key_id, secret } = now(bootstrap(&platform, &there)).expect("made");
    let found = iam.key(&access_key_id).expect("known");
    assert_eq!((found.secret, found.account), (secret, there));
    assert_eq!((found.principal, found.session_token), (Principal::Root, None));

    now(bootstrap(&platform, &scope().account)).expect("made");
    let node = now(node_key(&platform, &scope(), &instance())).expect("made");
    let found = iam.key(&node.access_key_id).expect("known");
    assert_eq!(found.account, scope().account);
    assert_eq!(found.principal, Principal::Instance(instance()));

    for unknown in ["", "AKIA", "AKIAAAAAAAAAAAAAAAAA", &access_key_id.to_ascii_lowercase()] {
        assert!(iam.key(unknown).is_none(), "{unknown}");
    }
}

/// What version 1 of the encoding looks like. It stays readable.
#[test]
fn keys_of_version_one_can_be_read() {
    let record: iam::records::AccessKey =
        serde_json::from_str(include_str!("../fixtures/access-key.v1.json")).expect("readable");
    assert_eq!(record.id, "AKIAAAAAAAAAAAAAAAAA");
    assert_eq!(record.principal, Principal::Instance(instance()));
}
