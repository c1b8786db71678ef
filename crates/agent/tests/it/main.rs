//! The agent on a real kernel: containerd, runc, network namespaces. Needs root.

mod machine;
mod runs;
