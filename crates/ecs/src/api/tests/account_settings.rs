//! Account settings.

use crate::account_settings::{SettingName, effective, root};
use crate::api::*;
use crate::testing::{World, ready, scope};
use wire::ecs;

fn put(world: &World, name: &str, value: &str, who: Option<&str>) -> Result<ecs::Setting, String> {
    let request = ecs::PutAccountSettingRequest {
        name: Some(name.to_owned()),
        value: Some(value.to_owned()),
        principal_arn: who.map(str::to_owned),
    };
    ready(put_account_setting(&world.root(), request))
        .map(|answer| answer.setting.expect("shown"))
        .map_err(|error| error.fault().message)
}

fn put_default(world: &World, name: &str, value: &str) -> ecs::Setting {
    let request = ecs::PutAccountSettingDefaultRequest {
        name: Some(name.to_owned()),
        value: Some(value.to_owned()),
    };
    let answer = ready(put_account_setting_default(&world.root(), request));
    answer.expect("put").setting.expect("shown")
}

fn list(world: &World, change: impl FnOnce(&mut ecs::ListAccountSettingsRequest)) -> Vec<String> {
    let mut request = ecs::ListAccountSettingsRequest::default();
    change(&mut request);
    let mut seen = vec![];
    loop {
        let page = list_account_settings(&world.root(), &request).expect("listed");
        for one in page.settings.expect("a list") {
            let who = one.principal_arn.expect("a principal");
            let who = who.rsplit(':').next().expect("a name").to_owned();
            seen.push(format!(
                "{} {} {who}",
                one.name.expect("a name"),
                one.value.expect("a value")
            ));
        }
        request.next_token = page.next_token;
        if request.next_token.is_none() {
            return seen;
        }
    }
}

fn user() -> String {
    format!("arn:aws:iam::{}:user/ann", scope().account)
}

#[test]
fn a_principal_has_its_own_choice_before_the_accounts() {
    let world = World::new();
    let trunking = |who: &str| effective(&world.view(), &scope(), who, SettingName::AwsvpcTrunking);
    assert_eq!(trunking(&user()), "disabled");

    let shown = put_default(&world, "awsvpcTrunking", "enabled");
    assert_eq!(shown.principal_arn, Some(root(&scope())));
    assert_eq!(
        (trunking(&user()), trunking(&root(&scope()))),
        ("enabled".into(), "enabled".into())
    );

    put(&world, "awsvpcTrunking", "disabled", Some(&user())).expect("put");
    assert_eq!(
        (trunking(&user()), trunking(&root(&scope()))),
        ("disabled".into(), "enabled".into())
    );

    let request = ecs::DeleteAccountSettingRequest {
        name: Some("awsvpcTrunking".to_owned()),
        principal_arn: Some(user()),
    };
    let left = ready(delete_account_setting(&world.root(), request)).expect("deleted");
    assert_eq!(left.setting.expect("shown").value.as_deref(), Some("enabled"));
    assert_eq!(trunking(&user()), "enabled", "the account's is left");
}

#[test]
fn what_root_puts_for_itself_is_the_accounts_default() {
    let world = World::new();
    put(&world, "containerInsights", "enhanced", None).expect("put");
    let insights = effective(&world.view(), &scope(), &user(), SettingName::ContainerInsights);
    assert_eq!(insights, "enhanced");
}

#[test]
fn lists_show_what_was_chosen_or_what_holds() {
    let world = World::new();
    assert_eq!(list(&world, |_| {}), Vec::<String>::new());
    put(&world, "containerInsights", "enabled", None).expect("put");
    put(&world, "awsvpcTrunking", "enabled", Some(&user())).expect("put");
    assert_eq!(list(&world, |_| {}), ["containerInsights enabled root"]);
    assert_eq!(
        list(&world, |r| r.principal_arn = Some(user())),
        ["awsvpcTrunking enabled user/ann"]
    );

    let all = list(&world, |r| {
        r.effective_settings = Some(true);
        r.principal_arn = Some(user());
    });
    assert_eq!(all.len(), SettingName::ALL.len(), "on two pages");
    assert!(all.contains(&"awsvpcTrunking enabled user/ann".to_owned()));
    assert!(all.contains(&"containerInsights enabled root".to_owned()));
    assert!(all.contains(&"fargateTaskRetirementWaitPeriod 7 root".to_owned()));
    let filtered = list(&world, |r| {
        r.effective_settings = Some(true);
        r.name = Some("containerInsights".to_owned());
        r.value = Some("disabled".to_owned());
    });
    assert_eq!(filtered, Vec::<String>::new());
}

#[test]
fn what_cannot_be_chosen_is_refused() {
    let world = World::new();
    let revision = world.view().revision();
    let other = "arn:aws:iam::999999999999:user/ann";
    for (name, value, who, text) in [
        ("awsvpcTrunking", "on", None, "Invalid value 'on'"),
        ("fargateTaskRetirementWaitPeriod", "8", None, "Invalid value '8'"),
        ("taskLongArnFormat", "disabled", None, "You can no longer disable Long Arn settings"),
        ("guardDutyActivate", "on", None, "The setting guardDutyActivate is read-only."),
        ("noSuchThing", "on", None, "Invalid setting name 'noSuchThing'."),
        ("awsvpcTrunking", "enabled", Some(other), "Invalid principal ARN"),
        ("awsvpcTrunking", "enabled", Some("ann"), "Invalid principal ARN"),
    ] {
        let refused = put(&world, name, value, who).expect_err(text);
        assert!(refused.starts_with(text), "{refused} is not {text}");
    }
    assert_eq!(world.view().revision(), revision);

    let nameless =
        ecs::ListAccountSettingsRequest { value: Some("on".to_owned()), ..Default::default() };
    assert!(list_account_settings(&world.root(), &nameless).is_err());
    let large = ecs::ListAccountSettingsRequest { max_results: Some(11), ..Default::default() };
    let fault = list_account_settings(&world.root(), &large).expect_err("too many").fault();
    assert_eq!(fault.message, "maxResults must be between 1 and 10.");
}

#[test]
fn only_the_root_speaks_for_others() {
    let world = World::new();
    let cx = world.cx(chassis::Principal::Instance(ident::InstanceId::mint(1)));
    for (name, who) in [("awsvpcTrunking", Some(user())), ("fargateTaskRetirementWaitPeriod", None)]
    {
        let request = ecs::PutAccountSettingRequest {
            name: Some(name.to_owned()),
            value: Some(if who.is_some() { "enabled" } else { "0" }.to_owned()),
            principal_arn: who,
        };
        let fault = ready(put_account_setting(&cx, request)).expect_err("not allowed").fault();
        assert_eq!(fault.code, "AccessDeniedException");
    }
}
