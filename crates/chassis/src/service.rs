//! AWS's services, as the edge sees them: [`Service`], and an adapter for each
//! of the generated traits.

use crate::Cx;
use async_trait::async_trait;
use std::sync::Arc;
use wire::{Fault, Request};

/// A service behind the edge: a request's bytes in, an answer's bytes out. What
/// operations there are and what they look like is `wire`'s; see [`Ecs`] and the
/// others.
#[async_trait]
pub trait Service: Send + Sync {
    /// What it is, as a table.
    fn table(&self) -> &'static wire::Service;

    /// Answers a request that has been authenticated and authorized.
    async fn serve(&self, cx: &Cx, request: Request<'_>) -> Result<Vec<u8>, Fault>;
}

macro_rules! services {
    ($($(#[$doc:meta])* $name:ident $module:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(pub Arc<dyn wire::$module::Api<Cx>>);

        #[async_trait]
        impl Service for $name {
            fn table(&self) -> &'static wire::Service {
                &wire::$module::SERVICE
            }

            async fn serve(&self, cx: &Cx, request: Request<'_>) -> Result<Vec<u8>, Fault> {
                wire::$module::serve(&*self.0, cx, &request).await
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(stringify!($name))
            }
        }
    )*};
}

services! {
    /// Whoever implements ECS.
    Ecs ecs;
    /// Whoever implements EC2.
    Ec2 ec2;
    /// Whoever implements IAM.
    Iam iam;
    /// Whoever implements STS.
    Sts sts;
    /// Whoever implements what AWS has no API for.
    Landfall landfall;
}
