//! Between bytes and structs, once for all shapes.
//!
//! The generated `decode_…` and `encode_…` functions call these with their type
//! filled in, so that the machinery of `serde` is compiled here and not again in
//! every crate that handles a request.

use crate::schema::Shape;
use crate::xml::Xml;
use crate::{Fault, Protocol, Service, constraint, form, json};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A request that has been read off the network and let in, but not understood.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What is asked for: `RunTask`.
    pub operation: &'a str,
    /// Our name for this request. XML answers quote it.
    pub id: &'a str,
    /// With what.
    pub body: Body<'a>,
}

/// The bytes of a request, as its protocol has them.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// The body of a JSON request.
    Json(&'a [u8]),
    /// The parameters of a form, from the body or the query string.
    Form(&'a [(String, String)]),
}

pub(crate) fn decode<T: DeserializeOwned>(
    service: &Service,
    shape: &Shape,
    request: &Request<'_>,
) -> Result<T, Fault> {
    from_value(checked(service, shape, request)?)
}

fn checked(service: &Service, shape: &Shape, request: &Request<'_>) -> Result<Value, Fault> {
    let value = match request.body {
        Body::Json(bytes) => json::read(shape, bytes)?,
        Body::Form(parameters) => form::read(service.protocol, shape, parameters)?,
    };
    constraint::check(service, shape, &value)?;
    Ok(value)
}

pub(crate) fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Fault> {
    serde_json::from_value(value).map_err(|e| json::malformed(e.to_string()))
}

/// What a request was understood to say.
#[cfg(feature = "roundtrip")]
pub(crate) fn shown<T: Serialize>(value: &T) -> Result<Value, Fault> {
    serde_json::to_value(value).map_err(unwritable)
}

/// JSON that somebody else wrote and whose constraints are theirs to keep: the
/// answer of a control plane, a frame of an agent.
pub(crate) fn decode_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|e| json::malformed(e.to_string()))
}

pub(crate) fn encode_json<T: Serialize>(value: &T) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(value).map_err(unwritable)
}

pub(crate) fn encode_xml<T: Serialize>(
    service: &Service,
    operation: &str,
    shape: &Shape,
    value: &T,
    request_id: &str,
) -> Result<Vec<u8>, Fault> {
    let value = serde_json::to_value(value).map_err(unwritable)?;
    let root = format!("{operation}Response");
    let mut xml = Xml::document();
    xml.open_in(&root, service.namespace);
    if service.protocol == Protocol::AwsQuery {
        let wrapper = format!("{operation}Result");
        xml.open(&wrapper);
        xml.members(shape, &value);
        xml.close(&wrapper);
        xml.open("ResponseMetadata");
        xml.leaf("RequestId", request_id);
        xml.close("ResponseMetadata");
    } else {
        xml.leaf("requestId", request_id);
        xml.members(shape, &value);
    }
    xml.close(&root);
    Ok(xml.into_bytes())
}

/// The answer of an operation whose model has no output: EC2 says that it was
/// done, the other query services leave the result out.
pub(crate) fn acknowledge(service: &Service, operation: &str, request_id: &str) -> Vec<u8> {
    let root = format!("{operation}Response");
    let mut xml = Xml::document();
    xml.open_in(&root, service.namespace);
    if service.protocol == Protocol::AwsQuery {
        xml.open("ResponseMetadata");
        xml.leaf("RequestId", request_id);
        xml.close("ResponseMetadata");
    } else {
        xml.leaf("requestId", request_id);
        xml.leaf("return", "true");
    }
    xml.close(&root);
    xml.into_bytes()
}

/// Cannot happen with the shapes of today: all maps have string keys and no
/// number is infinite. An answer nobody can read is still better than a panic.
#[allow(clippy::needless_pass_by_value)] // For `map_err`.
fn unwritable(error: serde_json::Error) -> Fault {
    Fault::server("InternalFailure", format!("The answer could not be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::acknowledge;

    #[test]
    fn operations_without_output() {
        for (service, operation, members) in [
            (&crate::ec2::SERVICE, "DeleteVpc", "<requestId>r-1</requestId><return>true</return>"),
            (
                &crate::iam::SERVICE,
                "DeleteRole",
                "<ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata>",
            ),
        ] {
            let namespace = service.namespace;
            let expected = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                 <{operation}Response xmlns=\"{namespace}\">{members}</{operation}Response>"
            );
            let answer = acknowledge(service, operation, "r-1");
            assert_eq!(String::from_utf8_lossy(&answer), expected);
        }
    }
}
