//! The agent on a real kernel: containerd, runc, network namespaces. Needs root.

mod bridge;
mod control;
mod kernel;
mod machine;
mod order;
mod pulls;
mod runs;
mod volumes;
