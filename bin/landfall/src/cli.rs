//! What a person can say to `landfall`.

use crate::images::Images;
use clap::{Args, Parser, Subcommand};
use std::fmt::{self, Display, Formatter};
use std::net::{AddrParseError, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Amazon ECS on your own machines.
#[derive(Debug, Parser)]
#[command(name = "landfall", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// Where Landfall keeps its state. Each directory is an installation of its own.
    #[arg(long, global = true, env = "LANDFALL_DATA_DIR", default_value = "/var/lib/landfall")]
    pub(crate) data_dir: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run control plane, agent and card on this machine.
    Up(Box<Up>),
    /// Stop Landfall, its tasks and its network.
    Down(Down),
    /// Print what AWS tools need to reach Landfall, as shell exports.
    Env(Env),
    /// Show clusters, instances and tasks.
    Status(Output),
    /// Check that this machine can run Landfall, and say what to do if not.
    Doctor(Output),
    /// Print what a task's containers wrote.
    Logs(Logs),
    /// Show what passes network interfaces now, and what is refused there.
    Flows(Flows),
    /// Copy the state to a file, whether or not Landfall runs.
    Backup(Backup),
    /// Put a backup in place of the state, whether or not Landfall runs.
    Restore(Restore),
    /// Say why something is as it is.
    #[command(subcommand)]
    Explain(Explain),
    /// Manage the images on this machine.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Make, list and delete accounts: an AWS of its own each.
    #[command(subcommand)]
    Account(Account),
    /// Print a completion script for a shell.
    Completions {
        /// The shell to complete in.
        shell: clap_complete::Shell,
    },
    /// Print the version.
    Version(Output),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Up {
    /// Return once Landfall answers and its instance is connected.
    #[arg(long)]
    pub(crate) detach: bool,
    /// The address that the AWS APIs are served on.
    #[arg(long, default_value = "127.0.0.1:4566")]
    pub(crate) listen: SocketAddr,
    /// The region that this machine stands in.
    #[arg(long, default_value = "us-east-1")]
    pub(crate) region: String,
    /// The only availability zones that this machine stands in; all of its region
    /// if none is given.
    #[arg(long = "zone", value_name = "ZONE")]
    pub(crate) zones: Vec<String>,
    /// The cluster that this machine joins.
    #[arg(long, default_value = "default")]
    pub(crate) cluster: String,
    /// The EC2 instance type that this machine is held to, such as t3.medium: it then
    /// has as many network interfaces as one of that type, and as many tasks with
    /// their own. Without one there is no such limit. What was given stays until
    /// another is.
    #[arg(long, value_name = "TYPE", value_parser = instance_type)]
    pub(crate) instance_type: Option<String>,
    /// The socket of a containerd to use instead of a private one.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) containerd: Option<PathBuf>,
    /// How long the agent of an instance may be away before its tasks count as
    /// lost and are stopped; at least 1m, such as 90s, 10m or 2h.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = agent_grace)]
    pub(crate) agent_grace: Duration,
    /// How long stopped tasks can be seen, and instances and clusters that are
    /// gone, such as 90s, 10m, 2h or 1d.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = time)]
    pub(crate) retention: Duration,
    /// How long the agent keeps the logs of a task that is over, and remembers it; at
    /// least 1m. The last thousand tasks at most, whatever their age.
    #[arg(long, value_name = "TIME", default_value = "3h", value_parser = cleanup_wait)]
    pub(crate) task_cleanup_wait: Duration,
    /// Where the agent tells this machine's operator which tasks run here, as the
    /// official agent does; none to tell nobody. If somebody else has the port,
    /// everything but this goes on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:51678")]
    pub(crate) introspection: Introspection,
    /// Who is asked for names that no VPC knows, such as 192.0.2.1 or 127.0.0.1:5353;
    /// may be repeated. Those that /etc/resolv.conf names if none is given.
    #[arg(long = "resolver", value_name = "ADDRESS[:PORT]", value_parser = resolver)]
    pub(crate) resolvers: Vec<SocketAddr>,
    /// Serve the instance metadata of this machine on this loopback address, for
    /// SDKs that are told so by `AWS_EC2_METADATA_SERVICE_ENDPOINT`. Every process here
    /// can then act in the machine's role, ecsInstanceRole.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true,
        default_missing_value = "127.0.0.1:51680", value_parser = loopback)]
    pub(crate) imds: Option<SocketAddr>,
    /// Let tasks with their own interfaces ask for that metadata at 169.254.169.254,
    /// and so act in the machine's role.
    #[arg(long)]
    pub(crate) task_imds: bool,
    /// How many rules of each direction a security group may have; AWS's quota "Inbound or
    /// outbound rules per security group". Times the next one, at most 1000.
    #[arg(long, value_name = "COUNT", default_value_t = 60)]
    pub(crate) rules_per_security_group: usize,
    /// How many security groups a network interface may be in, 1 to 16; AWS's quota
    /// "Security groups per network interface". RunTask takes five at most.
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    pub(crate) security_groups_per_interface: usize,
    /// Accept any access key and signature, as emulators do. Whoever reaches the
    /// port then owns this machine.
    #[arg(long)]
    pub(crate) accept_any_credentials: bool,
    #[command(flatten)]
    pub(crate) images: Images,
}

/// An address, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Introspection(pub(crate) Option<SocketAddr>);

impl FromStr for Introspection {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|at| Self(Some(at))) }
    }
}

impl Display for Introspection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("none"),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Down {
    /// Delete the state and the images too.
    #[arg(long)]
    pub(crate) purge: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Env {
    /// Print a JSON object instead of shell exports.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Output {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The task, by its id, a unique beginning of it, or its ARN.
    pub(crate) task: String,
    /// Only this container's output.
    #[arg(long, short)]
    pub(crate) container: Option<String>,
    /// Go on printing as more is written, until the task stops.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only what was written since this long ago, such as 90s, 10m, 2h or 1d.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) since: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Flows {
    /// Only those of this task or network interface, or from or to this address.
    #[arg(value_name = "TASK|ENI|ADDRESS")]
    pub(crate) target: Option<String>,
    /// Go on showing what is new or has changed, until Ctrl-C.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only what was refused.
    #[arg(long)]
    pub(crate) rejected: bool,
    /// The cluster of the task.
    #[arg(long, default_value = "default")]
    pub(crate) cluster: String,
    /// Print each flow as a JSON object on a line of its own.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The file to make. It holds every secret that the state holds.
    pub(crate) file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// What `landfall backup` made.
    pub(crate) file: PathBuf,
    /// Do not ask: tasks that the backup does not know will be stopped.
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Load the images of an OCI layout or `docker save` archive.
    Load {
        /// The archive; may be compressed with gzip.
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Explain {
    /// Where tasks would go now, and for each instance why not there.
    Placement(ExplainPlacement),
    /// What a task waits for, and what happened to it.
    Task(ExplainTask),
    /// Whether a connection would come about, and which rules say so.
    Path(ExplainPath),
}

#[derive(Debug, Args)]
pub(crate) struct ExplainPath {
    /// Who connects: a task, a network interface, an instance or an address.
    pub(crate) source: String,
    /// To whom, the same or any address, and to which port: 10.0.0.5:80, TASK:443.
    #[arg(value_name = "DESTINATION[:PORT]")]
    pub(crate) destination: String,
    /// tcp, udp or icmp (a ping, without a port).
    #[arg(long, default_value = "tcp")]
    pub(crate) protocol: String,
    /// The cluster of the tasks.
    #[arg(long, default_value = "default")]
    pub(crate) cluster: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainPlacement {
    /// The task definition: family, family:revision or ARN.
    #[arg(value_name = "TASK_DEFINITION")]
    pub(crate) definition: String,
    /// The cluster.
    #[arg(long, default_value = "default")]
    pub(crate) cluster: String,
    /// How many tasks.
    #[arg(long, default_value_t = 1)]
    pub(crate) count: i32,
    /// The group that the tasks belong to; that of the family if none is given.
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// The launch type: EC2 or EXTERNAL.
    #[arg(long)]
    pub(crate) launch_type: Option<String>,
    /// The subnets that the tasks may be in, for the network mode awsvpc.
    #[arg(long = "subnet", value_name = "SUBNET")]
    pub(crate) subnets: Vec<String>,
    /// The security groups of the tasks.
    #[arg(long = "security-group", value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
    /// A placement constraint: distinctInstance, or memberOf=EXPRESSION.
    #[arg(long = "constraint", value_name = "TYPE[=EXPRESSION]")]
    pub(crate) constraints: Vec<String>,
    /// A placement strategy, such as spread=attribute:ecs.availability-zone,
    /// binpack=memory or random; several in their order.
    #[arg(long = "strategy", value_name = "TYPE[=FIELD]")]
    pub(crate) strategies: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainTask {
    /// The task, by its id or ARN.
    pub(crate) task: String,
    /// The cluster.
    #[arg(long, default_value = "default")]
    pub(crate) cluster: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// Make an account, and print its key as shell exports.
    Create(CreateAccount),
    /// List the accounts.
    List(Output),
    /// Delete an account and everything in it.
    Delete(DeleteAccount),
}

#[derive(Debug, Args)]
pub(crate) struct CreateAccount {
    /// What to call it.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteAccount {
    /// The account's id.
    #[arg(value_name = "ID")]
    pub(crate) account: String,
    /// Do not ask first.
    #[arg(long)]
    pub(crate) yes: bool,
}

/// The shortest that some times may be.
const SHORTEST: Duration = Duration::from_mins(1);

/// A time that is not too short, or `why` it is.
pub(crate) fn at_least_a_minute(text: &str, why: &str) -> Result<Duration, String> {
    let time = time(text)?;
    if time < SHORTEST { Err(why.to_owned()) } else { Ok(time) }
}

/// Reconnecting alone may take that long.
fn agent_grace(text: &str) -> Result<Duration, String> {
    at_least_a_minute(text, "agents need 1m at least to reconnect")
}

/// As long as late copies of a payload may still come; the official agent's bound, too.
fn cleanup_wait(text: &str) -> Result<Duration, String> {
    at_least_a_minute(text, "a task that is over must be remembered for 1m at least")
}

/// An address that only this machine reaches.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<SocketAddr>().ok().filter(|address| address.ip().is_loopback());
    address.ok_or_else(|| "give a loopback address and a port: 127.0.0.1:51680".to_owned())
}

/// The port at which resolvers answer.
const DNS_PORT: u16 = 53;

fn resolver(text: &str) -> Result<SocketAddr, String> {
    let with_port = text.parse::<SocketAddr>().ok();
    let without = || Some(SocketAddr::new(text.parse().ok()?, DNS_PORT));
    with_port.or_else(without).ok_or_else(|| {
        "give an address, and a port if it is not 53: 192.0.2.1, 127.0.0.1:5353".to_owned()
    })
}

/// The name of an instance type that we know.
fn instance_type(text: &str) -> Result<String, String> {
    match ec2::instance_types::find(text) {
        Some(known) => Ok(known.name.to_owned()),
        None => Err("there is no such EC2 instance type: give one that AWS has, such as \
                     t3.medium or m5.large, or leave the option out and have no limits"
            .to_owned()),
    }
}

/// A time in seconds, minutes, hours or days, as in `90s`.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let parsed = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            _ => return None,
        };
        // A clock in milliseconds has to be able to show the end of it.
        let number = number.parse::<u32>().ok()?;
        Some(Duration::from_secs(u64::from(number).checked_mul(seconds)?))
    };
    parsed().ok_or_else(|| "give a whole number and a unit: 90s, 10m, 2h or 1d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        let seconds = |text: &str| time(text).ok().map(|time| time.as_secs());
        let good = [("0s", 0), ("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86_400)];
        for (text, wanted) in good {
            assert_eq!(seconds(text), Some(wanted), "{text}");
        }
        for bad in ["", "m", "10", "-1s", "1.5h", "10 m", "1w", "5000000000s", "1µ", "µ"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn agents_have_time_to_reconnect_and_payloads_to_be_late() {
        let up = |option: &str, text: &str| {
            let Command::Up(up) =
                Cli::try_parse_from(["landfall", "up", option, text]).ok()?.command
            else {
                return None;
            };
            Some((up.agent_grace, up.task_cleanup_wait))
        };
        for option in ["--agent-grace", "--task-cleanup-wait"] {
            assert_eq!(up(option, "59s"), None, "{option}");
        }
        let default = up("--retention", "1h").map(|(_, wait)| wait);
        assert_eq!(default, Some(agent::engine::Settings::default().cleanup_wait));
        assert_eq!(up("--agent-grace", "1m").map(|(grace, _)| grace), Some(SHORTEST));
        assert_eq!(up("--task-cleanup-wait", "1m").map(|(_, wait)| wait), Some(SHORTEST));
    }
}
