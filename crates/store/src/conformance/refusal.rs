//! State that cannot be read is refused, never reset.

use super::fixture::{Harness, Lamp, foreign, key};
use crate::{Commit, Encoded, EncodingError, Key, Registry, Revision, StoreError, Write};

type Expected = fn(&StoreError) -> bool;

/// See the name.
pub fn unreadable_state_is_refused_and_kept(harness: &Harness) {
    let lamp = Lamp::new("a", "hall");
    let mut revision = Revision(0);
    let mut write = |write: Write| {
        revision = revision.next();
        let commit = Commit { revision, guards: Vec::new(), writes: vec![write] };
        harness.backend().commit(&[commit]).expect("backends do not look into records");
    };
    let sound = foreign(Revision(1), &lamp).writes[0].clone();
    let json = sound.value.clone().expect("is written").bytes;
    let mut truncated = json.clone();
    truncated.pop();
    let encoded = |version, bytes: &[u8]| Some(Encoded { version, bytes: bytes.to_vec() });

    let cases: [(&str, Key, Option<Encoded>, Expected); 6] = [
        (
            "an unknown kind",
            Key { kind: "alien.kind".into(), ..key(&lamp) },
            encoded(1, b"{}"),
            |error| matches!(error, StoreError::UnknownKind { .. }),
        ),
        ("a newer version", key(&lamp), encoded(2, &json), |error| {
            unreadable(error, |cause| {
                matches!(cause, EncodingError::Newer { version: 2, newest: 1 })
            })
        }),
        ("a version that never was", key(&lamp), encoded(0, &json), |error| {
            unreadable(error, |cause| matches!(cause, EncodingError::UnknownVersion { version: 0 }))
        }),
        ("truncated bytes", key(&lamp), encoded(1, &truncated), |error| {
            unreadable(error, |cause| matches!(cause, EncodingError::Json(_)))
        }),
        ("no bytes", key(&lamp), encoded(1, b""), |error| {
            unreadable(error, |cause| matches!(cause, EncodingError::Json(_)))
        }),
        ("another's record", key(&Lamp::new("b", "hall")), encoded(1, &json), |error| {
            unreadable(error, |cause| matches!(cause, EncodingError::Misplaced { .. }))
        }),
    ];
    for (case, key, value, expected) in cases {
        write(Write { key: key.clone(), value: value.clone() });
        let error = harness.try_open(Registry::new().record::<Lamp>()).expect_err(case);
        assert!(expected(&error), "{case}: {error:?}");
        let kept = harness.backend().load().expect("loads").records;
        let kept = kept.into_iter().find(|stored| stored.key == key).expect("is still there");
        assert_eq!(Some(kept.bytes), value.map(|value| value.bytes), "{case}: left as it was");
        write(Write { key, value: None });
    }
    write(sound);
    assert_eq!(harness.open().view().count::<Lamp>(&Lamp::home()), 1);
}

fn unreadable(error: &StoreError, expected: impl Fn(&EncodingError) -> bool) -> bool {
    if let StoreError::Unreadable { cause, .. } = error { expected(cause) } else { false }
}
