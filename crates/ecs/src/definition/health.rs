//! Health checks of containers.

use super::{bounded, invalid};
use crate::Error;
use wire::ecs::HealthCheck;

/// Whether the check of the container `name` can be run.
pub(super) fn check(name: &str, check: &HealthCheck) -> Result<(), Error> {
    let command = check.command.as_deref().unwrap_or_default();
    match command.first().map(String::as_str) {
        None => return Err(invalid(name, "'healthCheck.command' must not be empty.")),
        Some("CMD" | "CMD-SHELL" | "NONE") => {}
        Some(_) => {
            return Err(invalid(
                name,
                "'healthCheck.command' must start with CMD to run a command directly, or with \
                 CMD-SHELL to run it with the container's shell.",
            ));
        }
    }
    for (what, number, bounds) in [
        ("healthCheck.interval", check.interval, 5..=300),
        ("healthCheck.timeout", check.timeout, 2..=120),
        ("healthCheck.retries", check.retries, 1..=10),
        ("healthCheck.startPeriod", check.start_period, 0..=300),
    ] {
        bounded(name, what, number, bounds)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepted, container, refused};
    use super::*;

    #[test]
    fn accepted_and_refused() {
        let with = |command: &[&str], change: fn(&mut HealthCheck)| {
            let mut check = HealthCheck {
                command: Some(command.iter().map(ToString::to_string).collect()),
                ..Default::default()
            };
            change(&mut check);
            container(|it| it.health_check = Some(check))
        };
        accepted(with(&["CMD-SHELL", "true"], |it| {
            (it.interval, it.timeout) = (Some(5), Some(2));
            (it.retries, it.start_period) = (Some(10), Some(300));
        }));
        for (request, wanted) in [
            (with(&[], |_| {}), "'healthCheck.command' must not be empty."),
            (with(&["true"], |_| {}), "must start with CMD"),
            (
                with(&["CMD"], |it| it.interval = Some(4)),
                "'healthCheck.interval' must be between 5",
            ),
            (
                with(&["CMD"], |it| it.timeout = Some(121)),
                "'healthCheck.timeout' must be between 2",
            ),
            (with(&["CMD"], |it| it.retries = Some(0)), "'healthCheck.retries' must be between 1"),
            (with(&["CMD"], |it| it.start_period = Some(301)), "'healthCheck.startPeriod' must be"),
        ] {
            refused(request, wanted);
        }
    }
}
