//! Lines to a registry, which do not always hold.

use crate::registry::Registry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a line does to an answer that is longer than this.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    None,
    /// It breaks.
    Cuts(u64),
    /// It falls silent.
    Stalls(u64),
    /// Between two pieces of 64 KiB it rests.
    Rests(Duration),
}

/// A way to a registry, which counts the bytes that came back by it.
pub(crate) struct Line {
    pub(crate) port: u16,
    carried: Arc<AtomicU64>,
    callers: Arc<Mutex<Vec<IpAddr>>>,
    fault: watch::Sender<Fault>,
    _carrying: JoinSet<()>,
}

impl Line {
    /// One that begins at this address of the machine.
    pub(crate) async fn to(registry: &Registry, address: &str, fault: Fault) -> Self {
        let listener = TcpListener::bind((address, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (fault, faults) = watch::channel(fault);
        let (carried, callers): (Arc<AtomicU64>, Arc<Mutex<Vec<IpAddr>>>) = Default::default();
        let (count, called, far) = (carried.clone(), callers.clone(), registry.port());
        let mut carrying = JoinSet::new();
        carrying.spawn(async move {
            let mut all = JoinSet::new();
            while let Ok((near, caller)) = listener.accept().await {
                called.lock().expect("a list").push(caller.ip());
                let (fault, count) = (*faults.borrow(), count.clone());
                all.spawn(async move { carry(near, far, fault, &count).await });
            }
        });
        Self { port, carried, callers, fault, _carrying: carrying }
    }

    /// How many bytes came back by it.
    pub(crate) fn carried(&self) -> u64 {
        self.carried.load(Ordering::SeqCst)
    }

    /// Who has opened it, each time.
    pub(crate) fn callers(&self) -> Vec<IpAddr> {
        self.callers.lock().expect("a list").clone()
    }

    /// From now on it carries everything.
    pub(crate) fn mend(&self) {
        self.fault.send_replace(Fault::None);
    }
}

/// Carries one connection until either end, or the fault, ends it.
async fn carry(near: TcpStream, far: u16, fault: Fault, count: &AtomicU64) {
    let far = TcpStream::connect(("127.0.0.1", far)).await.expect("the registry");
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) =
        (near.into_split(), far.into_split());
    let asked = async { drop(tokio::io::copy(&mut near_in, &mut far_out).await) };
    let answered = async {
        let (mut bytes, mut here) = (vec![0; 64 << 10], 0_u64);
        loop {
            let most = match fault {
                Fault::None | Fault::Rests(_) => u64::MAX,
                Fault::Cuts(at) | Fault::Stalls(at) => at - here,
            };
            let most = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
            if most == 0 {
                if let Fault::Stalls(_) = fault {
                    std::future::pending::<()>().await;
                }
                return;
            }
            if let Fault::Rests(pause) = fault {
                tokio::time::sleep(pause).await;
            }
            let Ok(read @ 1..) = far_in.read(&mut bytes[..most]).await else { return };
            if near_out.write_all(&bytes[..read]).await.is_err() {
                return;
            }
            here += read as u64;
            count.fetch_add(read as u64, Ordering::SeqCst);
        }
    };
    tokio::select! {
        () = asked => {}
        () = answered => {}
    }
}
