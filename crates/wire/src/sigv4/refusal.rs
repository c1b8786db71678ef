//! Why a request is not let in, and how each protocol puts it.

use super::ChunkError;
use crate::{Fault, Protocol};

/// Why a request is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no signature.
    #[error("the request is not signed")]
    Missing,
    /// There is one, but it cannot be read; the text is for the client.
    #[error("{0}")]
    Incomplete(String),
    /// Nobody has the access key, or its session token is not the one.
    #[error("the access key or its token is unknown")]
    UnknownKey,
    /// The session token was good once.
    #[error("the session token has expired")]
    ExpiredToken,
    /// The signature is another than ours.
    #[error("the signature does not match")]
    Mismatch,
    /// The signature is for another service or region; the text is for the client.
    #[error("{0}")]
    Scope(String),
    /// The signature is too old, or from the future; the text is for the client.
    #[error("{0}")]
    Expired(String),
    /// The body is in chunks that cannot be put together.
    #[error(transparent)]
    Chunks(#[from] ChunkError),
}

const UNKNOWN: &str = "The security token included in the request is invalid.";
const EXPIRED: &str = "The security token included in the request is expired";
const MISMATCH: &str = "The request signature we calculated does not match the signature you \
                        provided. Check your AWS Secret Access Key and signing method. Consult \
                        the service documentation for details.";
/// EC2 does not say what is wrong with credentials.
const AUTH_FAILURE: &str = "AWS was not able to validate the provided access credentials";

impl Refusal {
    /// In the words of `protocol`.
    pub fn fault(&self, protocol: Protocol) -> Fault {
        use Protocol::{AwsQuery, Ec2Query, Json11};
        let denied = |code: &'static str, message: &str| Fault::denied(code, message);
        match (self, protocol) {
            (Self::Missing, Json11) => {
                denied("MissingAuthenticationTokenException", "Missing Authentication Token")
            }
            (Self::Missing, Ec2Query | AwsQuery) => {
                denied("MissingAuthenticationToken", "Request is missing Authentication Token")
            }
            (Self::Chunks(error), Json11 | Ec2Query | AwsQuery) => error.fault(),
            (Self::Incomplete(text), Json11) => Fault::client("IncompleteSignatureException", text),
            (Self::Incomplete(text), Ec2Query | AwsQuery) => {
                Fault::client("IncompleteSignature", text)
            }
            (Self::UnknownKey, Json11) => denied("UnrecognizedClientException", UNKNOWN),
            (Self::UnknownKey, AwsQuery) => denied("InvalidClientTokenId", UNKNOWN),
            (Self::UnknownKey | Self::Mismatch | Self::Scope(_), Ec2Query) => {
                Fault::new(401, "AuthFailure", AUTH_FAILURE)
            }
            (Self::ExpiredToken, Json11) => Fault::client("ExpiredTokenException", EXPIRED),
            (Self::ExpiredToken, AwsQuery) => denied("ExpiredToken", EXPIRED),
            (Self::ExpiredToken, Ec2Query) => {
                Fault::client("RequestExpired", "Request has expired.")
            }
            (Self::Mismatch, Json11) => denied("InvalidSignatureException", MISMATCH),
            (Self::Mismatch, AwsQuery) => denied("SignatureDoesNotMatch", MISMATCH),
            (Self::Expired(text) | Self::Scope(text), Json11) => {
                denied("InvalidSignatureException", text)
            }
            (Self::Expired(text) | Self::Scope(text), AwsQuery) => {
                denied("SignatureDoesNotMatch", text)
            }
            (Self::Expired(text), Ec2Query) => {
                Fault::client("RequestExpired", format!("Request has expired. {text}"))
            }
        }
    }
}
