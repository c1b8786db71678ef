//! The trait of a service, and the way from bytes to its methods and back.

use super::Service;
use super::names::{constant, field, upper_first};
use crate::Problem;
use std::fmt::Write;

/// The first part of `generated.rs` of a service.
pub(crate) fn generate(service: &Service<'_>) -> Result<String, Problem> {
    let mut text = String::from("use super::generated_schema as schema;\n");
    text.push_str("use crate::{Fault, Operation, Protocol, Request, Service, codec};\n");
    text.push_str("use async_trait::async_trait;\n\n");
    table(&mut text, service)?;
    interface(&mut text, service)?;
    serve(&mut text, service)?;
    codecs(&mut text, service)?;
    round_trips(&mut text, service)?;
    clients(&mut text, service)?;
    errors(&mut text, service)?;
    Ok(text)
}

fn table(text: &mut String, service: &Service<'_>) -> Result<(), Problem> {
    let metadata = &service.model.metadata;
    let (protocol, invalid) = match metadata.protocol.as_str() {
        "json" => ("Json11", "InvalidParameterException"),
        "ec2" => ("Ec2Query", "InvalidParameterValue"),
        "query" => ("AwsQuery", "ValidationError"),
        other => return Err(format!("no protocol {other}").into()),
    };
    // botocore lacks the slash that EC2 sends.
    let namespace = metadata
        .xml_namespace
        .as_deref()
        .map_or_else(String::new, |namespace| format!("{}/", namespace.trim_end_matches('/')));
    writeln!(text, "/// The service as a table.")?;
    writeln!(text, "pub static SERVICE: Service = Service {{")?;
    writeln!(text, "name: {:?}, protocol: Protocol::{protocol},", service.name)?;
    writeln!(text, "version: {:?},", metadata.api_version)?;
    writeln!(text, "target: {:?},", metadata.target_prefix.as_deref().unwrap_or_default())?;
    writeln!(text, "namespace: {namespace:?}, invalid: {invalid:?},")?;
    writeln!(text, "operations: &[")?;
    for served in service.served {
        let input = constant(service.input(&served.name)?);
        writeln!(text, "Operation {{ name: {:?}, input: &schema::{input} }},", served.name)?;
    }
    writeln!(text, "], unserved: UNSERVED }};\n")?;
    writeln!(text, "const UNSERVED: &[&str] = &{:?};\n", service.model.unserved)?;
    Ok(())
}

fn interface(text: &mut String, service: &Service<'_>) -> Result<(), Problem> {
    writeln!(text, "/// What a shell implements: the operations, each refused until it is.")?;
    writeln!(text, "#[async_trait]\npub trait Api<C: Sync>: Send + Sync {{")?;
    for served in service.served {
        let (name, method) = (&served.name, field(&served.name));
        let input = upper_first(service.input(name)?);
        let output = upper_first(service.output(name)?);
        writeln!(text, "async fn {method}(&self, cx: &C, request: {input})")?;
        writeln!(text, "-> Result<{output}, Fault> {{")?;
        writeln!(text, "let _ = (cx, request);")?;
        writeln!(text, "Err(SERVICE.unavailable({name:?})) }}\n")?;
    }
    writeln!(text, "}}\n")?;
    Ok(())
}

fn serve(text: &mut String, service: &Service<'_>) -> Result<(), Problem> {
    writeln!(text, "/// Answers `request` with the bytes of a response, or of none.")?;
    writeln!(text, "pub async fn serve<C: Sync>(api: &dyn Api<C>, cx: &C, request: &Request<'_>)")?;
    writeln!(text, "-> Result<Vec<u8>, Fault> {{ match request.operation {{")?;
    for served in service.served {
        let method = field(&served.name);
        writeln!(text, "{:?} => {{", served.name)?;
        writeln!(text, "let input = decode_{method}(request)?;")?;
        if acknowledged(service, &served.name)? {
            writeln!(text, "api.{method}(cx, input).await?;")?;
            writeln!(text, "Ok(codec::acknowledge(&SERVICE, {:?}, request.id)) }}", served.name)?;
        } else {
            writeln!(text, "encode_{method}(&api.{method}(cx, input).await?, request) }}")?;
        }
    }
    writeln!(text, "other => Err(SERVICE.refuse(other)), }} }}\n")?;
    Ok(())
}

/// Whether all that the answer says is that it was done.
fn acknowledged(service: &Service<'_>, operation: &str) -> Result<bool, Problem> {
    Ok(service.operation(operation)?.silent && service.model.metadata.protocol != "json")
}

/// One function per operation and direction, and none of them generic: this is
/// where serde's code is instantiated, once.
fn codecs(text: &mut String, service: &Service<'_>) -> Result<(), Problem> {
    let json = service.model.metadata.protocol == "json";
    for served in service.served {
        let (name, method) = (&served.name, field(&served.name));
        let (input, output) = (service.input(name)?, service.output(name)?);
        writeln!(text, "fn decode_{method}(request: &Request<'_>)")?;
        writeln!(text, "-> Result<{}, Fault> {{", upper_first(input))?;
        writeln!(text, "codec::decode(&SERVICE, &schema::{}, request) }}\n", constant(input))?;
        if acknowledged(service, name)? {
            continue;
        }
        let request = if json { "_" } else { "request" };
        writeln!(
            text,
            "fn encode_{method}(value: &{}, {request}: &Request<'_>)",
            upper_first(output)
        )?;
        writeln!(text, "-> Result<Vec<u8>, Fault> {{")?;
        if json {
            writeln!(text, "codec::encode_json(value) }}\n")?;
        } else {
            let shape = constant(output);
            writeln!(
                text,
                "codec::encode_xml(&SERVICE, {name:?}, &schema::{shape}, value, request.id) }}\n"
            )?;
        }
    }
    Ok(())
}

/// The same functions by the operation's name and by way of JSON, so that a test
/// can hold every one of them against another implementation.
fn round_trips(text: &mut String, service: &Service<'_>) -> Result<(), Problem> {
    writeln!(text, "/// What `request` was understood to say, as JSON.")?;
    writeln!(text, "#[cfg(feature = \"roundtrip\")]")?;
    writeln!(text, "pub fn reread(request: &Request<'_>) -> Result<serde_json::Value, Fault> {{")?;
    writeln!(text, "match request.operation {{")?;
    for served in service.served {
        let (name, method) = (&served.name, field(&served.name));
        writeln!(text, "{name:?} => codec::shown(&decode_{method}(request)?),")?;
    }
    writeln!(text, "other => Err(SERVICE.refuse(other)), }} }}\n")?;
    writeln!(text, "/// The answer to `request` that is `value` in JSON.")?;
    writeln!(text, "#[cfg(feature = \"roundtrip\")]")?;
    writeln!(text, "pub fn rewrite(value: serde_json::Value, request: &Request<'_>)")?;
    writeln!(text, "-> Result<Vec<u8>, Fault> {{ match request.operation {{")?;
    for served in service.served {
        let (name, method) = (&served.name, field(&served.name));
        if acknowledged(service, name)? {
            writeln!(text, "{name:?} => Ok(codec::acknowledge(&SERVICE, {name:?}, request.id)),")?;
        } else {
            writeln!(text, "{name:?} => encode_{method}(&codec::from_value(value)?, request),")?;
        }
    }
    writeln!(text, "other => Err(SERVICE.refuse(other)), }} }}\n")?;
    Ok(())
}

/// The calling direction, of the operations that our own agent calls.
fn clients(text: &mut String, service: &Service<'_>) -> Result<(), Problem> {
    for served in service.served.iter().filter(|served| served.client) {
        let (input, output) = (service.input(&served.name)?, service.output(&served.name)?);
        writeln!(text, "impl crate::client::Call for {} {{", upper_first(input))?;
        writeln!(text, "type Response = {};", upper_first(output))?;
        writeln!(text, "const OPERATION: &'static str = {:?};", served.name)?;
        writeln!(text, "fn service() -> &'static Service {{ &SERVICE }}\n")?;
        writeln!(
            text,
            "fn encode(&self) -> Result<Vec<u8>, Fault> {{ codec::encode_json(self) }}\n"
        )?;
        writeln!(text, "fn decode(body: &[u8]) -> Result<Self::Response, Fault> {{")?;
        writeln!(text, "codec::decode_json(body) }} }}\n")?;
    }
    Ok(())
}

/// The codes of the errors that the model names.
fn errors(text: &mut String, service: &Service<'_>) -> Result<(), Problem> {
    let operations = service.model.operations.values();
    let mut names: Vec<&str> =
        operations.flat_map(|operation| &operation.errors).map(|r| r.shape.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if !names.is_empty() {
        writeln!(text, "/// Codes of faults.\npub mod code {{")?;
        for name in names {
            writeln!(text, "pub const {}: &str = {name:?};", constant(name))?;
        }
        writeln!(text, "}}\n")?;
    }
    Ok(())
}
