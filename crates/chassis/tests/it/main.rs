//! The edge over real sockets, and controllers in virtual time.

mod controllers;
mod edge;
mod sockets;
mod world;
