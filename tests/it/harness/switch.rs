//! One address that leads to whichever server it was last pointed at: what a virtual address, a
//! balancer or a name does when a primary fails and its stand-by takes over. Its connections can also be
//! stranded: nothing comes or goes any more, and nothing tells so, as when a host loses its power.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A listening switch; it ends with this value.
pub(crate) struct Switch {
    port: u16,
    target: Arc<AtomicU16>,
    strand: watch::Sender<()>,
    accepting: JoinHandle<()>,
}

impl Switch {
    /// Leads to a port of this machine.
    pub(crate) async fn to(port: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let target = Arc::new(AtomicU16::new(port.parse().unwrap()));
        let current = Arc::clone(&target);
        let (strand, stranded) = watch::channel(());
        let accepting = tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let port = current.load(Ordering::SeqCst);
                let mut stranded = stranded.clone();
                stranded.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    tokio::select! {
                        // A server that is gone closes its side, and whoever came through here hears of it.
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        Ok(()) = stranded.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self { port: own, target, strand, accepting }
    }

    /// Strands every connection there is.
    pub(crate) fn strand(&self) {
        self.strand.send_replace(());
    }

    /// New connections go there from now on.
    pub(crate) fn point_at(&self, port: &str) {
        self.target.store(port.parse().unwrap(), Ordering::SeqCst);
    }

    /// Where it listens.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
