//! Roles, their policies, and what sessions of them may do.

use crate::{instance, now, platform, scope};
use chassis::{Authenticator as _, Caller, Cx, Platform, Principal};
use iam::{Iam, bootstrap};
use ident::Scope;
use std::time::Duration;
use wire::iam::Api as _;
use wire::sts::Api as _;
use wire::{Fault, iam as shape, sts};

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":["sts:AssumeRole","sts:TagSession"]}]}"#;

struct World {
    platform: Platform,
    iam: Iam,
}

impl World {
    fn new() -> Self {
        let platform = platform();
        now(bootstrap(&platform, &scope().account)).expect("made");
        Self { iam: Iam::new(platform.store.clone()), platform }
    }

    fn cx(&self, principal: Principal) -> Cx {
        let caller = Caller { scope: scope(), principal, access_key: "AKIAX".to_owned() };
        Cx { platform: self.platform.clone(), caller, request_id: "r".to_owned() }
    }

    fn root(&self) -> Cx {
        self.cx(Principal::Root)
    }

    fn role(
        &self,
        name: &str,
        change: impl FnOnce(&mut shape::CreateRoleRequest),
    ) -> Result<shape::Role, Fault> {
        let mut request = shape::CreateRoleRequest {
            role_name: Some(name.to_owned()),
            assume_role_policy_document: Some(TRUST.to_owned()),
            ..Default::default()
        };
        change(&mut request);
        Ok(now(self.iam.create_role(&self.root(), request))?.role.expect("shown"))
    }

    fn attach(&self, role: &str, arn: &str) -> Result<(), Fault> {
        let request = shape::AttachRolePolicyRequest {
            role_name: Some(role.to_owned()),
            policy_arn: Some(arn.to_owned()),
        };
        now(self.iam.attach_role_policy(&self.root(), request)).map(drop)
    }

    fn put(&self, role: &str, name: &str, text: &str) -> Result<(), Fault> {
        let request = shape::PutRolePolicyRequest {
            role_name: Some(role.to_owned()),
            policy_name: Some(name.to_owned()),
            policy_document: Some(text.to_owned()),
        };
        now(self.iam.put_role_policy(&self.root(), request)).map(drop)
    }

    fn delete(&self, role: &str) -> Result<(), Fault> {
        let request = shape::DeleteRoleRequest { role_name: Some(role.to_owned()) };
        now(self.iam.delete_role(&self.root(), request)).map(drop)
    }

    fn assume(
        &self,
        cx: &Cx,
        arn: &str,
        change: impl FnOnce(&mut sts::AssumeRoleRequest),
    ) -> Result<sts::AssumeRoleResponse, Fault> {
        let mut request = sts::AssumeRoleRequest {
            role_arn: Some(arn.to_owned()),
            role_session_name: Some("me".to_owned()),
            ..Default::default()
        };
        change(&mut request);
        now(self.iam.assume_role(cx, request))
    }

    /// The caller that these credentials make.
    fn caller(&self, answer: &sts::AssumeRoleResponse) -> Caller {
        let id = answer.credentials.as_ref().and_then(|c| c.access_key_id.clone()).expect("a key");
        let key = self.iam.key(&id).expect("known");
        let scope = Scope { account: key.account, region: scope().region };
        Caller { scope, principal: key.principal, access_key: id }
    }
}

fn code<T: std::fmt::Debug>(refused: Result<T, Fault>) -> String {
    refused.expect_err("refused").code.into_owned()
}

#[test]
fn a_role_is_shown_as_it_was_made() {
    let world = World::new();
    let made = world
        .role("Web", |request| {
            request.path = Some("/apps/".to_owned());
            request.description = Some("for the web".to_owned());
            request.max_session_duration = Some(7200);
            request.tags =
                Some(vec![shape::Tag { key: Some("a".into()), value: Some("b".into()) }]);
        })
        .expect("made");
    assert_eq!(made.arn.as_deref(), Some("arn:aws:iam::123456789012:role/apps/Web"));
    let document = made.assume_role_policy_document.clone().expect("a document");
    assert!(document.starts_with("%7B%22Version%22%3A%222012-10-17%22"), "{document}");
    let request = shape::GetRoleRequest { role_name: Some("Web".to_owned()) };
    let mut shown =
        now(world.iam.get_role(&world.root(), request)).expect("shown").role.expect("a role");
    shown.role_last_used = None;
    assert_eq!(shown, made);
    assert_eq!(code(world.role("WEB", |_| {})), "EntityAlreadyExists");
    for (name, path) in
        [("a b", "/"), ("ok", "apps"), ("ok", "/apps"), ("ok", "/aws-service-role/x/")]
    {
        assert_eq!(code(world.role(name, |r| r.path = Some(path.to_owned()))), "ValidationError");
    }
    let unsound = world.role("ok", |r| r.assume_role_policy_document = Some("{}".to_owned()));
    assert_eq!(code(unsound), "MalformedPolicyDocument");
    let view = world.platform.store.view();
    let account = scope().account;
    assert!(iam::roles::exists(&view, &account, "arn:aws:iam::123456789012:role/apps/Web"));
    for other in
        ["arn:aws:iam::123456789012:role/Web", "arn:aws:iam::210987654321:role/apps/Web", "Web"]
    {
        assert!(!iam::roles::exists(&view, &account, other), "{other}");
    }
}

#[test]
fn every_role_is_on_one_page() {
    let world = World::new();
    for number in 0..7 {
        let path = ["/a/", "/b/"][number % 2].to_owned();
        world.role(&format!("r{number}"), |r| r.path = Some(path)).expect("made");
    }
    let (mut names, mut marker) = (vec![], None);
    loop {
        let request = shape::ListRolesRequest {
            marker: marker.take(),
            max_items: Some(2),
            path_prefix: Some("/a".to_owned()),
        };
        let answer = now(world.iam.list_roles(&world.root(), request)).expect("listed");
        names.extend(answer.roles.expect("roles").into_iter().filter_map(|role| role.role_name));
        assert_eq!(answer.is_truncated, Some(answer.marker.is_some()));
        marker = answer.marker;
        if marker.is_none() {
            break;
        }
    }
    assert_eq!(names, ["r0", "r2", "r4", "r6"]);
}

#[test]
fn a_role_goes_when_its_policies_have_gone() {
    let world = World::new();
    world.role("web", |_| {}).expect("made");
    world.attach("web", "arn:aws:iam::aws:policy/AmazonS3FullAccess").expect("attached");
    assert_eq!(code(world.attach("web", "arn:aws:iam::123456789012:policy/Mine")), "NoSuchEntity");
    assert_eq!(code(world.attach("nobody", "arn:aws:iam::aws:policy/x")), "NoSuchEntity");
    let policy = r#"{"Statement":{"Effect":"Allow","Action":"ecs:*","Resource":"*"}}"#;
    world.put("web", "inline", policy).expect("put");
    assert_eq!(code(world.put("web", "inline", "{")), "MalformedPolicyDocument");
    assert_eq!(
        code(world.put(
            "web",
            "big",
            &policy.replace("ecs:*", &format!("ecs:{}", "x".repeat(10_240)))
        )),
        "LimitExceeded"
    );

    assert_eq!(code(world.delete("web")), "DeleteConflict");
    let detach = || shape::DetachRolePolicyRequest {
        role_name: Some("web".to_owned()),
        policy_arn: Some("arn:aws:iam::aws:policy/AmazonS3FullAccess".to_owned()),
    };
    now(world.iam.detach_role_policy(&world.root(), detach())).expect("detached");
    assert_eq!(code(now(world.iam.detach_role_policy(&world.root(), detach()))), "NoSuchEntity");
    assert_eq!(code(world.delete("web")), "DeleteConflict");
    let remove = shape::DeleteRolePolicyRequest {
        role_name: Some("web".to_owned()),
        policy_name: Some("inline".to_owned()),
    };
    now(world.iam.delete_role_policy(&world.root(), remove)).expect("deleted");
    world.delete("web").expect("deleted");
    assert_eq!(code(world.delete("web")), "NoSuchEntity");
}

#[test]
fn a_service_linked_role_is_the_services() {
    let world = World::new();
    let ask = |service: &str| {
        let request = shape::CreateServiceLinkedRoleRequest {
            aws_service_name: Some(service.to_owned()),
            ..Default::default()
        };
        now(world.iam.create_service_linked_role(&world.root(), request))
    };
    let made = ask("ecs.amazonaws.com").expect("made").role.expect("shown");
    assert_eq!(
        made.arn.as_deref(),
        Some(
            "arn:aws:iam::123456789012:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"
        )
    );
    let taken = ask("ecs.amazonaws.com").expect_err("taken");
    assert_eq!(taken.code, "InvalidInput");
    assert!(taken.message.contains("AWSServiceRoleForECS has been taken"), "{}", taken.message);
    assert_eq!(code(ask("mars.amazonaws.com")), "InvalidInput");
    assert_eq!(code(world.delete("AWSServiceRoleForECS")), "UnmodifiableEntity");
    assert_eq!(
        code(world.attach("AWSServiceRoleForECS", "arn:aws:iam::aws:policy/x")),
        "UnmodifiableEntity"
    );
    let assumed = world.assume(&world.root(), &made.arn.expect("an ARN"), |_| {});
    assert_eq!(code(assumed), "AccessDenied", "it trusts its service alone");
}

#[test]
fn a_session_may_do_what_its_role_may() {
    let world = World::new();
    let arn = world.role("web", |_| {}).expect("made").arn.expect("an ARN");
    let answer = world.assume(&world.root(), &arn, |_| {}).expect("assumed");
    let caller = world.caller(&answer);
    assert_eq!(caller.arn(), "arn:aws:sts::123456789012:assumed-role/web/me");
    let user = answer.assumed_role_user.as_ref().expect("a user");
    assert_eq!(user.arn.as_deref(), Some("arn:aws:sts::123456789012:assumed-role/web/me"));
    let allows = |service, operation| world.iam.allows(&caller, service, operation);
    assert!(allows("sts", "GetCallerIdentity"));
    assert!(!allows("ecs", "ListClusters"), "it has no policy");
    world.attach("web", "arn:aws:iam::aws:policy/AmazonS3FullAccess").expect("attached");
    assert!(!allows("ecs", "ListClusters"), "what we do not know grants nothing");
    world.attach("web", "arn:aws:iam::aws:policy/AmazonECS_FullAccess").expect("attached");
    assert!(allows("ecs", "ListClusters") && !allows("iam", "CreateRole"));
    let deny = r#"{"Statement":{"Effect":"Deny","Action":"ecs:Run*","Resource":"*"}}"#;
    world.put("web", "no", deny).expect("put");
    assert!(allows("ecs", "ListClusters") && !allows("ecs", "RunTask"));

    let narrow = r#"{"Statement":{"Effect":"Allow","Action":"ecs:List*","Resource":"*"}}"#;
    let answer = world.assume(&world.root(), &arn, |r| r.policy = Some(narrow.to_owned()));
    let narrowed = world.caller(&answer.expect("assumed"));
    assert!(world.iam.allows(&narrowed, "ecs", "ListClusters"));
    assert!(!world.iam.allows(&narrowed, "ecs", "DescribeClusters"));
}

#[test]
fn a_session_ends_with_its_role() {
    let world = World::new();
    let arn = world.role("web", |_| {}).expect("made").arn.expect("an ARN");
    let caller = world.caller(&world.assume(&world.root(), &arn, |_| {}).expect("assumed"));
    world.delete("web").expect("deleted");
    world.role("web", |_| {}).expect("made");
    world.attach("web", "arn:aws:iam::aws:policy/AdministratorAccess").expect("attached");
    assert!(!world.iam.allows(&caller, "ecs", "ListClusters"), "another role has the name");
}

#[test]
fn who_may_assume_a_role_and_for_how_long() {
    let world = World::new();
    let arn = world
        .role("web", |r| r.max_session_duration = Some(7200))
        .expect("made")
        .arn
        .expect("an ARN");
    let root = world.root();
    let long = world.assume(&root, &arn, |r| r.duration_seconds = Some(7201));
    assert_eq!(code(long), "ValidationError");
    let answer = world.assume(&root, &arn, |r| r.duration_seconds = Some(7200)).expect("assumed");
    let key = world.iam.key(&world.caller(&answer).access_key).expect("known");
    assert_eq!(key.expires, Some(world.platform.now().after(Duration::from_hours(2))));
    let token = answer.credentials.expect("credentials").session_token.expect("a token");
    assert_eq!(key.session_token.expect("a token").reveal(), token);

    assert_eq!(code(world.assume(&root, &arn.replace("web", "none"), |_| {})), "AccessDenied");
    let identity = world.assume(&root, &arn, |r| r.source_identity = Some("me".to_owned()));
    assert_eq!(code(identity), "AccessDenied", "the trust policy does not say so");
    let tag = sts::Tag { key: Some("a".to_owned()), value: Some("b".to_owned()) };
    world.assume(&root, &arn, |r| r.tags = Some(vec![tag])).expect("it says so of tags");
    assert_eq!(
        code(world.assume(&root, &arn, |r| r.role_session_name = Some("a b".into()))),
        "ValidationError"
    );
    assert_eq!(
        code(world.assume(&root, &arn, |r| r.token_code = Some("123456".into()))),
        "ValidationError"
    );

    let mut elsewhere = world.root();
    elsewhere.caller.scope.account = "210987654321".parse().expect("an account");
    assert_eq!(code(world.assume(&elsewhere, &arn, |_| {})), "AccessDenied");
    let trust = TRUST.replace("arn:aws:iam::123456789012:root", "210987654321");
    let shared = world.role("shared", |r| r.assume_role_policy_document = Some(trust));
    let shared = shared.expect("made").arn.expect("an ARN");
    let session = world.assume(&elsewhere, &shared, |_| {}).expect("trusted");
    assert_eq!(world.caller(&session).scope.account, scope().account);
    assert_eq!(code(world.assume(&root, &shared, |_| {})), "AccessDenied");

    let external =
        TRUST.replace("}]}", r#","Condition":{"StringEquals":{"sts:ExternalId":"x1"}}}]}"#);
    let guarded = world.role("guarded", |r| r.assume_role_policy_document = Some(external));
    let guarded = guarded.expect("made").arn.expect("an ARN");
    assert_eq!(code(world.assume(&root, &guarded, |_| {})), "AccessDenied");
    world.assume(&root, &guarded, |r| r.external_id = Some("x1".to_owned())).expect("assumed");

    let chained = world.cx(world.caller(&session).principal);
    let long = world.assume(&chained, &arn, |r| r.duration_seconds = Some(3601));
    assert_eq!(code(long), "ValidationError", "one hour for who is in a session already");
    assert!(world.assume(&chained, &arn, |_| {}).is_ok());
    let node = world.cx(Principal::Instance(instance()));
    assert!(!world.iam.allows(&node.caller, "sts", "AssumeRole"));
}

#[test]
fn a_machine_acts_in_a_role_that_is_made_when_it_first_does() {
    let world = World::new();
    let issue = || now(iam::machine_roles::issue(&world.platform, &scope(), &instance()));
    let role = || {
        let view = world.platform.store.view();
        iam::roles::named(&view, &scope().account, "ecsInstanceRole")
    };
    assert_eq!(role(), None, "nobody has asked for one");
    let session = issue().expect("issued");
    let made = role().expect("a role");
    assert_eq!(made.arn, "arn:aws:iam::123456789012:role/ecsInstanceRole");
    assert_eq!(session.expires.since(session.created), iam::task_roles::LASTS);
    let key = world.iam.key(&session.id).expect("a key");
    let caller = Caller { scope: scope(), principal: key.principal, access_key: session.id };
    let arn = "arn:aws:sts::123456789012:assumed-role/ecsInstanceRole/i-0000000000000002a";
    assert_eq!(world.iam.arn(&caller), arn);
    for (operation, is_allowed) in [
        ("CreateCluster", true),
        ("SubmitTaskStateChange", true),
        ("RunTask", false),
        ("ListClusters", false),
    ] {
        assert_eq!(world.iam.allows(&caller, "ecs", operation), is_allowed, "{operation}");
    }
    issue().expect("issued");
    assert_eq!(role().expect("the same role").id, made.id);
}

#[test]
fn a_machine_does_not_act_in_a_role_that_does_not_trust_it() {
    let world = World::new();
    world.role("ecsInstanceRole", |_| {}).expect("made");
    let refused = now(iam::machine_roles::issue(&world.platform, &scope(), &instance()));
    assert_eq!(refused.expect_err("no trust").fault().code, "AccessDenied");
}
