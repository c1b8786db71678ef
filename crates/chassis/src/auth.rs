//! Who is calling, and the questions the edge asks about them.

use crate::Secret;
use ident::{AccountId, InstanceId, Scope, Timestamp};

/// Who is behind a request, and in which account and region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account of the key, the region of the request.
    pub scope: Scope,
    /// Who holds the key.
    pub principal: Principal,
    /// The key that signed.
    pub access_key: String,
}

/// Who a key belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Principal {
    /// The owner of the account.
    Root,
    /// An instance, acting in the role that instances have.
    Instance(InstanceId),
    /// Whoever has assumed a role, for as long as the session lasts.
    Role(RoleSession),
}

/// A session of a role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct RoleSession {
    /// The role's name.
    pub role: String,
    /// The role's unique id: another role may come to have the name.
    pub role_id: String,
    /// What whoever assumed it called the session.
    pub session: String,
}

/// The role that instances have.
const INSTANCE_ROLE: &str = "ecsInstanceRole";

impl Caller {
    /// The ARN of the caller, as it appears in answers, refusals and the audit trail.
    pub fn arn(&self) -> String {
        let (partition, account) = (self.scope.region.partition(), &self.scope.account);
        match &self.principal {
            Principal::Root => format!("arn:{partition}:iam::{account}:root"),
            Principal::Instance(instance) => {
                format!("arn:{partition}:sts::{account}:assumed-role/{INSTANCE_ROLE}/{instance}")
            }
            Principal::Role(RoleSession { role, session, .. }) => {
                format!("arn:{partition}:sts::{account}:assumed-role/{role}/{session}")
            }
        }
    }
}

/// What the edge must know of an access key to verify a signature made with it.
#[derive(Clone, Debug)]
pub struct KeyInfo {
    /// What the signature was made with.
    pub secret: Secret,
    /// Whose account the request acts in.
    pub account: AccountId,
    /// Who holds the key.
    pub principal: Principal,
    /// The token that must come with requests of temporary credentials.
    pub session_token: Option<Secret>,
    /// When temporary credentials end.
    pub expires: Option<Timestamp>,
}

/// Answers the edge's questions about keys and rights. `iam` is one.
///
/// Both are asked on every request, so both answer from memory.
pub trait Authenticator: Send + Sync {
    /// The key with this id, in whichever account it is.
    fn key(&self, access_key_id: &str) -> Option<KeyInfo>;

    /// Whether `caller` may perform `service:operation`.
    fn allows(&self, caller: &Caller, service: &str, operation: &str) -> bool;

    /// The ARN under which refusals and the audit trail name `caller`.
    fn arn(&self, caller: &Caller) -> String;
}
