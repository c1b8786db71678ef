//! Our codecs and signatures on standard input and output, for `tests/wire`: each
//! line in is a question in JSON, each line out is the answer to it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ident::Timestamp;
use serde_json::{Value, json};
use std::io::{BufRead as _, Write as _};
use wire::protocol::identify;
use wire::sigv4::{self, Parts, Signature};
use wire::{Body, Fault, Protocol, Request, Service};

type Problem = Box<dyn std::error::Error>;

fn main() -> Result<(), Problem> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let question: Value = serde_json::from_str(&line?)?;
        let answer = match text(&question, "do")? {
            "read" => read(&question)?,
            "write" => write(&question)?,
            "refuse" => refuse(&question)?,
            "verify" => verify(&question)?,
            "unchunk" => unchunk(&question)?,
            other => return Err(format!("cannot do {other}").into()),
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// An HTTP request, as the shape that we take it for.
fn read(question: &Value) -> Result<Value, Problem> {
    let (method, headers) =
        (Method::from_bytes(text(question, "method")?.as_bytes())?, headers(question)?);
    let body = bytes(question, "body")?;
    let scope = Some(text(question, "scope")?);
    let call = match identify(&method, &headers, text(question, "query")?, &body, scope) {
        Ok(call) => call,
        Err((_, fault)) => return Ok(fault_of(&fault)),
    };
    let request = Request { operation: &call.operation, id: "", body: call.body(&body) };
    let value = match call.service.name {
        "ec2" => wire::ec2::reread(&request),
        "ecs" => wire::ecs::reread(&request),
        "iam" => wire::iam::reread(&request),
        "sts" => wire::sts::reread(&request),
        other => return Err(format!("{other} is not AWS's").into()),
    };
    Ok(match value {
        Ok(value) => {
            json!({ "service": call.service.name, "operation": call.operation, "value": value })
        }
        Err(fault) => fault_of(&fault),
    })
}

/// A shape, as the HTTP response that we make of it.
fn write(question: &Value) -> Result<Value, Problem> {
    let value = question.get("value").cloned().ok_or("no value")?;
    let id = text(question, "id")?;
    let request = Request { operation: text(question, "operation")?, id, body: Body::Json(b"") };
    let body = match text(question, "service")? {
        "ec2" => wire::ec2::rewrite(value, &request),
        "ecs" => wire::ecs::rewrite(value, &request),
        "iam" => wire::iam::rewrite(value, &request),
        "sts" => wire::sts::rewrite(value, &request),
        other => return Err(format!("{other} is not AWS's").into()),
    };
    Ok(match body {
        Ok(body) => response(&wire::respond(protocol(question)?, body, id)),
        Err(fault) => fault_of(&fault),
    })
}

/// A fault, as the HTTP response that we make of it.
fn refuse(question: &Value) -> Result<Value, Problem> {
    let status = question.get("status").and_then(Value::as_u64).ok_or("no status")?;
    let code = text(question, "code")?.to_owned();
    let fault = Fault::new(u16::try_from(status)?, code, text(question, "message")?);
    Ok(response(&fault.respond(protocol(question)?, text(question, "id")?)))
}

/// Whether we believe a signature.
fn verify(question: &Value) -> Result<Value, Problem> {
    let (headers, body) = (headers(question)?, bytes(question, "body")?);
    let parts = Parts {
        method: text(question, "method")?,
        path: text(question, "path")?,
        query: text(question, "query")?,
        headers: &headers,
        body: &body,
    };
    let now = question.get("now").and_then(Value::as_i64).ok_or("no time")?;
    let verified = Signature::parse(&parts).and_then(|claim| {
        claim.verify(&parts, text(question, "secret").unwrap_or_default(), Timestamp(now * 1000))
    });
    Ok(match verified {
        Ok(()) => json!({}),
        Err(refusal) => fault_of(&refusal.fault(protocol(question)?)),
    })
}

/// A body that was sent in chunks, as it was before.
fn unchunk(question: &Value) -> Result<Value, Problem> {
    Ok(match sigv4::unchunked(&headers(question)?, &bytes(question, "body")?) {
        Ok(None) => json!({}),
        Ok(Some(body)) => json!({ "body": STANDARD.encode(body) }),
        Err(error) => fault_of(&error.fault()),
    })
}

fn protocol(question: &Value) -> Result<Protocol, Problem> {
    let service = text(question, "service")?;
    Ok(Service::named(service).ok_or_else(|| format!("no service {service}"))?.protocol)
}

fn fault_of(fault: &Fault) -> Value {
    json!({ "status": fault.status, "code": fault.code, "message": fault.message })
}

fn response(response: &http::Response<Vec<u8>>) -> Value {
    let headers = response.headers().iter();
    let headers: Vec<_> = headers.map(|(k, v)| (k.as_str(), v.to_str().unwrap_or("?"))).collect();
    let body = STANDARD.encode(response.body());
    json!({ "status": response.status().as_u16(), "headers": headers, "body": body })
}

fn text<'a>(question: &'a Value, name: &str) -> Result<&'a str, Problem> {
    question.get(name).and_then(Value::as_str).ok_or_else(|| format!("no {name}").into())
}

fn bytes(question: &Value, name: &str) -> Result<Vec<u8>, Problem> {
    let decoded = STANDARD.decode(text(question, name)?);
    decoded.map_err(|e| format!("{name}: {e}").into())
}

/// Pairs, for a name may occur twice. Values are in Latin-1, as bytes are.
fn headers(question: &Value) -> Result<HeaderMap, Problem> {
    let mut headers = HeaderMap::new();
    for pair in question.get("headers").and_then(Value::as_array).ok_or("no headers")? {
        let (Some(name), Some(value)) = (pair[0].as_str(), pair[1].as_str()) else {
            return Err("a header is a pair".into());
        };
        let value: Result<Vec<u8>, _> = value.chars().map(|c| u8::try_from(u32::from(c))).collect();
        headers.append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_bytes(&value?)?);
    }
    Ok(headers)
}
