//! `landfall env`: what AWS tools need to know.

use super::{AnyError, access};
use crate::cli::Env;
use crate::layout::{Access, Layout};

/// Prints the variables that the AWS CLI, the SDKs and Terraform read.
pub(crate) fn run(layout: &Layout, env: &Env) -> Result<(), AnyError> {
    let variables = variables(&access(layout)?);
    if env.json {
        let object: serde_json::Map<_, _> =
            variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        println!("{}", serde_json::to_string(&object)?);
    } else {
        print!("{}", exports(variables));
    }
    Ok(())
}

/// Variables as a shell exports them. Base64 keys, host names and region names need
/// no quoting, but a value that did would otherwise be run by `eval`.
pub(super) fn exports(variables: Vec<(&'static str, String)>) -> String {
    let line = |(name, value): (&str, String)| {
        let quoted = value.replace('\'', r"'\''");
        format!("export {name}='{quoted}'\n")
    };
    let lines: Vec<String> = variables.into_iter().map(line).collect();
    lines.concat()
}

/// What AWS tools read to act with this access.
pub(super) fn variables(access: &Access) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL", format!("http://{}", access.listen)),
        ("AWS_ACCESS_KEY_ID", access.key_id.clone()),
        ("AWS_SECRET_ACCESS_KEY", access.secret.clone()),
        ("AWS_REGION", access.region.clone()),
        ("AWS_DEFAULT_REGION", access.region.clone()),
    ]
}
