//! `landfall up`.

use super::{AnyError, doctor, down, require_root};
use crate::cli::Up;
use crate::client::Client;
use crate::layout::{Access, Layout, read_json};
use crate::{composition, terminal};
use std::fs::OpenOptions;
use std::io::{IsTerminal, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing_subscriber::EnvFilter;

/// How long a start may take before it is given up.
const START_LIMIT: Duration = Duration::from_mins(1);
/// How often a start is looked at.
const START_POLL: Duration = Duration::from_millis(25);

/// Runs Landfall here, or starts it and returns once it serves.
pub(crate) fn run(layout: &Layout, up: &Up) -> Result<(), AnyError> {
    require_root()?;
    layout.create()?;
    if let Some(device) = doctor::blocking_route() {
        terminal::progress(&format!("warning: {}", doctor::blocked(&device)));
    }
    if up.detach {
        return detach(layout, up);
    }
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("LANDFALL_LOG").unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(composition::run(layout, up))
}

/// Starts this program again in a session of its own and waits for it to serve.
fn detach(layout: &Layout, up: &Up) -> Result<(), AnyError> {
    let mut log =
        OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(layout.log())?;
    let log_start = log.seek(SeekFrom::End(0))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--data-dir").arg(&layout.data).arg("up").args(arguments(up));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?).process_group(0);
    let mut child = command.spawn()?;
    let served = super::block_on(await_service(layout, &mut child));
    if let Err(error) = served {
        log.seek(SeekFrom::Start(log_start))?;
        let mut said = String::new();
        log.read_to_string(&mut said)?;
        eprint!("{said}");
        return Err(error);
    }
    Ok(())
}

/// The arguments of `up` that make the foreground program the one asked for.
fn arguments(up: &Up) -> Vec<String> {
    let mut arguments = vec![
        format!("--listen={}", up.listen),
        format!("--region={}", up.region),
        format!("--cluster={}", up.cluster),
        format!("--agent-grace={}s", up.agent_grace.as_secs()),
        format!("--retention={}s", up.retention.as_secs()),
        format!("--task-cleanup-wait={}s", up.task_cleanup_wait.as_secs()),
        format!("--introspection={}", up.introspection),
        format!("--rules-per-security-group={}", up.rules_per_security_group),
        format!("--security-groups-per-interface={}", up.security_groups_per_interface),
    ];
    arguments.extend(up.zones.iter().map(|zone| format!("--zone={zone}")));
    arguments.extend(up.instance_type.iter().map(|name| format!("--instance-type={name}")));
    arguments.extend(up.containerd.iter().map(|path| format!("--containerd={}", path.display())));
    arguments.extend(up.resolvers.iter().map(|server| format!("--resolver={server}")));
    arguments.extend(up.imds.iter().map(|address| format!("--imds={address}")));
    arguments.extend(up.task_imds.then(|| "--task-imds".to_owned()));
    arguments.extend(up.images.arguments());
    if up.accept_any_credentials {
        arguments.push("--accept-any-credentials".to_owned());
    }
    arguments
}

/// Waits until the APIs answer and the machine is a connected instance of its
/// cluster, telling of each.
async fn await_service(layout: &Layout, child: &mut Child) -> Result<(), AnyError> {
    let limit = Instant::now() + START_LIMIT;
    let mut answered = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Err(format!("Landfall ended at once, with {status}").into());
        }
        if Instant::now() > limit {
            return Err(format!("Landfall did not serve within {START_LIMIT:?}").into());
        }
        sleep(START_POLL).await;
        // Both files may be an earlier run's: they count once they are this child's.
        if down::running(layout).is_none_or(|pid| pid.as_raw().cast_unsigned() != child.id()) {
            continue;
        }
        let Some(access) = read_json::<Access>(&layout.access())? else { continue };
        let client = Client::new(&access)?;
        if client.health().await.is_err() {
            continue;
        }
        if !answered {
            terminal::progress(&format!("serving the AWS APIs on http://{}", access.listen));
            answered = true;
        }
        let connected = client.container_instances().await?.iter().any(|(_, instances)| {
            instances.iter().any(|instance| instance["agentConnected"] == true)
        });
        if connected {
            terminal::progress("this machine is an instance of its cluster, and connected");
            return Ok(());
        }
    }
}
