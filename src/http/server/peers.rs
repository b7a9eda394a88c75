//! How many connections each peer has open, so that none takes all of a listener's to itself.

use std::net::IpAddr;
use std::sync::Arc;

use crate::http::holdings::Holdings;
use crate::http::peer::ClientAddress;

/// The peers that have any, by what limits count clients by.
pub(super) struct Peers {
    most: usize,
    held: Holdings<String>,
}

impl Peers {
    /// Each may hold that many.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, held: Holdings::none() })
    }

    /// One more connection of this peer's, unless it has too many already.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Held> {
        let key = ClientAddress::stated(peer).key();
        self.held.take(&key, self.most).then(|| Held { peers: Arc::clone(self), key })
    }
}

/// One connection of a peer's, until dropped.
pub(super) struct Held {
    peers: Arc<Peers>,
    key: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.peers.held.give_back(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_an_address_or_a_subscribers_network_and_is_forgotten_with_its_last_connection() {
        let peers = Peers::new(2);
        let admit = |peer: &str| peers.admit(peer.parse().unwrap());

        let own = [admit("192.0.2.1"), admit("::ffff:192.0.2.1")];
        let others = [admit("192.0.2.2"), admit("2001:db8::1"), admit("2001:db8::2")];

        assert!(own.iter().chain(&others).all(Option::is_some));
        assert!(admit("192.0.2.1").is_none());
        assert!(admit("2001:db8::3").is_none());
        drop(own);
        assert!(admit("192.0.2.1").is_some());
        drop(others);
        assert!(peers.held.is_empty());
    }
}
