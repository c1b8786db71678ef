//! A recorded conversation with the official agent, version 1.105.1: we must
//! understand all of it, and say it again without losing a word.

use serde_json::Value;
use wire::schema::Shape;
use wire::{acs, constraint, ecs, tcs};

fn recorded() -> impl Iterator<Item = Value> {
    let lines = include_str!("../fixtures/agent.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).expect("a recording"))
}

fn text<'a>(record: &'a Value, name: &str) -> &'a str {
    record[name].as_str().unwrap_or_default()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// Drops what is absent anyway, and lets 1 equal 1.0.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let pairs = object.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(pairs.map(|(name, value)| (name, plain(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(plain).collect(),
        Value::Number(number) => number.as_f64().into(),
        other @ (Value::Null | Value::Bool(_) | Value::String(_)) => other,
    }
}

#[test]
fn frames_survive() {
    let mut kinds = std::collections::BTreeSet::new();
    for record in recorded() {
        let (kind, data) = (text(&record, "kind"), text(&record, "data"));
        let (kind, before, after) = match kind {
            "acs-tx" | "acs-rx" => {
                let message = acs::Message::decode(data).expect(data);
                (message.kind().to_owned(), data, message.encode().expect("written"))
            }
            "tcs-rx" => {
                let (headers, frame) = tcs::split(data);
                assert!(headers.starts_with("Authorization: AWS4-HMAC-SHA256"), "{headers}");
                let message = tcs::Message::decode(frame).expect(frame);
                (message.kind().to_owned(), frame, message.encode().expect("written"))
            }
            _ => continue,
        };
        if kind == "UnknownThing" {
            continue; // The recorder's invention, to see what the agent does.
        }
        assert_eq!(plain(json(before)), plain(json(&after)));
        kinds.insert(kind);
    }
    for kind in ["PayloadMessage", "AckRequest", "HeartbeatMessage", "PublishMetricsRequest"] {
        assert!(kinds.contains(kind), "{kinds:?}");
    }
}

#[test]
fn requests_violate_nothing() {
    for record in recorded().filter(|record| text(record, "kind") == "api") {
        let name = text(&record, "operation");
        let Some(operation) = ecs::SERVICE.operation(name) else { continue };
        let shape: &Shape = operation.input;
        let body = json(text(&record, "body"));
        assert_eq!(constraint::violations(ecs::SERVICE.protocol, shape, &body), [], "{name}");
    }
}

#[test]
fn what_we_have_never_heard_of_is_no_error() {
    for frame in [r#"{"type":"Invented","message":{"a":1}}"#, r#"{"type":"Invented"}"#] {
        let message = acs::Message::decode(frame).expect(frame);
        assert_eq!(message, acs::Message::Unknown("Invented".into()));
    }
    for frame in ["", "{}", "[]", r#"{"type":"AckRequest","message":{"cluster":5}}"#] {
        assert!(acs::Message::decode(frame).is_err(), "{frame}");
    }
}

#[test]
fn a_frame_by_hand() {
    let message = acs::Message::from(acs::HeartbeatMessage {
        healthy: Some(true),
        message_id: Some("hb-1".into()),
    });
    let frame = r#"{"type":"HeartbeatMessage","message":{"healthy":true,"messageId":"hb-1"}}"#;
    assert_eq!(message.encode().expect("written"), frame);
    assert_eq!(acs::Message::decode(frame).expect("read"), message);
}

#[test]
fn logs_do_not_tell_secrets() {
    let credentials = acs::IAMRoleCredentials {
        access_key_id: Some("AKIDEXAMPLE".into()),
        secret_access_key: Some("hush".into()),
        ..Default::default()
    };
    let shown = format!("{credentials:?}");
    assert!(shown.contains("AKIDEXAMPLE") && !shown.contains("hush"), "{shown}");
}
