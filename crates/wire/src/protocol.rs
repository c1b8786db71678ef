//! Which service and operation an HTTP request is for.
//!
//! All services answer on one endpoint, so a request has to say itself what it
//! wants. JSON services do so in `X-Amz-Target`; the query services send
//! `Action` and `Version`, and where two of them share an action, the credential
//! scope of the signature tells them apart.

use crate::service::SERVICES;
use crate::{Body, Fault, Protocol, Service};
use http::{HeaderMap, Method};

/// A request that knows what it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Of whom.
    pub service: &'static Service,
    /// What; not necessarily something that exists.
    pub operation: String,
    /// The parameters of a query service; empty otherwise.
    pub parameters: Vec<(String, String)>,
}

impl Call {
    /// The request's body as [`serve`](crate::ecs::serve) takes it.
    pub fn body<'a>(&'a self, body: &'a [u8]) -> Body<'a> {
        match self.service.protocol {
            Protocol::Json11 => Body::Json(body),
            Protocol::Ec2Query | Protocol::AwsQuery => Body::Form(&self.parameters),
        }
    }
}

/// Finds out, or says in which protocol to refuse and how.
///
/// `query` is without its question mark; `scope` is the service in the
/// credential scope of the request's signature, if it has one
/// ([`Signature::service`](crate::sigv4::Signature::service)).
pub fn identify(
    method: &Method,
    headers: &HeaderMap,
    query: &str,
    body: &[u8],
    scope: Option<&str>,
) -> Result<Call, (Protocol, Fault)> {
    if let Some(target) = headers.get("x-amz-target") {
        if *method != Method::POST {
            return Err((Protocol::Json11, method_refused(method)));
        }
        let target = String::from_utf8_lossy(target.as_bytes());
        return by_target(&target).map_err(|fault| (Protocol::Json11, fault));
    }
    let protocol = scope.and_then(Service::named).map_or(Protocol::AwsQuery, |s| s.protocol);
    if !matches!(*method, Method::GET | Method::POST) {
        return Err((protocol, method_refused(method)));
    }
    let mut parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    if *method == Method::POST && is_form(headers) {
        parameters.extend(form_urlencoded::parse(body).into_owned());
    }
    by_action(parameters, scope).map_err(|fault| (protocol, fault))
}

/// A signature covers the method, but a method that promises to change nothing
/// must not change anything.
fn method_refused(method: &Method) -> Fault {
    Fault::new(405, "MethodNotAllowed", format!("The method {method} is not allowed here."))
}

fn by_target(target: &str) -> Result<Call, Fault> {
    let unknown = || {
        let message = format!("No service here answers to the target {target}.");
        Fault::client("UnknownOperationException", message)
    };
    let (prefix, operation) = target.split_once('.').ok_or_else(unknown)?;
    let found = SERVICES.into_iter().find(|s| s.protocol == Protocol::Json11 && s.target == prefix);
    let service = found.ok_or_else(unknown)?;
    Ok(Call { service, operation: operation.to_owned(), parameters: Vec::new() })
}

fn by_action(parameters: Vec<(String, String)>, scope: Option<&str>) -> Result<Call, Fault> {
    let value =
        |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let missing = || {
        Fault::client("MissingAction", "The request is missing an action or a required parameter.")
    };
    let operation = value("Action").ok_or_else(missing)?;
    let version = value("Version");
    let knows = |service: &Service| {
        service.operation(&operation).is_some()
            || service.unserved.binary_search(&operation.as_str()).is_ok()
    };
    let query = || SERVICES.into_iter().filter(|s| s.protocol != Protocol::Json11);
    let service = query()
        .find(|service| scope == Some(service.name))
        .or_else(|| query().find(|service| version.as_deref() == Some(service.version)))
        .or_else(|| query().find(|service| version.is_none() && knows(service)));
    let service = service.ok_or_else(|| {
        Fault::client(
            "InvalidAction",
            format!("The action {operation} is not valid for this web service."),
        )
    })?;
    Ok(Call { service, operation, parameters })
}

/// Clients of the query services do not always say so; what is neither JSON nor
/// anything else is a form.
fn is_form(headers: &HeaderMap) -> bool {
    headers.get("content-type").is_none_or(|kind| {
        kind.as_bytes().to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs.map(|(k, v)| ((*k).parse().expect("name"), v.parse().expect("value"))).collect()
    }

    #[test]
    fn how_a_request_says_what_it_wants() {
        let target = headers(&[("x-amz-target", "AmazonEC2ContainerServiceV20141113.RunTask")]);
        let form = headers(&[("content-type", "application/x-www-form-urlencoded; charset=utf-8")]);
        let none = HeaderMap::new();
        for (method, headers, query, body, scope, service, operation) in [
            (Method::POST, &target, "", "{}", None, "ecs", "RunTask"),
            (
                Method::POST,
                &form,
                "",
                "Action=DescribeVpcs&Version=2016-11-15",
                None,
                "ec2",
                "DescribeVpcs",
            ),
            (
                Method::GET,
                &none,
                "Action=DescribeVpcs&Version=2016-11-15",
                "",
                None,
                "ec2",
                "DescribeVpcs",
            ),
            (
                Method::POST,
                &none,
                "",
                "Action=GetCallerIdentity&Version=2011-06-15",
                None,
                "sts",
                "GetCallerIdentity",
            ),
            (Method::POST, &form, "", "Action=GetCallerIdentity", None, "sts", "GetCallerIdentity"),
            (Method::POST, &form, "", "Action=Fly&Version=2014-01-01", Some("ec2"), "ec2", "Fly"),
        ] {
            let call = identify(&method, headers, query, body.as_bytes(), scope).expect(body);
            assert_eq!((call.service.name, call.operation.as_str()), (service, operation));
        }
    }

    #[test]
    fn methods_that_mean_something_else() {
        let target = headers(&[("x-amz-target", "AmazonEC2ContainerServiceV20141113.RunTask")]);
        let action = "Action=DescribeVpcs&Version=2016-11-15";
        for (method, headers, scope, protocol) in [
            (Method::GET, &target, Some("ecs"), Protocol::Json11),
            (Method::CONNECT, &target, Some("ecs"), Protocol::Json11),
            (Method::PUT, &HeaderMap::new(), Some("ec2"), Protocol::Ec2Query),
            (Method::HEAD, &HeaderMap::new(), None, Protocol::AwsQuery),
        ] {
            let (found, fault) =
                identify(&method, headers, action, b"{}", scope).expect_err("refused");
            assert_eq!((found, fault.status, &*fault.code), (protocol, 405, "MethodNotAllowed"));
        }
    }

    #[test]
    fn what_nobody_answers() {
        let target = headers(&[("x-amz-target", "DynamoDB_20120810.PutItem")]);
        let none = HeaderMap::new();
        for (headers, body, protocol, code) in [
            (&target, "{}", Protocol::Json11, "UnknownOperationException"),
            (&none, "", Protocol::AwsQuery, "MissingAction"),
            (&none, "Action=Fly", Protocol::AwsQuery, "InvalidAction"),
        ] {
            let (found, fault) =
                identify(&Method::POST, headers, "", body.as_bytes(), None).expect_err(body);
            assert_eq!((found, &*fault.code), (protocol, code));
        }
    }
}
