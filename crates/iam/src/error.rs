//! Why an IAM or STS operation was refused, and AWS's words for it.

use crate::document::Malformed;
use chassis::paging::PagingError;
use store::StoreError;
use wire::Fault;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The role is not there.
    #[error("there is no role {0}")]
    NoRole(String),
    /// The role has no such policy of its own.
    #[error("there is no policy {0}")]
    NoRolePolicy(String),
    /// No such managed policy.
    #[error("there is no managed policy {0}")]
    NoPolicy(String),
    /// The policy is not attached.
    #[error("policy {0} is not attached")]
    NotAttached(String),
    /// The name is taken, perhaps in other letters.
    #[error("there is a role {0}")]
    Taken(String),
    /// The role that a service would be linked by is there.
    #[error("the service-linked role {0} is taken")]
    LinkedTaken(String),
    /// The role still has something.
    #[error("the role still has {0}")]
    InUse(&'static str),
    /// The role is a service's.
    #[error("role {0} is a service's")]
    Protected(String),
    /// A quota; the text is for the client.
    #[error("{0}")]
    Limit(String),
    /// A value; the text is for the client.
    #[error("{0}")]
    Invalid(String),
    /// What asks for a service-linked role; the text is for the client.
    #[error("{0}")]
    InvalidInput(String),
    /// A document is not sound.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The caller may not assume the role, or there is none.
    #[error("{caller} may not {action} {role}")]
    #[allow(missing_docs)]
    MayNot { caller: String, action: &'static str, role: String },
    /// The parameter asks for what Landfall does not do.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// The page that was asked for is not one.
    #[error(transparent)]
    Paging(#[from] PagingError),
    /// The state store would not take the change.
    #[error("the state store refused the change")]
    Store(#[from] StoreError),
}

impl Error {
    /// How this error looks on the wire.
    #[must_use]
    pub fn fault(&self) -> Fault {
        let missing = |text: String| Fault::new(404, "NoSuchEntity", text);
        let conflict = |code: &'static str, text: String| Fault::new(409, code, text);
        match self {
            Self::NoRole(name) => missing(format!("The role with name {name} cannot be found.")),
            Self::NoRolePolicy(name) => {
                missing(format!("The role policy with name {name} cannot be found."))
            }
            Self::NoPolicy(arn) => {
                missing(format!("Policy {arn} does not exist or is not attachable."))
            }
            Self::NotAttached(arn) => missing(format!("Policy {arn} was not found.")),
            Self::Taken(name) => {
                conflict("EntityAlreadyExists", format!("Role with name {name} already exists."))
            }
            Self::LinkedTaken(name) => Fault::client(
                "InvalidInput",
                format!(
                    "Service role name {name} has been taken in this account, please try a \
                     different suffix."
                ),
            ),
            Self::InUse(what) => {
                conflict("DeleteConflict", format!("Cannot delete entity, must {what} first."))
            }
            Self::Protected(name) => Fault::client(
                "UnmodifiableEntity",
                format!(
                    "Cannot perform the operation on the protected role '{name}' - this role is \
                     only modifiable by AWS"
                ),
            ),
            Self::Limit(text) => conflict("LimitExceeded", text.clone()),
            Self::Invalid(text) => Fault::client("ValidationError", text),
            Self::InvalidInput(text) => Fault::client("InvalidInput", text),
            Self::Malformed(malformed) => {
                Fault::client("MalformedPolicyDocument", malformed.to_string())
            }
            Self::MayNot { caller, action, role } => Fault::denied(
                "AccessDenied",
                format!(
                    "User: {caller} is not authorized to perform: {action} on resource: {role}"
                ),
            ),
            Self::Unsupported(what) => Fault::client(
                "ValidationError",
                format!("Landfall does not support {what}: leave it out."),
            ),
            Self::Paging(PagingError::Token) => Fault::client("ValidationError", "Invalid Marker."),
            Self::Paging(error @ PagingError::Size { .. }) => {
                Fault::client("ValidationError", error.to_string())
            }
            Self::Store(_) => Fault::server(
                "ServiceFailure",
                "The request processing has failed because of an unknown error.",
            ),
        }
    }
}
