//! The edge over real sockets, and controllers in virtual time.

mod controllers;
mod edge;
mod http;
mod sockets;
mod world;
