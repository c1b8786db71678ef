//! Roles: made, shown, deleted.

use super::{page, percent_encoded, tagged};
use crate::bootstrap::{ID_LETTERS, spell};
use crate::document::{Document, Kind};
use crate::error::Error;
use crate::linked;
use crate::roles::{Role, everywhere, key, named};
use chassis::Cx;
use std::sync::Arc;
use store::Txn;
use wire::iam;

/// How many roles an account can have.
const MAX_ROLES: usize = 1000;
/// How long a trust policy can be.
const MAX_TRUST: usize = 2048;

/// Makes a role.
pub(super) async fn create(
    cx: &Cx,
    request: iam::CreateRoleRequest,
) -> Result<iam::CreateRoleResponse, Error> {
    let path = request.path.unwrap_or_else(|| "/".to_owned());
    let name = request.role_name.unwrap_or_default();
    super::check_name("roleName", &name)?;
    check_path(&path)?;
    if path.starts_with(linked::PATH) {
        return Err(Error::Invalid(format!(
            "The path {} is for roles that services are linked to: use CreateServiceLinkedRole.",
            linked::PATH
        )));
    }
    if request.permissions_boundary.is_some() {
        return Err(Error::Unsupported("PermissionsBoundary"));
    }
    let trust = request.assume_role_policy_document.unwrap_or_default();
    Document::parse(Kind::Trust, &trust)?;
    if trust.chars().filter(|c| !c.is_whitespace()).count() > MAX_TRUST {
        return Err(Error::Limit(format!("Cannot exceed quota for ACLSizePerRole: {MAX_TRUST}")));
    }
    let tags = request.tags.unwrap_or_default().into_iter();
    let tags = tagged(tags.map(|tag| (tag.key, tag.value)))?;
    let role = Role {
        description: request.description,
        max_session_seconds: request.max_session_duration.unwrap_or(3600),
        tags,
        ..draft(cx, &path, &name, trust)
    };
    let made = keep(cx, role, || Error::Taken(name.clone())).await?;
    Ok(iam::CreateRoleResponse { role: Some(show(&made, true)) })
}

/// Makes the role that a service acts in.
pub(super) async fn create_linked(
    cx: &Cx,
    request: iam::CreateServiceLinkedRoleRequest,
) -> Result<iam::CreateServiceLinkedRoleResponse, Error> {
    let service = request.aws_service_name.unwrap_or_default();
    let known = linked::known(&service).ok_or_else(|| {
        Error::InvalidInput(format!("Landfall knows no service-linked role of {service}."))
    })?;
    let mut name = known.role.to_owned();
    if let Some(suffix) = request.custom_suffix {
        if !known.takes_suffix {
            let text = format!("Custom suffix is not allowed for {service}");
            return Err(Error::InvalidInput(text));
        }
        name = format!("{name}_{suffix}");
        super::check_name("customSuffix", &suffix)?;
    }
    let path = format!("{}{service}/", linked::PATH);
    let mut role = draft(cx, &path, &name, linked::trust(&service));
    role.description = Some(request.description.unwrap_or_else(|| known.description.to_owned()));
    let partition = cx.scope().region.partition();
    role.attached.insert(format!(
        "arn:{partition}:iam::aws:policy{}{}",
        linked::PATH,
        known.policy
    ));
    role.linked_to = Some(service);
    let made = keep(cx, role, || Error::LinkedTaken(name.clone())).await?;
    Ok(iam::CreateServiceLinkedRoleResponse { role: Some(show(&made, true)) })
}

fn draft(cx: &Cx, path: &str, name: &str, trust: String) -> Role {
    let (account, partition) = (&cx.scope().account, cx.scope().region.partition());
    let id = format!("AROA{}", spell(cx.bits(), ID_LETTERS, 17));
    Role::new(account, partition, (path, name), id, trust, cx.now())
}

async fn keep(cx: &Cx, role: Role, taken: impl Fn() -> Error) -> Result<Role, Error> {
    let scope = everywhere(&cx.scope().account);
    cx.store()
        .transact(|txn| {
            if txn.get::<Role>(&scope, &key(&role.name)).is_some() {
                return Err(taken());
            }
            if txn.view().count::<Role>(&scope) >= MAX_ROLES {
                let text = format!("Cannot exceed quota for RolesPerAccount: {MAX_ROLES}");
                return Err(Error::Limit(text));
            }
            txn.put(role.clone());
            Ok(role.clone())
        })
        .await
}

/// Shows a role.
pub(super) fn get(cx: &Cx, request: iam::GetRoleRequest) -> Result<iam::GetRoleResponse, Error> {
    let name = request.role_name.unwrap_or_default();
    let found = named(&cx.view(), &cx.scope().account, &name).ok_or(Error::NoRole(name))?;
    let mut role = show(&found, true);
    role.role_last_used = Some(iam::RoleLastUsed::default());
    Ok(iam::GetRoleResponse { role: Some(role) })
}

/// Lists roles, without their tags, as IAM does.
pub(super) fn list(
    cx: &Cx,
    request: &iam::ListRolesRequest,
) -> Result<iam::ListRolesResponse, Error> {
    let prefix = request.path_prefix.as_deref().unwrap_or("/");
    let view = cx.view();
    let roles = view
        .list::<Role>(&everywhere(&cx.scope().account))
        .filter(|role| role.path.starts_with(prefix));
    let by_name = |role: &Arc<Role>| key(&role.name);
    let page = page(cx, "ListRoles", request.max_items, request.marker.as_deref(), roles, by_name)?;
    Ok(iam::ListRolesResponse {
        roles: Some(page.items.iter().map(|role| show(role, false)).collect()),
        is_truncated: Some(page.next_token.is_some()),
        marker: page.next_token,
    })
}

/// Deletes a role that has no policies any more.
pub(super) async fn delete(
    cx: &Cx,
    request: iam::DeleteRoleRequest,
) -> Result<iam::DeleteRoleResponse, Error> {
    let name = request.role_name.unwrap_or_default();
    cx.store()
        .transact(|txn| {
            let role = changeable(txn, cx, &name)?;
            if !role.attached.is_empty() {
                return Err(Error::InUse("detach all policies"));
            }
            if !role.policies.is_empty() {
                return Err(Error::InUse("delete policies"));
            }
            txn.delete::<Role>(&everywhere(&cx.scope().account), &key(&name));
            Ok(iam::DeleteRoleResponse {})
        })
        .await
}

/// The role, if people may change it.
pub(super) fn changeable(txn: &mut Txn, cx: &Cx, name: &str) -> Result<Role, Error> {
    let found = txn.get::<Role>(&everywhere(&cx.scope().account), &key(name));
    let found = found.filter(|role| role.name == name);
    let role = found.ok_or_else(|| Error::NoRole(name.to_owned()))?;
    if role.linked_to.is_some() {
        return Err(Error::Protected(name.to_owned()));
    }
    Ok(Role::clone(&role))
}

fn check_path(path: &str) -> Result<(), Error> {
    let sound = path.starts_with('/')
        && path.ends_with('/')
        && path.bytes().all(|b| (0x21..=0x7e).contains(&b));
    if sound {
        return Ok(());
    }
    Err(Error::Invalid(
        "The specified value for path is invalid. It must begin and end with / and contain only \
         alphanumeric characters and/or / characters."
            .to_owned(),
    ))
}

fn show(role: &Role, with_tags: bool) -> iam::Role {
    let tags = role
        .tags
        .iter()
        .map(|(key, value)| iam::Tag { key: Some(key.clone()), value: Some(value.clone()) });
    iam::Role {
        path: Some(role.path.clone()),
        role_name: Some(role.name.clone()),
        role_id: Some(role.id.clone()),
        arn: Some(role.arn.clone()),
        create_date: Some(wire::Timestamp::from_millis(role.created.0)),
        assume_role_policy_document: Some(percent_encoded(&role.trust)),
        description: role.description.clone(),
        max_session_duration: Some(role.max_session_seconds),
        tags: (with_tags && !role.tags.is_empty()).then(|| tags.collect()),
        ..Default::default()
    }
}
