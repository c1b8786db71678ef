//! `PutAccountSetting`, `PutAccountSettingDefault`, `DeleteAccountSetting`,
//! `ListAccountSettings`.
//!
//! The root's own settings are the account's defaults: to put the one is to put
//! the other.

use crate::Error;
use crate::account_settings::{SettingName, effective, holding, principal_of, root};
use crate::records::AccountSetting;
use chassis::Cx;
use chassis::paging::{Limits, Paging};
use ident::Scope;
use wire::ecs;

/// How many settings are shown at a time.
const LIMITS: Limits = Limits { default: 10, min: 1, max: 10 };

/// Chooses for the caller, or for whom the root names.
pub(crate) async fn put_account_setting(
    cx: &Cx,
    request: ecs::PutAccountSettingRequest,
) -> Result<ecs::PutAccountSettingResponse, Error> {
    let principal = principal(cx, request.principal_arn.as_deref())?;
    let setting = put(cx, principal, request.name, request.value).await?;
    Ok(ecs::PutAccountSettingResponse { setting: Some(setting) })
}

/// Chooses for everybody in the account who chose nothing.
pub(crate) async fn put_account_setting_default(
    cx: &Cx,
    request: ecs::PutAccountSettingDefaultRequest,
) -> Result<ecs::PutAccountSettingDefaultResponse, Error> {
    let setting = put(cx, root(cx.scope()), request.name, request.value).await?;
    Ok(ecs::PutAccountSettingDefaultResponse { setting: Some(setting) })
}

async fn put(
    cx: &Cx,
    principal: String,
    name: Option<String>,
    value: Option<String>,
) -> Result<ecs::Setting, Error> {
    let name = writable(cx, name.as_deref())?;
    let value = value.unwrap_or_default();
    if !name.values().contains(&value.as_str()) {
        return Err(Error::invalid(format!(
            "Invalid value '{value}' for the setting {}. Valid values: {}.",
            name.as_str(),
            name.values().join(", ")
        )));
    }
    if name.is_long_arn_format() && value == "disabled" {
        return Err(Error::invalid("You can no longer disable Long Arn settings"));
    }
    let setting = AccountSetting {
        scope: cx.scope().clone(),
        principal: principal.clone(),
        name: name.as_str().to_owned(),
        value: value.clone(),
    };
    let kept = cx.store().transact(|txn| {
        txn.put(setting.clone());
        Ok::<_, Error>(())
    });
    kept.await?;
    Ok(show(name, principal, value))
}

/// Takes a choice back, and says what holds from now on.
pub(crate) async fn delete_account_setting(
    cx: &Cx,
    request: ecs::DeleteAccountSettingRequest,
) -> Result<ecs::DeleteAccountSettingResponse, Error> {
    let scope = cx.scope();
    let principal = principal(cx, request.principal_arn.as_deref())?;
    let name = writable(cx, request.name.as_deref())?;
    let value = cx.store().transact(|txn| {
        txn.delete::<AccountSetting>(scope, &AccountSetting::id_of(&principal, name.as_str()));
        Ok::<_, Error>(effective(txn.view(), scope, &principal, name))
    });
    let value = value.await?;
    Ok(ecs::DeleteAccountSettingResponse { setting: Some(show(name, principal, value)) })
}

/// Shows what a principal chose, or what holds for it.
pub(crate) fn list_account_settings(
    cx: &Cx,
    request: &ecs::ListAccountSettingsRequest,
) -> Result<ecs::ListAccountSettingsResponse, Error> {
    let scope = cx.scope();
    let view = cx.view();
    let principal = principal(cx, request.principal_arn.as_deref())?;
    let name = request.name.as_deref().map(known).transpose()?;
    if request.value.is_some() && name.is_none() {
        return Err(Error::invalid("A setting name must be specified to filter by value."));
    }
    let token = request.next_token.as_deref();
    let paging = Paging::parse("ListAccountSettings", scope, LIMITS, request.max_results, token)?;

    let everything = request.effective_settings == Some(true);
    let shown = SettingName::ALL
        .into_iter()
        .filter(|one| name.is_none_or(|name| name == *one))
        .filter_map(|one| match holding(&view, scope, &principal, one) {
            Some((who, value)) => (everything || who == principal).then_some((one, who, value)),
            None => everything.then(|| (one, root(scope), one.shipped().to_owned())),
        })
        .filter(|(_, _, value)| request.value.as_ref().is_none_or(|wanted| wanted == value));
    let page = paging.page(shown, |(name, ..)| name.as_str().to_owned());
    let page = page.map(|(name, who, value)| show(name, who, value));
    Ok(ecs::ListAccountSettingsResponse { settings: Some(page.items), next_token: page.next_token })
}

fn show(name: SettingName, principal: String, value: String) -> ecs::Setting {
    let managed = name == SettingName::GuardDutyActivate;
    ecs::Setting {
        name: Some(name.as_str().to_owned()),
        value: Some(value),
        principal_arn: Some(principal),
        r#type: Some(if managed { "aws_managed" } else { "user" }.to_owned()),
    }
}

fn known(name: &str) -> Result<SettingName, Error> {
    SettingName::parse(name)
        .ok_or_else(|| Error::invalid(format!("Invalid setting name '{name}'.")))
}

/// A setting that the caller may change.
fn writable(cx: &Cx, name: Option<&str>) -> Result<SettingName, Error> {
    let name = known(name.unwrap_or_default())?;
    if name == SettingName::GuardDutyActivate {
        return Err(Error::invalid(
            "The setting guardDutyActivate is read-only. Amazon GuardDuty controls it.",
        ));
    }
    let own = principal_of(cx.scope(), &cx.caller.arn());
    if name == SettingName::FargateTaskRetirementWaitPeriod && own != root(cx.scope()) {
        return Err(Error::Denied(
            "The setting fargateTaskRetirementWaitPeriod can only be changed by the root user."
                .to_owned(),
        ));
    }
    Ok(name)
}

/// Whose settings a request is about: the caller's, or those that the root names.
fn principal(cx: &Cx, wanted: Option<&str>) -> Result<String, Error> {
    let scope = cx.scope();
    let own = principal_of(scope, &cx.caller.arn());
    let Some(wanted) = wanted else { return Ok(own) };
    if !is_principal(scope, wanted) {
        return Err(Error::invalid(format!("Invalid principal ARN: {wanted}")));
    }
    if wanted != own && own != root(scope) {
        return Err(Error::Denied(
            "Only the root user can use the account settings of another principal.".to_owned(),
        ));
    }
    Ok(wanted.to_owned())
}

/// Whether it is the root, a user or a role of this account.
fn is_principal(scope: &Scope, text: &str) -> bool {
    let prefix = root(scope);
    let Some(rest) = text.strip_prefix(prefix.trim_end_matches("root")) else { return false };
    let named = |kind: &str| {
        rest.strip_prefix(kind).is_some_and(|name| {
            let sound = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-/".contains(&b);
            !name.is_empty() && !name.ends_with('/') && name.bytes().all(sound)
        })
    };
    rest == "root" || named("user/") || named("role/")
}
