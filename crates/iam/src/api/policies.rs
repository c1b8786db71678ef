//! The policies of roles: their own, and those of AWS that are attached.

use super::roles::changeable;
use super::{check_name, page, percent_encoded};
use crate::document::{Document, Kind};
use crate::error::Error;
use crate::managed;
use crate::roles::named;
use chassis::Cx;
use wire::iam;

/// How much a role's own policies can come to, white space not counted.
const MAX_POLICIES: usize = 10_240;
/// How many policies can be attached.
const MAX_ATTACHED: usize = 10;

/// Gives the role a policy of its own, or another in place of it.
pub(super) async fn put(
    cx: &Cx,
    request: iam::PutRolePolicyRequest,
) -> Result<iam::PutRolePolicyResponse, Error> {
    let role = request.role_name.unwrap_or_default();
    let name = request.policy_name.unwrap_or_default();
    let text = request.policy_document.unwrap_or_default();
    check_name("policyName", &name)?;
    Document::parse(Kind::Rights, &text)?;
    cx.store()
        .transact(|txn| {
            let mut role = changeable(txn, cx, &role)?;
            role.policies.insert(name.clone(), text.clone());
            let length = |text: &String| text.chars().filter(|c| !c.is_whitespace()).count();
            if role.policies.values().map(length).sum::<usize>() > MAX_POLICIES {
                return Err(Error::Limit(format!(
                    "Maximum policy size of {MAX_POLICIES} bytes exceeded for role {}",
                    role.name
                )));
            }
            txn.put(role);
            Ok(iam::PutRolePolicyResponse {})
        })
        .await
}

/// Shows a policy of the role's own.
pub(super) fn get(
    cx: &Cx,
    request: iam::GetRolePolicyRequest,
) -> Result<iam::GetRolePolicyResponse, Error> {
    let role = request.role_name.unwrap_or_default();
    let name = request.policy_name.unwrap_or_default();
    let found = named(&cx.view(), &cx.scope().account, &role);
    let found = found.ok_or_else(|| Error::NoRole(role.clone()))?;
    let text = found.policies.get(&name).ok_or_else(|| Error::NoRolePolicy(name.clone()))?;
    Ok(iam::GetRolePolicyResponse {
        role_name: Some(role),
        policy_document: Some(percent_encoded(text)),
        policy_name: Some(name),
    })
}

/// Names the policies of the role's own.
pub(super) fn list(
    cx: &Cx,
    request: iam::ListRolePoliciesRequest,
) -> Result<iam::ListRolePoliciesResponse, Error> {
    let name = request.role_name.unwrap_or_default();
    let found = named(&cx.view(), &cx.scope().account, &name).ok_or(Error::NoRole(name))?;
    let (size, marker) = (request.max_items, request.marker.as_deref());
    let names = found.policies.keys().cloned();
    let page = page(cx, "ListRolePolicies", size, marker, names, Clone::clone)?;
    Ok(iam::ListRolePoliciesResponse {
        is_truncated: Some(page.next_token.is_some()),
        marker: page.next_token,
        policy_names: Some(page.items),
    })
}

/// Takes a policy of the role's own away.
pub(super) async fn delete(
    cx: &Cx,
    request: iam::DeleteRolePolicyRequest,
) -> Result<iam::DeleteRolePolicyResponse, Error> {
    let role = request.role_name.unwrap_or_default();
    let name = request.policy_name.unwrap_or_default();
    cx.store()
        .transact(|txn| {
            let mut role = changeable(txn, cx, &role)?;
            if role.policies.remove(&name).is_none() {
                return Err(Error::NoRolePolicy(name.clone()));
            }
            txn.put(role);
            Ok(iam::DeleteRolePolicyResponse {})
        })
        .await
}

/// Attaches a policy of AWS. An account has none of its own here.
pub(super) async fn attach(
    cx: &Cx,
    request: iam::AttachRolePolicyRequest,
) -> Result<iam::AttachRolePolicyResponse, Error> {
    let role = request.role_name.unwrap_or_default();
    let arn = request.policy_arn.unwrap_or_default();
    cx.store()
        .transact(|txn| {
            let mut role = changeable(txn, cx, &role)?;
            if managed::name(&arn).is_none() {
                return Err(Error::NoPolicy(arn.clone()));
            }
            if role.attached.insert(arn.clone()) {
                if role.attached.len() > MAX_ATTACHED {
                    return Err(Error::Limit(format!(
                        "Cannot exceed quota for PoliciesPerRole: {MAX_ATTACHED}"
                    )));
                }
                txn.put(role);
            }
            Ok(iam::AttachRolePolicyResponse {})
        })
        .await
}

/// Detaches a policy.
pub(super) async fn detach(
    cx: &Cx,
    request: iam::DetachRolePolicyRequest,
) -> Result<iam::DetachRolePolicyResponse, Error> {
    let role = request.role_name.unwrap_or_default();
    let arn = request.policy_arn.unwrap_or_default();
    cx.store()
        .transact(|txn| {
            let mut role = changeable(txn, cx, &role)?;
            if !role.attached.remove(&arn) {
                return Err(Error::NotAttached(arn.clone()));
            }
            txn.put(role);
            Ok(iam::DetachRolePolicyResponse {})
        })
        .await
}

/// Names the policies that are attached.
pub(super) fn list_attached(
    cx: &Cx,
    request: iam::ListAttachedRolePoliciesRequest,
) -> Result<iam::ListAttachedRolePoliciesResponse, Error> {
    let name = request.role_name.unwrap_or_default();
    let found = named(&cx.view(), &cx.scope().account, &name).ok_or(Error::NoRole(name))?;
    let prefix = request.path_prefix.as_deref().unwrap_or("/");
    let in_path = |arn: &&String| {
        managed::name(arn).is_some_and(|name| format!("/{name}").starts_with(prefix))
    };
    let (size, marker) = (request.max_items, request.marker.as_deref());
    let arns = found.attached.iter().filter(in_path).cloned();
    let page = page(cx, "ListAttachedRolePolicies", size, marker, arns, Clone::clone)?;
    let show = |arn: String| iam::AttachedPolicy {
        policy_name: arn.rsplit('/').next().map(str::to_owned),
        policy_arn: Some(arn),
    };
    Ok(iam::ListAttachedRolePoliciesResponse {
        is_truncated: Some(page.next_token.is_some()),
        marker: page.next_token,
        attached_policies: Some(page.items.into_iter().map(show).collect()),
    })
}
