//! `wire` as its users see it: bytes in, structs, bytes out.

mod agent;
mod client;
mod ec2;
mod ecs;
mod mutants;
mod mutator;
mod sts;
mod trials;

use trials::now;

/// A decoded form.
fn form(text: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}
