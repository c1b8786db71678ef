//! The services of AWS as one table: who speaks what.

use crate::Fault;
use crate::schema::Shape;

/// How a service puts operations and structures into bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// JSON both ways, the operation in `X-Amz-Target`.
    Json11,
    /// A form in, XML out, with EC2's own list syntax.
    Ec2Query,
    /// A form in, XML out, as STS and ELB do it.
    AwsQuery,
}

/// A service, and what its model says about it.
pub struct Service {
    /// As in a SigV4 credential scope and in our module names: `ecs`.
    pub name: &'static str,
    /// How it speaks.
    pub protocol: Protocol,
    /// The version of its API, as in `Version=` of a form.
    pub version: &'static str,
    /// The first half of `X-Amz-Target`, or empty.
    pub target: &'static str,
    /// The namespace of its XML, or empty.
    pub namespace: &'static str,
    /// The code under which it refuses a request that violates its model.
    pub invalid: &'static str,
    /// What we serve, sorted by name.
    pub operations: &'static [Operation],
    /// What AWS has beyond that, sorted.
    pub unserved: &'static [&'static str],
}

/// An operation that we serve.
pub struct Operation {
    /// As AWS calls it.
    pub name: &'static str,
    /// The shape of its request.
    pub input: &'static Shape,
}

/// Every service that Landfall answers for.
pub static SERVICES: [&Service; 5] = [
    &crate::ecs::SERVICE,
    &crate::ec2::SERVICE,
    &crate::iam::SERVICE,
    &crate::sts::SERVICE,
    &crate::landfall::SERVICE,
];

impl Service {
    /// The service with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SERVICES.into_iter().find(|service| service.name == name)
    }

    /// The operation with this name, if we serve it.
    pub fn operation(&self, name: &str) -> Option<&'static Operation> {
        let at = self.operations.binary_search_by(|operation| operation.name.cmp(name)).ok()?;
        self.operations.get(at)
    }

    /// Why there is no [`Self::operation`]: AWS has none either, or we lack it.
    pub fn refuse(&self, operation: &str) -> Fault {
        if self.unserved.binary_search(&operation).is_ok() || self.operation(operation).is_some() {
            return self.unavailable(operation);
        }
        match self.protocol {
            Protocol::Json11 => Fault::client(
                "UnknownOperationException",
                format!("The operation {operation} is not known to this service."),
            ),
            Protocol::Ec2Query | Protocol::AwsQuery => Fault::client(
                "InvalidAction",
                format!("The action {operation} is not valid for this web service."),
            ),
        }
    }

    /// AWS has it; we do not serve it.
    pub fn unavailable(&self, operation: &str) -> Fault {
        let code = match self.protocol {
            Protocol::Json11 => "UnknownOperationException",
            Protocol::Ec2Query | Protocol::AwsQuery => "UnsupportedOperation",
        };
        Fault::client(code, format!("Landfall does not serve {}:{operation}.", self.name))
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Service({})", self.name)
    }
}

impl PartialEq for Service {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Service {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_for_the_search() {
        for service in SERVICES {
            assert!(service.operations.is_sorted_by_key(|operation| operation.name));
            assert!(service.unserved.is_sorted());
        }
    }

    #[test]
    fn what_we_lack_is_told_from_what_nobody_has() {
        for (service, operation, code, message) in [
            (
                "ecs",
                "CreateService",
                "UnknownOperationException",
                "Landfall does not serve ecs:CreateService.",
            ),
            (
                "ecs",
                "Fly",
                "UnknownOperationException",
                "The operation Fly is not known to this service.",
            ),
            (
                "ec2",
                "RunInstances",
                "UnsupportedOperation",
                "Landfall does not serve ec2:RunInstances.",
            ),
            ("ec2", "Fly", "InvalidAction", "The action Fly is not valid for this web service."),
            (
                "sts",
                "GetSessionToken",
                "UnsupportedOperation",
                "Landfall does not serve sts:GetSessionToken.",
            ),
        ] {
            let fault = Service::named(service).expect("a service").refuse(operation);
            assert_eq!((fault.status, &*fault.code, &*fault.message), (400, code, message));
        }
    }
}
