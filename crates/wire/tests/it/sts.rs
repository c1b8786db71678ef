//! STS, as SDKs speak to it.

use crate::{form, now};
use async_trait::async_trait;
use wire::sts::{Api, GetCallerIdentityRequest, GetCallerIdentityResponse, serve};
use wire::{Body, Fault, Request};

struct Shell;

#[async_trait]
impl Api<()> for Shell {
    async fn get_caller_identity(
        &self,
        (): &(),
        _: GetCallerIdentityRequest,
    ) -> Result<GetCallerIdentityResponse, Fault> {
        Ok(GetCallerIdentityResponse { account: Some("123456789012".into()), ..Default::default() })
    }
}

#[test]
fn who_am_i() {
    let parameters = form("Action=GetCallerIdentity&Version=2011-06-15&Unknown=ignored");
    let request =
        Request { operation: "GetCallerIdentity", id: "r-1", body: Body::Form(&parameters) };
    let answer = now(serve(&Shell, &(), &request)).expect("an answer");
    assert_eq!(
        String::from_utf8_lossy(&answer),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<GetCallerIdentityResponse \
         xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Account>123456789012</Account></GetCallerIdentityResult><ResponseMetadata>\
         <RequestId>r-1</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    );
}

#[test]
fn what_is_secret_is_not_printed() {
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG";
    let secret = || Some(SECRET.to_owned());
    let pair = wire::ecs::KeyValuePair { name: Some("PASSWORD".into()), value: secret() };
    for (printed, known) in [
        (
            format!(
                "{:?}",
                wire::sts::AssumeRoleResponse {
                    credentials: Some(wire::sts::Credentials {
                        access_key_id: Some("ASIA1".into()),
                        secret_access_key: secret(),
                        session_token: secret(),
                        ..Default::default()
                    }),
                    ..Default::default()
                }
            ),
            "ASIA1",
        ),
        (
            format!(
                "{:#?}",
                wire::acs::IAMRoleCredentials {
                    role_arn: Some("arn:r".into()),
                    secret_access_key: secret(),
                    session_token: secret(),
                    ..Default::default()
                }
            ),
            "arn:r",
        ),
        (
            format!(
                "{:?}",
                wire::ecs::ContainerDefinition {
                    name: Some("web".into()),
                    environment: Some(vec![pair]),
                    ..Default::default()
                }
            ),
            "web",
        ),
        (
            format!(
                "{:?}",
                wire::landfall::CreateAccountResponse {
                    access_key_id: Some("AKIA1".into()),
                    secret_access_key: secret(),
                    ..Default::default()
                }
            ),
            "AKIA1",
        ),
    ] {
        assert!(printed.contains(known), "{printed}");
        assert!(!printed.contains(SECRET), "{printed}");
    }
}
