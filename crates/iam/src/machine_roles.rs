//! The credentials of machines: sessions of the role that they act in, which EC2 asks
//! for in their stead.

use crate::bootstrap::{ID_LETTERS, spell};
use crate::error::Error;
use crate::linked;
use crate::roles::{Role, named};
use crate::sessions::Session;
use crate::task_roles::for_service;
use chassis::Platform;
use ident::{InstanceId, Scope};

/// Whom the role has to trust.
pub const SERVICE: &str = "ec2.amazonaws.com";

/// The role that machines act in, as AWS's guide and console call it.
pub const ROLE: &str = "ecsInstanceRole";

/// The AWS-managed policy that it has.
const POLICY: &str = "service-role/AmazonEC2ContainerServiceforEC2Role";

/// Makes credentials of [`ROLE`] for a machine, good for
/// [`LASTS`](crate::task_roles::LASTS). The role is made if there is none, as AWS's
/// console does it, with what an ECS agent needs.
///
/// Refuses if the account's role of this name does not trust [`SERVICE`].
pub async fn issue(
    platform: &Platform,
    scope: &Scope,
    instance: &InstanceId,
) -> Result<Session, Error> {
    let (account, now) = (&scope.account, platform.now());
    platform
        .store
        .transact(|txn| {
            let known = named(txn.view(), account, ROLE);
            let role = known.as_deref().cloned().unwrap_or_else(|| {
                let role = new_role(platform, scope);
                txn.put(role.clone());
                role
            });
            let who = (SERVICE, role.arn.as_str(), instance.as_str());
            for_service(platform, txn, account, who, now)
        })
        .await
}

fn new_role(platform: &Platform, scope: &Scope) -> Role {
    let partition = scope.region.partition();
    let id = format!("AROA{}", spell(platform.bits(), ID_LETTERS, 17));
    let trust = linked::trust(SERVICE);
    let (name, now) = (("/", ROLE), platform.now());
    let mut role = Role::new(&scope.account, partition, name, id, trust, now);
    role.attached.insert(format!("arn:{partition}:iam::aws:policy/{POLICY}"));
    role
}
