//! The one error type of the wire, and how each protocol writes it.

use crate::Protocol;
use crate::xml::Xml;
use std::borrow::Cow;

/// A refusal as a client of AWS sees it. Codes and texts are AWS's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The HTTP status.
    pub status: u16,
    /// What programs look at: `ClusterNotFoundException`.
    pub code: Cow<'static, str>,
    /// What people look at.
    pub message: String,
}

impl Fault {
    /// Any fault.
    pub fn new(
        status: u16,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { status, code: code.into(), message: message.into() }
    }

    /// The request is at fault: status 400.
    pub fn client(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    /// The caller may not do this, or is not who they claim to be: status 403.
    pub fn denied(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(403, code, message)
    }

    /// We are at fault: status 500. What exactly happened is for our logs.
    pub fn server(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(500, code, message)
    }

    /// The whole answer, as `protocol` has it.
    pub fn respond(&self, protocol: Protocol, request_id: &str) -> http::Response<Vec<u8>> {
        let body = match protocol {
            Protocol::Json11 => self.json(),
            Protocol::Ec2Query => self.ec2(request_id),
            Protocol::AwsQuery => self.query(request_id),
        };
        let mut response = respond(protocol, body, request_id);
        *response.status_mut() = http::StatusCode::from_u16(self.status)
            .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        if protocol == Protocol::Json11
            && let Ok(code) = http::HeaderValue::from_str(&self.code)
        {
            response.headers_mut().insert("x-amzn-errortype", code);
        }
        response
    }

    fn json(&self) -> Vec<u8> {
        serde_json::json!({ "__type": self.code, "message": self.message }).to_string().into()
    }

    fn ec2(&self, request_id: &str) -> Vec<u8> {
        let mut xml = Xml::document();
        xml.open("Response");
        xml.open("Errors");
        xml.open("Error");
        xml.leaf("Code", &self.code);
        xml.leaf("Message", &self.message);
        xml.close("Error");
        xml.close("Errors");
        xml.leaf("RequestID", request_id);
        xml.close("Response");
        xml.into_bytes()
    }

    fn query(&self, request_id: &str) -> Vec<u8> {
        let mut xml = Xml::document();
        xml.open("ErrorResponse");
        xml.open("Error");
        xml.leaf("Type", if self.status < 500 { "Sender" } else { "Receiver" });
        xml.leaf("Code", &self.code);
        xml.leaf("Message", &self.message);
        xml.close("Error");
        xml.leaf("RequestId", request_id);
        xml.close("ErrorResponse");
        xml.into_bytes()
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.status, self.message)
    }
}

impl std::error::Error for Fault {}

/// A successful answer with this body, as [`serve`](crate::ecs::serve) made it.
pub fn respond(protocol: Protocol, body: Vec<u8>, request_id: &str) -> http::Response<Vec<u8>> {
    let content_type = match protocol {
        Protocol::Json11 => "application/x-amz-json-1.1",
        Protocol::Ec2Query | Protocol::AwsQuery => "text/xml;charset=UTF-8",
    };
    let mut response = http::Response::new(body);
    let headers = response.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static(content_type));
    if let Ok(id) = http::HeaderValue::from_str(request_id) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_has_its_own_words() {
        let fault = Fault::client("Bad<Code>", "a & b");
        for (protocol, body) in [
            (Protocol::Json11, r#"{"__type":"Bad<Code>","message":"a & b"}"#),
            (
                Protocol::Ec2Query,
                concat!(
                    r#"<?xml version="1.0" encoding="UTF-8"?>"#,
                    "\n<Response><Errors><Error><Code>Bad&lt;Code&gt;</Code>",
                    "<Message>a &amp; b</Message></Error></Errors>",
                    "<RequestID>r-1</RequestID></Response>"
                ),
            ),
            (
                Protocol::AwsQuery,
                concat!(
                    r#"<?xml version="1.0" encoding="UTF-8"?>"#,
                    "\n<ErrorResponse><Error><Type>Sender</Type><Code>Bad&lt;Code&gt;</Code>",
                    "<Message>a &amp; b</Message></Error>",
                    "<RequestId>r-1</RequestId></ErrorResponse>"
                ),
            ),
        ] {
            let response = fault.respond(protocol, "r-1");
            assert_eq!(response.status(), 400);
            assert_eq!(response.headers()["x-amzn-requestid"], "r-1");
            assert_eq!(String::from_utf8_lossy(response.body()), body);
        }
        let response = fault.respond(Protocol::Json11, "r-1");
        assert_eq!(response.headers()["x-amzn-errortype"], "Bad<Code>");
        assert_eq!(response.headers()["content-type"], "application/x-amz-json-1.1");
    }

    #[test]
    fn whose_fault() {
        let query = Fault::server("InternalFailure", "sorry").respond(Protocol::AwsQuery, "r-1");
        assert_eq!(query.status(), 500);
        assert!(String::from_utf8_lossy(query.body()).contains("<Type>Receiver</Type>"));
        assert_eq!(Fault::new(7, "Odd", "").respond(Protocol::Json11, "").status(), 500);
    }
}
