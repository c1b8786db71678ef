//! What can go wrong between a plan and the kernel.

use ident::Generation;
use ipnet::Ipv4Net;
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
    /// A switch of the router's namespace could not be set.
    #[error("cannot set {key}")]
    Sysctl {
        /// The file below `/proc/sys/net`.
        key: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// `nft` could not be run, or the rules not be read.
    #[error("cannot run nft")]
    Nft {
        /// What the system says.
        source: io::Error,
    },
    /// The connection tracker could not be made to forget.
    #[error("cannot forget the flows of addresses that have a new owner")]
    Conntrack {
        /// What the kernel says.
        source: io::Error,
    },
    /// `nft` refused the rules.
    #[error("nft refuses the rules: {message}")]
    Rules {
        /// What it printed.
        message: String,
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
        block: Ipv4Net,
        /// The machine's.
        existing: Ipv4Net,
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

impl CardError {
    /// Whether it may be that something changed while we looked: a task that
    /// ends takes its interface with it at any moment. Looking again helps.
    pub(crate) fn is_race(&self) -> bool {
        let gone = [libc::ENODEV, libc::ENXIO, libc::ESRCH, libc::ENOENT, libc::EADDRNOTAVAIL];
        let down = [libc::ENETDOWN, libc::ENETUNREACH, libc::EHOSTUNREACH];
        match self {
            Self::Netlink { source: rtnetlink::Error::NetlinkError(error), .. } => {
                let errno = -error.raw_code();
                errno == libc::EEXIST || gone.contains(&errno) || down.contains(&errno)
            }
            Self::Sysctl { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Disappeared(_) => true,
            Self::Outdated { .. }
            | Self::Netns { .. }
            | Self::Netlink { .. }
            | Self::Nft { .. }
            | Self::Conntrack { .. }
            | Self::Rules { .. }
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
