use crate::{caller, instance, now, platform};
use chassis::{Authenticator as _, Caller, Cx, Principal};
use iam::Iam;
use wire::sts::{Api as _, GetCallerIdentityRequest};

fn identity(caller: Caller) -> (String, String, String) {
    let platform = platform();
    let iam = Iam::new(platform.store.clone());
    let arn = iam.arn(&caller);
    let cx = Cx { platform, caller, request_id: "r".to_owned() };
    let shown = now(iam.get_caller_identity(&cx, GetCallerIdentityRequest {})).expect("answered");
    let all = (shown.account, shown.arn, shown.user_id);
    let (Some(account), Some(shown), Some(user)) = all else { panic!("{all:?}") };
    assert_eq!(shown, arn, "one name for one caller");
    (account, shown, user)
}

#[test]
fn callers_learn_who_they_are() {
    let (account, arn, user) = identity(caller(Principal::Root));
    assert_eq!(account, "123456789012");
    assert_eq!(arn, "arn:aws:iam::123456789012:root");
    assert_eq!(user, "123456789012");

    let (account, arn, user) = identity(caller(Principal::Instance(instance())));
    assert_eq!(account, "123456789012");
    assert_eq!(arn, "arn:aws:sts::123456789012:assumed-role/ecsInstanceRole/i-0000000000000002a");
    let (role, session) = user.split_once(':').expect("role and session");
    assert!(role.starts_with("AROA") && role.len() == 21, "{role}");
    assert_eq!(session, "i-0000000000000002a");
}

#[test]
fn the_partition_is_the_regions() {
    let mut caller = caller(Principal::Root);
    caller.scope.region = "cn-north-1".parse().expect("a region");
    assert_eq!(identity(caller).1, "arn:aws-cn:iam::123456789012:root");
}
