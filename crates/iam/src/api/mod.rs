//! The operations of IAM and STS.

mod assume_role;
mod policies;
mod roles;

use crate::error::Error;
use crate::roles::everywhere;
use crate::{Iam, names};
use async_trait::async_trait;
use chassis::Cx;
use chassis::paging::{Limits, Page, Paging};
use std::collections::BTreeMap;
use wire::{Fault, iam, sts};

/// How many items every list of IAM shows at a time.
const LIMITS: Limits = Limits { default: 100, min: 1, max: 1000 };
/// How many tags a role or a session can have.
const MAX_TAGS: usize = 50;

/// The error as the client sees it. What happened behind a 500 is for our logs.
fn told(error: Error) -> Fault {
    let fault = error.fault();
    if fault.status >= 500 {
        tracing::error!(error = &error as &dyn std::error::Error, "an IAM operation failed");
    }
    drop(error);
    fault
}

/// A page of a list that is ordered by `key`. It is the same list in every region.
fn page<T>(
    cx: &Cx,
    list: &'static str,
    size: Option<i32>,
    marker: Option<&str>,
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> String,
) -> Result<Page<T>, Error> {
    let scope = everywhere(&cx.scope().account);
    Ok(Paging::parse(list, &scope, LIMITS, size, marker)?.page(items, key))
}

/// Refuses what is no name of a role, a policy or a session.
fn check_name(what: &str, name: &str) -> Result<(), Error> {
    if !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b))
    {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "The specified value for {what} is invalid. It must contain only alphanumeric characters \
         and/or the following: +=,.@_-"
    )))
}

/// Tags, each key once.
fn tagged(
    tags: impl Iterator<Item = (Option<String>, Option<String>)>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut all = BTreeMap::new();
    for (key, value) in tags {
        let key = key.unwrap_or_default();
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(Error::Invalid("Tag keys must not begin with aws:.".to_owned()));
        }
        if all.insert(key, value.unwrap_or_default()).is_some() {
            return Err(Error::Invalid(
                "Duplicate tag keys found. Please note that Tag keys are case insensitive."
                    .to_owned(),
            ));
        }
    }
    if all.len() > MAX_TAGS {
        return Err(Error::Limit(format!("Cannot exceed quota for TagsPerRole: {MAX_TAGS}")));
    }
    Ok(all)
}

/// A document as IAM shows it: percent-encoded, whatever is not unreserved (RFC 3986).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for half in [byte >> 4, byte & 0xf] {
                let digit = char::from_digit(u32::from(half), 16).unwrap_or('0');
                encoded.push(digit.to_ascii_uppercase());
            }
        }
    }
    encoded
}

#[async_trait]
impl sts::Api<Cx> for Iam {
    async fn assume_role(
        &self,
        cx: &Cx,
        request: sts::AssumeRoleRequest,
    ) -> Result<sts::AssumeRoleResponse, Fault> {
        assume_role::assume(cx, request).await.map_err(told)
    }

    async fn get_caller_identity(
        &self,
        cx: &Cx,
        _request: sts::GetCallerIdentityRequest,
    ) -> Result<sts::GetCallerIdentityResponse, Fault> {
        Ok(sts::GetCallerIdentityResponse {
            account: Some(cx.scope().account.to_string()),
            arn: Some(cx.caller.arn()),
            user_id: Some(names::user_id(&cx.caller)),
        })
    }
}

#[async_trait]
impl iam::Api<Cx> for Iam {
    async fn create_role(
        &self,
        cx: &Cx,
        request: iam::CreateRoleRequest,
    ) -> Result<iam::CreateRoleResponse, Fault> {
        roles::create(cx, request).await.map_err(told)
    }

    async fn create_service_linked_role(
        &self,
        cx: &Cx,
        request: iam::CreateServiceLinkedRoleRequest,
    ) -> Result<iam::CreateServiceLinkedRoleResponse, Fault> {
        roles::create_linked(cx, request).await.map_err(told)
    }

    async fn get_role(
        &self,
        cx: &Cx,
        request: iam::GetRoleRequest,
    ) -> Result<iam::GetRoleResponse, Fault> {
        roles::get(cx, request).map_err(told)
    }

    async fn list_roles(
        &self,
        cx: &Cx,
        request: iam::ListRolesRequest,
    ) -> Result<iam::ListRolesResponse, Fault> {
        roles::list(cx, &request).map_err(told)
    }

    async fn delete_role(
        &self,
        cx: &Cx,
        request: iam::DeleteRoleRequest,
    ) -> Result<iam::DeleteRoleResponse, Fault> {
        roles::delete(cx, request).await.map_err(told)
    }

    async fn put_role_policy(
        &self,
        cx: &Cx,
        request: iam::PutRolePolicyRequest,
    ) -> Result<iam::PutRolePolicyResponse, Fault> {
        policies::put(cx, request).await.map_err(told)
    }

    async fn get_role_policy(
        &self,
        cx: &Cx,
        request: iam::GetRolePolicyRequest,
    ) -> Result<iam::GetRolePolicyResponse, Fault> {
        policies::get(cx, request).map_err(told)
    }

    async fn list_role_policies(
        &self,
        cx: &Cx,
        request: iam::ListRolePoliciesRequest,
    ) -> Result<iam::ListRolePoliciesResponse, Fault> {
        policies::list(cx, request).map_err(told)
    }

    async fn delete_role_policy(
        &self,
        cx: &Cx,
        request: iam::DeleteRolePolicyRequest,
    ) -> Result<iam::DeleteRolePolicyResponse, Fault> {
        policies::delete(cx, request).await.map_err(told)
    }

    async fn attach_role_policy(
        &self,
        cx: &Cx,
        request: iam::AttachRolePolicyRequest,
    ) -> Result<iam::AttachRolePolicyResponse, Fault> {
        policies::attach(cx, request).await.map_err(told)
    }

    async fn detach_role_policy(
        &self,
        cx: &Cx,
        request: iam::DetachRolePolicyRequest,
    ) -> Result<iam::DetachRolePolicyResponse, Fault> {
        policies::detach(cx, request).await.map_err(told)
    }

    async fn list_attached_role_policies(
        &self,
        cx: &Cx,
        request: iam::ListAttachedRolePoliciesRequest,
    ) -> Result<iam::ListAttachedRolePoliciesResponse, Fault> {
        policies::list_attached(cx, request).map_err(told)
    }
}
