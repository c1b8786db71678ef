//! AssumeRole.
//!
//! At AWS the root user may not assume roles. Here it may, as an account has no
//! other users yet.

use super::{check_name, tagged};
use crate::document::{Document, Kind, Verdict};
use crate::error::Error;
use crate::managed;
use crate::roles::{Role, by_arn, named};
use crate::sessions::Session;
use chassis::{Cx, Principal, RoleSession};
use std::time::Duration;
use store::View;
use wire::sts::{AssumeRoleRequest, AssumeRoleResponse, AssumedRoleUser, Credentials};

/// The longest session of who is in a session already, in seconds.
const CHAINED: i32 = 3600;
/// How long session policies can be together.
const MAX_POLICY: usize = 2048;
/// How many managed policies a session can name.
const MAX_POLICY_ARNS: usize = 10;

/// Makes temporary credentials, if the role's trust policy lets the caller have them.
pub(super) async fn assume(
    cx: &Cx,
    request: AssumeRoleRequest,
) -> Result<AssumeRoleResponse, Error> {
    refuse_unsupported(&request)?;
    let arn = request.role_arn.unwrap_or_default();
    let name = request.role_session_name.unwrap_or_default();
    check_name("roleSessionName", &name)?;
    let tags = request.tags.unwrap_or_default().into_iter();
    let tags = tagged(tags.map(|tag| (tag.key, tag.value)))?;
    if let Some(policy) = &request.policy {
        Document::parse(Kind::Rights, policy)?;
        if policy.len() > MAX_POLICY {
            return Err(Error::Invalid(format!(
                "The session policy can have at most {MAX_POLICY} characters."
            )));
        }
    }
    let arns = request.policy_arns.unwrap_or_default().into_iter();
    let policy_arns: Vec<String> = arns.filter_map(|policy| policy.arn).collect();
    if let Some(unknown) = policy_arns.iter().find(|arn| managed::name(arn).is_none()) {
        return Err(Error::Invalid(format!("Policy {unknown} does not exist.")));
    }
    if policy_arns.len() > MAX_POLICY_ARNS {
        return Err(Error::Invalid(format!(
            "A session can have at most {MAX_POLICY_ARNS} managed policies."
        )));
    }
    if let Some(identity) = &request.source_identity {
        check_name("sourceIdentity", identity)?;
    }

    let (policy, external_id) = (request.policy, request.external_id);
    let source_identity = request.source_identity;
    let mut needed = vec!["sts:AssumeRole"];
    needed.extend((!tags.is_empty()).then_some("sts:TagSession"));
    needed.extend(source_identity.as_ref().map(|_| "sts:SetSourceIdentity"));
    let now = cx.now();
    let session = cx.store().transact(|txn| {
        let role = by_arn(txn.view(), &arn);
        let trusted = role.as_ref().and_then(|role| Document::parse(Kind::Trust, &role.trust).ok());
        for action in &needed {
            let is = |name: &str| is_caller(txn.view(), cx, name);
            let verdict = trusted.as_ref().map(|t| t.trusts(action, external_id.as_deref(), &is));
            if verdict != Some(Verdict::Allowed) {
                let (caller, role) = (cx.caller.arn(), arn.clone());
                return Err(Error::MayNot { caller, action, role });
            }
        }
        // Without a role nobody came so far.
        let role = role.ok_or_else(|| Error::NoRole(arn.clone()))?;
        let seconds = duration(cx, &role, request.duration_seconds)?;
        let times = (now, now.after(Duration::from_secs(seconds)));
        let session = Session {
            policies: policy.clone().into_iter().collect(),
            policy_arns: policy_arns.clone(),
            tags: tags.clone(),
            source_identity: source_identity.clone(),
            ..Session::new(&cx.platform, &role, &name, times)?
        };
        txn.put(session.clone());
        Ok((session, role.arn.split(':').nth(1).unwrap_or("aws").to_owned()))
    });
    let (session, partition) = session.await?;
    Ok(show(&session, &partition))
}

fn refuse_unsupported(request: &AssumeRoleRequest) -> Result<(), Error> {
    for (given, what) in [
        (
            request.serial_number.is_some() || request.token_code.is_some(),
            "SerialNumber, TokenCode",
        ),
        (request.provided_contexts.as_ref().is_some_and(|c| !c.is_empty()), "ProvidedContexts"),
        (
            request.transitive_tag_keys.as_ref().is_some_and(|keys| !keys.is_empty()),
            "TransitiveTagKeys",
        ),
        (request.minimum_session_token_size.is_some(), "MinimumSessionTokenSize"),
    ] {
        if given {
            return Err(Error::Unsupported(what));
        }
    }
    Ok(())
}

/// How long the session lasts, in seconds.
fn duration(cx: &Cx, role: &Role, wanted: Option<i32>) -> Result<u64, Error> {
    let wanted = wanted.unwrap_or(3600);
    if matches!(cx.caller.principal, Principal::Role(_)) && wanted > CHAINED {
        return Err(Error::Invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by \
             role chaining."
                .to_owned(),
        ));
    }
    if wanted > role.max_session_seconds {
        return Err(Error::Invalid(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
                .to_owned(),
        ));
    }
    Ok(u64::try_from(wanted).unwrap_or_default())
}

/// Whether the caller is the principal that a trust policy calls `name`: everybody
/// in an account, a role, or one session of it.
fn is_caller(view: &View, cx: &Cx, name: &str) -> bool {
    let account = &cx.scope().account;
    if name == account.as_str() || name == cx.caller.arn() {
        return true;
    }
    let in_account = |partition| name == format!("arn:{partition}:iam::{account}:root");
    match &cx.caller.principal {
        Principal::Role(session) => {
            in_account(cx.scope().region.partition())
                || named(view, account, &session.role)
                    .is_some_and(|role| role.id == session.role_id && role.arn == name)
        }
        Principal::Root | Principal::Instance(_) => in_account(cx.scope().region.partition()),
    }
}

fn show(session: &Session, partition: &str) -> AssumeRoleResponse {
    let RoleSession { role, role_id, session: name } = &session.principal;
    let account = &session.account;
    AssumeRoleResponse {
        credentials: Some(Credentials {
            access_key_id: Some(session.id.clone()),
            secret_access_key: Some(session.secret.reveal().to_owned()),
            session_token: Some(session.token.reveal().to_owned()),
            expiration: Some(wire::Timestamp::from_millis(session.expires.0)),
        }),
        assumed_role_user: Some(AssumedRoleUser {
            arn: Some(format!("arn:{partition}:sts::{account}:assumed-role/{role}/{name}")),
            assumed_role_id: Some(format!("{role_id}:{name}")),
        }),
        source_identity: session.source_identity.clone(),
        ..Default::default()
    }
}
