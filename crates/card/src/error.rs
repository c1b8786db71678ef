//! What can go wrong between a plan and the kernel.

use ident::Generation;
use ipnet::IpNet;
use std::error::Error as _;
use std::io;
use std::path::PathBuf;

/// Why something is not as the plan wants it.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// The plan is older than the one that is in force.
    #[error("the plan has generation {}, and {} is in force", offered.0, current.0)]
    Outdated {
        /// The generation in force.
        current: Generation,
        /// The generation of the plan that was refused.
        offered: Generation,
    },
    /// A namespace could not be made, entered or removed.
    #[error("cannot {action} the namespace {}", path.display())]
    Netns {
        /// What was tried.
        action: &'static str,
        /// Which namespace.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// Netlink refused.
    #[error("cannot {action}")]
    Netlink {
        /// What was tried.
        action: String,
        /// What the kernel says.
        source: rtnetlink::Error,
    },
    /// A route makes no sense.
    #[error("cannot route to {route}")]
    Route {
        /// Where to.
        route: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// A switch of the router's namespace could not be set.
    #[error("cannot set {key}")]
    Sysctl {
        /// The file below `/proc/sys/net`.
        key: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// The rules could not be read.
    #[error("cannot read the rules")]
    Nft {
        /// What the kernel says.
        source: io::Error,
    },
    /// The connection tracker could not be made to forget.
    #[error("cannot forget the flows of addresses that have a new owner")]
    Conntrack {
        /// What the kernel says.
        source: io::Error,
    },
    /// What went the fast way could not be read.
    #[error("cannot read what went the fast way")]
    FastPath {
        /// What the kernel says.
        source: io::Error,
    },
    /// The kernel refused the rules.
    #[error("the kernel refuses the rules")]
    Rules {
        /// What it says.
        source: io::Error,
    },
    /// The plan could not be kept on disk, or not be read from there.
    #[error("cannot {action} the plan in {}", path.display())]
    Plan {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The node uses addresses of the VPC for something else.
    #[error("{block} of the VPC overlaps {existing}, which this machine uses on {link}")]
    Overlap {
        /// The VPC's block.
        block: IpNet,
        /// The machine's.
        existing: IpNet,
        /// The link that the machine's is on.
        link: String,
    },
    /// The interface's link is not where it should be.
    #[error("the link {0} has disappeared")]
    Disappeared(String),
    /// The interface is in a subnet that the plan does not describe.
    #[error("the plan has no subnet for the interface")]
    NoSubnet,
}

/// What the kernel says to a transaction that was made for other rules than those
/// in force. It is not among the numbers that programs usually see.
const ERESTART: i32 = 85;

impl CardError {
    /// Whether it may be that something changed while we looked: a task that
    /// ends takes its interface with it at any moment. Looking again helps.
    pub(crate) fn is_race(&self) -> bool {
        let gone = [libc::ENODEV, libc::ENXIO, libc::ESRCH, libc::ENOENT, libc::EADDRNOTAVAIL];
        // A listing that was given up goes on in the kernel for a moment.
        let busy = libc::EBUSY;
        let down = [libc::ENETDOWN, libc::ENETUNREACH, libc::EHOSTUNREACH];
        match self {
            Self::Netlink { source: rtnetlink::Error::NetlinkError(error), .. } => {
                let errno = -error.raw_code();
                errno == libc::EEXIST
                    || errno == busy
                    || gone.contains(&errno)
                    || down.contains(&errno)
            }
            // Somebody else changed the rules while ours were on their way.
            Self::Rules { source } => source.raw_os_error() == Some(ERESTART),
            Self::Sysctl { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Disappeared(_) => true,
            Self::Outdated { .. }
            | Self::Netns { .. }
            | Self::Netlink { .. }
            | Self::Nft { .. }
            | Self::Route { .. }
            | Self::Conntrack { .. }
            | Self::FastPath { .. }
            | Self::Plan { .. }
            | Self::Overlap { .. }
            | Self::NoSubnet => false,
        }
    }

    /// The error and its causes on one line, for reports.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
