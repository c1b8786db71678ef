//! The agent on a real kernel: containerd, runc, network namespaces. Needs root.

mod asks;
mod bridge;
mod broken;
mod calls;
mod certificates;
mod collect;
mod control;
mod full;
mod given_up;
mod kernel;
mod killed;
mod line;
mod machine;
mod oddities;
mod order;
mod places;
mod pulls;
mod registry;
mod runs;
mod storage;
mod victim;
mod volumes;
