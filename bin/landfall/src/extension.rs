//! What AWS has no API for: accounts, explanations, backups. One more service on
//! the same endpoint, signed and authorized like the others, described by
//! `models/landfall.json`. Each operation is answered by the crate that knows.

use chassis::Cx;
use wire::landfall::Api;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct Extension;

impl Api<Cx> for Extension {}
