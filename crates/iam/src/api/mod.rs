//! STS.

use crate::{Iam, names};
use async_trait::async_trait;
use chassis::Cx;
use wire::Fault;
use wire::sts::{Api, GetCallerIdentityRequest, GetCallerIdentityResponse};

#[async_trait]
impl Api<Cx> for Iam {
    async fn get_caller_identity(
        &self,
        cx: &Cx,
        _request: GetCallerIdentityRequest,
    ) -> Result<GetCallerIdentityResponse, Fault> {
        Ok(GetCallerIdentityResponse {
            account: Some(cx.scope().account.to_string()),
            arn: Some(names::arn(&cx.caller)),
            user_id: Some(names::user_id(&cx.caller)),
        })
    }
}
