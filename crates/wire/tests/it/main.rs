//! `wire` as its users see it: bytes in, structs, bytes out.

mod agent;
mod client;
mod ec2;
mod ecs;
mod mutants;
mod mutator;
mod sts;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Our handlers wait for nothing, so one look at them is enough.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here waits"),
    }
}

/// A decoded form.
fn form(text: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}
