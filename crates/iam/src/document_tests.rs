use super::Verdict::{Allowed, Denied, Silent};
use super::*;

const PLACE: [&str; 4] = ["aws", "ecs", "us-east-1", "123456789012"];

fn judge(statements: &str, action: &str) -> Verdict {
    let text = format!(r#"{{"Version":"2012-10-17","Statement":{statements}}}"#);
    let document = Document::parse(Kind::Rights, &text).expect(&text);
    document.judge(&Ask { action, place: PLACE })
}

#[test]
fn rights_are_what_is_said_and_nothing_else() {
    let allow = |action: &str, resource: &str| {
        format!(r#"[{{"Effect":"Allow","Action":"{action}","Resource":"{resource}"}}]"#)
    };
    for (action, resource, verdict) in [
        ("*", "*", Allowed),
        ("ecs:*", "*", Allowed),
        ("ecs:RunTask", "*", Allowed),
        ("ECS:runtask", "*", Allowed),
        ("ecs:Run?ask", "*", Allowed),
        ("ecs:*Task", "*", Allowed),
        ("ecs:R*n*k", "*", Allowed),
        ("ecs:Run", "*", Silent),
        ("ecs:RunTask?", "*", Silent),
        ("ec2:*", "*", Silent),
        ("ecs:*", "arn:aws:ecs:*:*:*", Allowed),
        ("ecs:*", "arn:aws:ecs:us-east-?:123456789012:*", Allowed),
        ("ecs:*", "arn:aws:ecs:us-west-2:*:*", Silent),
        ("ecs:*", "arn:aws:ecs:*:*:cluster/*", Silent),
        ("ecs:*", "arn:aws:ec2:*:*:*", Silent),
    ] {
        assert_eq!(judge(&allow(action, resource), "ecs:RunTask"), verdict, "{action} {resource}");
        let deny = allow(action, resource).replace("Allow", "Deny");
        let with_all = format!(
            r#"[{{"Effect":"Allow","Action":"*","Resource":"*"}},{}"#,
            deny.trim_start_matches('[')
        );
        let partly = resource == "arn:aws:ecs:*:*:cluster/*";
        let wanted = if verdict == Allowed || partly { Denied } else { Allowed };
        assert_eq!(judge(&with_all, "ecs:RunTask"), wanted, "deny {action} {resource}");
    }
}

#[test]
fn what_is_negated_is_all_the_rest() {
    let not_iam = r#"{"Effect":"Allow","NotAction":["iam:*","sts:*"],"Resource":"*"}"#;
    assert_eq!(judge(not_iam, "ecs:RunTask"), Allowed);
    assert_eq!(judge(not_iam, "iam:GetRole"), Silent);
    let elsewhere = r#"{"Effect":"Allow","Action":"*","NotResource":"arn:aws:ec2:*:*:*"}"#;
    assert_eq!(judge(elsewhere, "ecs:RunTask"), Allowed);
    let not_here = r#"{"Effect":"Allow","Action":"*","NotResource":"arn:aws:ecs:*:*:task/x"}"#;
    assert_eq!(judge(not_here, "ecs:RunTask"), Silent);
    let deny = r#"{"Effect":"Deny","Action":"*","NotResource":"arn:aws:ecs:*:*:task/x"}"#;
    assert_eq!(judge(deny, "ecs:RunTask"), Denied);
}

#[test]
fn conditions_that_nobody_evaluates_never_allow_and_always_deny() {
    let condition = r#""Condition":{"Bool":{"aws:SecureTransport":"true"}}"#;
    let of = |effect: &str| {
        format!(r#"{{"Effect":"{effect}","Action":"*","Resource":"*",{condition}}}"#)
    };
    assert_eq!(judge(&of("Allow"), "ecs:RunTask"), Silent);
    assert_eq!(judge(&of("Deny"), "ecs:RunTask"), Denied);
}

#[test]
fn trust_is_for_whom_it_names() {
    let me = |name: &str| matches!(name, "123456789012" | "arn:aws:iam::123456789012:root");
    let trusts = |principal: &str, more: &str, external: Option<&str>| {
        let text = format!(
            r#"{{"Statement":[{{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{principal}{more}}}]}}"#
        );
        let document = Document::parse(Kind::Trust, &text).expect(&text);
        document.trusts("sts:AssumeRole", external, &me)
    };
    for (principal, verdict) in [
        (r#""*""#, Allowed),
        (r#"{"AWS":"*"}"#, Allowed),
        (r#"{"AWS":"123456789012"}"#, Allowed),
        (r#"{"AWS":["1","arn:aws:iam::123456789012:root"]}"#, Allowed),
        (r#"{"AWS":"210987654321"}"#, Silent),
        (r#"{"Service":"ecs-tasks.amazonaws.com"}"#, Silent),
        (r#"{"Service":"123456789012"}"#, Silent),
    ] {
        assert_eq!(trusts(principal, "", None), verdict, "{principal}");
    }
    let external = r#","Condition":{"StringEquals":{"sts:ExternalId":["a","b"]}}"#;
    assert_eq!(trusts(r#""*""#, external, Some("b")), Allowed);
    assert_eq!(trusts(r#""*""#, external, Some("c")), Silent);
    assert_eq!(trusts(r#""*""#, external, None), Silent);
    let mfa = r#","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}"#;
    assert_eq!(trusts(r#""*""#, mfa, None), Silent);
}

#[test]
fn documents_that_are_none() {
    let rights = |statement: &str| format!(r#"{{"Statement":[{statement}]}}"#);
    for (kind, text, why) in [
        (Kind::Rights, "{".to_owned(), "invalid Json"),
        (Kind::Rights, "[]".to_owned(), "Syntax"),
        (Kind::Rights, "{}".to_owned(), "Syntax"),
        (Kind::Rights, r#"{"Statement":[]}"#.to_owned(), "Syntax"),
        (Kind::Rights, r#"{"Version":"2012","Statement":[]}"#.to_owned(), "version"),
        (Kind::Rights, rights(r#"{"Effect":"allow","Action":"*","Resource":"*"}"#), "Syntax"),
        (Kind::Rights, rights(r#"{"Effect":"Allow","Resource":"*"}"#), "actions"),
        (Kind::Rights, rights(r#"{"Effect":"Allow","Action":"*"}"#), "resources"),
        (Kind::Rights, rights(r#"{"Effect":"Allow","Action":"Run","Resource":"*"}"#), "vendor"),
        (Kind::Rights, rights(r#"{"Effect":"Allow","Action":[1],"Resource":"*"}"#), "Syntax"),
        (Kind::Rights, rights(r#"{"Effect":"Allow","Action":"*","Resource":"x"}"#), "ARN"),
        (Kind::Rights, rights(r#"{"Effect":"Allow","Action":"*","Resource":"*","X":1}"#), "Syntax"),
        (
            Kind::Rights,
            rights(r#"{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}"#),
            "principal",
        ),
        (
            Kind::Rights,
            rights(r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"a":1}}"#),
            "Syntax",
        ),
        (Kind::Trust, rights(r#"{"Effect":"Allow","Action":"*"}"#), "Principal"),
        (Kind::Trust, rights(r#"{"Effect":"Allow","Action":"*","Principal":"x"}"#), "Principal"),
        (
            Kind::Trust,
            rights(r#"{"Effect":"Allow","Action":"*","Principal":"*","Resource":"*"}"#),
            "Resource",
        ),
    ] {
        let refused = Document::parse(kind, &text).expect_err(&text);
        assert!(refused.0.contains(why), "{text}: {refused}");
    }
}
