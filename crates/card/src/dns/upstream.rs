//! The machine's own resolvers, which are asked for what no VPC knows.

use super::zone::Answer;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// The port that resolvers are asked at.
const PORT: u16 = 53;
/// How many of them are made use of; the C library does not look at more.
const SERVERS: usize = 3;
/// How many answers are remembered, for all VPCs of the machine.
const CACHE: u64 = 4096;
/// How long what is not there is remembered as such, at most.
const NEGATIVE: Duration = Duration::from_mins(5);
/// How long one resolver has to answer before it is asked again, or another one.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a question may take in all. Who asked gives up after five seconds.
const LIMIT: Duration = Duration::from_millis(4500);
/// How many questions a resolver may be asked at the same time.
const ACTIVE: usize = 1024;

/// Where the resolvers of the machine are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolvers {
    /// In this file, in the form of `/etc/resolv.conf`. It is looked at again and again.
    File(PathBuf),
    /// Here.
    At(Vec<SocketAddr>),
}

/// Asks the resolvers of the machine, and remembers what they said.
#[derive(Debug)]
pub(crate) struct Upstream {
    named: Resolvers,
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    servers: Vec<SocketAddr>,
    resolver: Option<TokioResolver>,
}

impl Upstream {
    /// Nobody is asked before [`Upstream::refresh`] has been called.
    pub(crate) fn new(named: Resolvers) -> Self {
        Self { named, current: Mutex::default() }
    }

    /// Looks who the resolvers of the machine are now. Those that are `own` resolvers
    /// of a VPC are not asked: they would ask themselves.
    pub(crate) fn refresh(&self, own: &BTreeSet<IpAddr>) {
        let mut servers = match &self.named {
            Resolvers::At(servers) => servers.clone(),
            Resolvers::File(path) => match fs::read_to_string(path) {
                Ok(text) => servers_in(&text),
                // A file that is just being replaced is no reason to ask nobody.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return,
                Err(_) => vec![],
            },
        };
        servers.retain(|server| !own.contains(&server.ip()));
        servers.truncate(SERVERS);
        if self.current().servers == servers {
            return;
        }
        let resolver = match build(&servers) {
            Ok(resolver) => resolver,
            Err(error) => {
                tracing::error!(%error, "the machine's resolvers cannot be asked");
                None
            }
        };
        tracing::info!(?servers, "names are asked for at the machine's resolvers");
        *self.current() = Current { servers, resolver };
    }

    /// What the resolvers of the machine say, in time.
    pub(crate) async fn ask(&self, query: &Query) -> Answer {
        let resolver = self.current().resolver.clone();
        let Some(resolver) = resolver else { return Answer::failure(ResponseCode::ServFail) };
        let mut name = query.name().clone();
        // No search domains: whoever asks has tried its own.
        name.set_fqdn(true);
        let asking = Box::pin(resolver.lookup(name, query.query_type()));
        match timeout(LIMIT, asking).await {
            Ok(Ok(found)) => Answer {
                code: ResponseCode::NoError,
                is_authoritative: false,
                answers: found.answers().to_vec(),
                authorities: vec![],
            },
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(nothing)))) => Answer {
                code: nothing.response_code,
                is_authoritative: false,
                answers: vec![],
                authorities: nothing
                    .soa
                    .map(|soa| soa.into_record_of_rdata())
                    .into_iter()
                    .collect(),
            },
            Ok(Err(error)) => {
                tracing::debug!(%error, name = %query.name(), "no resolver had an answer");
                Answer::failure(ResponseCode::ServFail)
            }
            Err(_) => {
                tracing::debug!(name = %query.name(), "no resolver answered in time");
                Answer::failure(ResponseCode::ServFail)
            }
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        // Nothing that holds the lock can panic half-way.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn build(servers: &[SocketAddr]) -> Result<Option<TokioResolver>, NetError> {
    if servers.is_empty() {
        return Ok(None);
    }
    let servers = servers.iter().map(|server| {
        let at = |mut connection: ConnectionConfig| {
            connection.port = server.port();
            connection
        };
        let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
        NameServerConfig::new(server.ip(), true, connections)
    });
    let config = ResolverConfig::from_parts(None, vec![], servers.collect());
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options: &mut ResolverOpts = builder.options_mut();
    options.timeout = PATIENCE;
    options.attempts = 1;
    options.cache_size = CACHE;
    options.negative_max_ttl = Some(NEGATIVE);
    options.max_active_requests = ACTIVE;
    // What the machine's `hosts` says is the machine's own affair.
    options.use_hosts_file = ResolveHosts::Never;
    options.preserve_intermediates = true;
    Ok(Some(builder.build()?))
}

/// The resolvers that a text in the form of `/etc/resolv.conf` names.
fn servers_in(text: &str) -> Vec<SocketAddr> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let is_server = words.next() == Some("nameserver");
        let address: IpAddr = words.next().filter(|_| is_server)?.parse().ok()?;
        Some(SocketAddr::new(address, PORT))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(upstream: &Upstream) -> Vec<String> {
        upstream.current().servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn resolvers_are_read_as_the_c_library_does() {
        let text = "# a comment\n; another\nsearch a.example\noptions ndots:2\n\
                    nameserver 127.0.0.53\n nameserver\t10.0.0.1 # near\nnameserver\n\
                    nameserver fe80::1%eth0\nnameserver nonsense\nnameservers 10.0.0.9\n\
                    nameserver 2001:db8::1\n";
        let read: Vec<_> = servers_in(text).iter().map(ToString::to_string).collect();
        assert_eq!(read, ["127.0.0.53:53", "10.0.0.1:53", "[2001:db8::1]:53"]);
    }

    #[tokio::test]
    async fn the_file_is_followed_and_never_leads_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("resolv.conf");
        let upstream = Upstream::new(Resolvers::File(path.clone()));
        let own = ["172.31.0.2", "169.254.169.253"].map(|text| text.parse().expect("an address"));
        let own = BTreeSet::from(own);
        let write = |text: &str| fs::write(&path, text).expect("written");

        upstream.refresh(&own);
        assert_eq!(servers(&upstream), [""; 0], "there is no file");
        write("nameserver 172.31.0.2\nnameserver 192.0.2.1\nnameserver 169.254.169.253\n");
        upstream.refresh(&own);
        assert_eq!(servers(&upstream), ["192.0.2.1:53"]);
        write(
            "nameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\nnameserver 192.0.2.5\n",
        );
        upstream.refresh(&own);
        assert_eq!(servers(&upstream), ["192.0.2.2:53", "192.0.2.3:53", "192.0.2.4:53"]);
        write("nameserver 172.31.0.2\n");
        upstream.refresh(&own);
        let name = "example.com.".parse().expect("a name");
        let query = Query::query(name, hickory_resolver::proto::rr::RecordType::A);
        let answer = upstream.ask(&query).await;
        assert_eq!(answer, Answer::failure(ResponseCode::ServFail), "there is nobody to ask");
    }
}
